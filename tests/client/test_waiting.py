"""Awaiting a face: under every loop, with deadlines, in task groups, and where no loop is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio
import trio
from anyio import to_thread

import asyncwb
from asyncwb import aio
from asyncwb.client.waiting import in_thread, wait_async
from asyncwb.engine.thread import Engine
from asyncwb.errors import CommError, EngineStopped, RunNotFoundError, UsageError
from asyncwb.settings import Settings
from tests.client.conftest import Ask
from tests.fix_server import ServerHandle

each_loop = pytest.mark.anyio


def api_of(server: ServerHandle) -> asyncwb.AsyncApi:
    return asyncwb.AsyncApi({"base_url": server.url}, api_key=server.api_key)


@contextmanager
def silence(server: ServerHandle) -> Iterator[None]:
    """Have the server answer nobody until the block is left."""
    assert server._loop is not None
    go_on = threading.Event()
    server._loop.call_soon_threadsafe(go_on.wait, 60)
    try:
        yield
    finally:
        go_on.set()


@each_loop
async def test_a_run_from_its_beginning_to_its_end(
    server: ServerHandle, to_server: Settings, ask: Ask, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    async with aio.init("p", id="r", config={"lr": 0.1}, settings=to_server) as run:
        for i in range(5):
            await aio.log({"i": i})
        await aio.save(tmp_path / "model.bin", base_path=tmp_path, policy="now")
        assert await aio.flush(durable=True)
        assert await run.flush()
        assert run.status().acknowledged == 5
        run.summary["best"] = 1
    assert asyncwb.run is None
    info = await to_thread.run_sync(ask, "runs/{entity}/p/r")
    assert (info["state"], info["exit_code"], info["rows"]) == ("finished", 0, 5)
    found = await api_of(server).run("p/r")
    assert (found.config, found.summary["best"]) == ({"lr": 0.1}, 1)
    assert "model.bin" in [file.name async for file in found.files()]
    with await (await found.file("model.bin")).download(tmp_path / "down") as opened:
        assert opened.read() == "weights"
    async with aio.init("p", id="r", resume="must", settings=to_server) as run:
        assert run.step == 5
        previous = await aio.init("p", id="r", reinit="return_previous", settings=to_server)
        assert previous is run


@each_loop
async def test_histories_are_read_together(server: ServerHandle, to_server: Settings) -> None:
    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(one_run, f"r{n}", to_server)
    api = api_of(server)
    rows = await api.runs("p").histories(keys=["i"])
    assert sorted((row["run_id"], row["i"]) for row in rows) == [
        (f"r{n}", i) for n in range(10) for i in range(3)
    ]
    frame = await (await api.run("p/r1")).history()
    assert frame["i"].tolist() == [0, 1, 2]
    runs = api.runs("p")
    await runs.upgrade_to_full()
    assert [run.lastHistoryStep async for run in runs] == [2] * 10


async def one_run(name: str, settings: Settings) -> None:
    async with aio.init("p", id=name, settings=settings):
        for i in range(3):
            await aio.log({"i": i})


@each_loop
async def test_what_fails_among_several_reads_is_the_plain_exception(
    server: ServerHandle, to_server: Settings
) -> None:
    for name in ("a", "b", "c"):
        await one_run(name, to_server)
    api = api_of(server)
    runs = api.runs("p")
    await runs.get(slice(None))
    await (await api.run("p/b")).delete()
    with pytest.raises(RunNotFoundError, match="p/b"):
        await runs.histories(keys=["i"])
    with pytest.raises(RunNotFoundError, match="p/b"):
        await runs.upgrade_to_full()


@each_loop
async def test_a_flush_that_is_cancelled_leaves_the_run_as_it_was(
    server: ServerHandle, to_server: Settings, ask: Ask
) -> None:
    async with aio.init("p", id="r", settings=to_server) as run:
        with silence(server):
            await run.log({"i": 0})
            with anyio.move_on_after(0.05) as scope:
                await run.flush()
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await run.flush()
            await run.log({"i": 1})
            assert await run.flush(timeout=0) is False
            assert await run.flush(durable=True)
        assert await run.flush()
    info = await to_thread.run_sync(ask, "runs/{entity}/p/r")
    assert (info["state"], info["rows"]) == ("finished", 2)


@each_loop
async def test_a_history_that_is_cancelled_can_be_read_again(
    server: ServerHandle, to_server: Settings
) -> None:
    await one_run("r", to_server)
    run = await api_of(server).run("p/r")
    with silence(server):
        with anyio.move_on_after(0.05) as scope:
            await run.history()
        assert scope.cancelled_caught
        with anyio.move_on_after(0.05) as scope:
            async with aclosing(aiter(run.scan_history())) as rows:
                await anext(rows)
        assert scope.cancelled_caught
    assert [row["i"] for row in await run.history(pandas=False)] == [0, 1, 2]
    assert [row["i"] async for row in run.scan_history()] == [0, 1, 2]


@each_loop
async def test_a_deadline_around_a_block_finishes_its_run(to_server: Settings, ask: Ask) -> None:
    with anyio.move_on_after(0.05) as scope:
        async with aio.init("p", id="r", settings=to_server) as run:
            await run.log({"i": 0})
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert run.status().acknowledged == 1, "the block was left when its run had ended"
    info = await to_thread.run_sync(ask, "runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("failed", 1)


@each_loop
async def test_a_task_that_fails_ends_the_runs_of_its_group(to_server: Settings, ask: Ask) -> None:
    begun = anyio.Event()

    async def train(name: str) -> None:
        async with aio.init("p", id=name, settings=to_server):
            await aio.log({"i": 0})
            begun.set()
            await anyio.sleep_forever()

    async def fail() -> None:
        async with aio.init("p", id="fails", settings=to_server):
            await begun.wait()
            raise ValueError("diverged")

    async def train_both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(train, "other")
            tasks.start_soon(fail)

    with pytest.raises(ExceptionGroup) as caught:
        await train_both()
    assert [str(error) for error in caught.value.exceptions] == ["diverged"]
    for name in ("other", "fails"):
        info = await to_thread.run_sync(ask, f"runs/{{entity}}/p/{name}")
        assert (info["state"], info["exit_code"]) == ("failed", 1)
    assert asyncwb.run is None


@each_loop
async def test_what_the_engine_raises_comes_through() -> None:
    failed: Future[int] = Future()
    failed.set_exception(CommError("no answer"))
    with pytest.raises(CommError, match="no answer"):
        await wait_async(failed)
    engine = Engine.current()
    engine.stop()
    with pytest.raises(EngineStopped):
        await wait_async(engine.submit(lambda worker: worker.address(Settings())))


@each_loop
async def test_a_waiter_that_leaves_cancels_what_has_not_begun() -> None:
    waiting: Future[int] = Future()
    running: Future[int] = Future()
    running.set_running_or_notify_cancel()
    for future in (waiting, running):
        with anyio.move_on_after(0):
            await wait_async(future)
    assert waiting.cancelled()
    assert not running.done()
    running.set_result(1)
    assert await wait_async(running) == 1


@each_loop
async def test_a_thread_has_the_context_of_its_caller() -> None:
    async with aio.init("p", mode="offline") as run:
        async with aio.init("p", mode="offline") as inner:
            assert await in_thread(lambda: asyncwb.run) is inner
        assert await in_thread(lambda: asyncwb.run) is run
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)


@each_loop
async def test_a_thread_is_left_to_its_work_by_a_waiter_that_is_cancelled() -> None:
    go_on, done = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(30)
        done.set()

    with anyio.move_on_after(0.01) as scope:
        await in_thread(work)
    assert scope.cancelled_caught
    go_on.set()
    assert await to_thread.run_sync(done.wait, 30)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_loop_that_is_gone_when_the_work_ends_does_no_harm(
    library: str, capfd: pytest.CaptureFixture[str]
) -> None:
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()

    async def main() -> None:
        with anyio.move_on_after(0):
            await wait_async(future)

    trio.run(main) if library == "trio" else asyncio.run(main())
    future.set_result(1)
    assert capfd.readouterr().err == ""


def test_a_loop_that_was_left_and_closed_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()
    loop = asyncio.new_event_loop()
    task: Any = loop.create_task(wait_async(future))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    future.set_result(1)
    assert capfd.readouterr().err == ""
    assert not task.done()
    task._log_destroy_pending = False  # as asyncio.gather does, lest it tells of what is meant


def by_hand(work: Coroutine[Any, Any, int]) -> None:
    """Run a coroutine without any loop, up to its first wait."""
    with pytest.raises(StopIteration):
        work.send(None)


def test_without_a_loop_or_under_another_library_it_is_said() -> None:
    future: Future[int] = Future()
    with pytest.raises(UsageError, match=r"without a loop: it needs asyncio .* or trio"):
        by_hand(wait_async(future))
    with pytest.raises(UsageError, match="without a loop"):
        by_hand(in_thread(int))
    token = sniffio.current_async_library_cvar.set("curio")
    try:
        with pytest.raises(UsageError, match="awaited under curio"):
            by_hand(wait_async(future))
    finally:
        sniffio.current_async_library_cvar.reset(token)


def test_a_program_loads_neither_anyio_nor_another_loop_before_it_needs_them() -> None:
    code = """
import sys, threading
import asyncwb
started = threading.Thread.start
threading.Thread.start = lambda thread: None  # the engine's thread loads what it likes
with asyncwb.init("p", mode="disabled") as run:
    run.log({"a": 1})
run = asyncwb.init("p", mode="offline")
run.log({"a": 1})
print(sorted({"anyio", "asyncio", "trio", "sniffio"} & set(sys.modules)), flush=True)
import os; os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == "[]"
