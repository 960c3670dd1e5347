"""`asyncwb.log` and its like: the run of the context, in tasks and in threads."""

from __future__ import annotations

import contextvars
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

import asyncwb
import asyncwb.aio as aio
from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.errors import Error, UsageError


def test_without_a_run_every_call_says_what_to_do() -> None:
    calls: list[Callable[[], object]] = [
        lambda: asyncwb.log({"a": 1}),
        lambda: asyncwb.log_nowait({"a": 1}),
        lambda: asyncwb.flush(),
        lambda: asyncwb.define_metric("a"),
        lambda: asyncwb.config,
        lambda: asyncwb.summary,
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"asyncwb\.init\(\)"):
            call()
    asyncwb.finish()
    assert asyncwb.run is None


class Meeting:
    """Lets so many tasks go on once all of them are there."""

    def __init__(self, tasks: int) -> None:
        self._missing = tasks
        self._all_there = anyio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_there.set()
        await self._all_there.wait()


@pytest.mark.anyio
async def test_concurrent_tasks_each_have_their_run() -> None:
    begun, logged = Meeting(5), Meeting(5)
    found = {}

    async def train(n: int) -> None:
        async with aio.init(project="p", id=f"r{n}", mode="offline") as run:
            await begun.wait()
            for i in range(n + 1):
                await aio.log({"n": n, "i": i})
                await checkpoint()
            assert asyncwb.run is run
            asyncwb.config.update({"n": n})
            await logged.wait()
            await to_thread.run_sync(asyncwb.log, {"n": n, "from": "thread"})
            assert await aio.flush()
            found[n] = run.id, run.status().accepted, run.config.as_dict()

    async with anyio.create_task_group() as tasks:
        for n in range(5):
            tasks.start_soon(train, n)
    assert found == {n: (f"r{n}", n + 2, {"n": n}) for n in range(5)}
    assert asyncwb.run is None


def test_a_thread_without_a_context_has_the_run_started_last() -> None:
    seen: list[object] = []

    def look() -> None:
        asyncwb.log({"from": "thread"})
        seen.append(asyncwb.run)

    first = asyncwb.init(project="p", mode="offline")
    second = asyncwb.init(project="p", mode="offline")
    thread = threading.Thread(target=look)
    thread.start()
    thread.join(10)
    assert seen == [second]
    second.finish()
    inside = contextvars.copy_context()
    assert inside.run(lambda: asyncwb.run) is first
    first.finish()
    with pytest.raises(UsageError):
        inside.run(asyncwb.log, {"a": 1})


@pytest.mark.anyio
async def test_either_module_serves_either_face() -> None:
    run = await aio.init(project="p", mode="disabled")
    asyncwb.log({"a": 1})
    await aio.log({"a": 2})
    assert asyncwb.log_nowait({"a": 3})
    assert asyncwb.define_metric("a", summary="max").ops == ("max",)
    assert isinstance(run, AsyncRun)
    assert run.step == 3
    asyncwb.finish()
    assert asyncwb.run is None
    sync = asyncwb.init(project="p", mode="disabled")
    assert isinstance(sync, Run)
    await aio.log({"a": 1})
    await aio.finish()
    assert asyncwb.run is None


def test_the_front_door_has_every_error_and_nothing_that_is_not_meant() -> None:
    tree = [found for _, found in inspect.getmembers(asyncwb.errors, inspect.isclass)]
    assert [found for found in tree if getattr(asyncwb, found.__name__) is not found] == []
    assert {found.__name__ for found in tree if issubclass(found, Error)} <= {*asyncwb.__all__}
    rooms = {"aio", "apis", "errors"}
    public = {name for name in dir(asyncwb) if not name.startswith("_")}
    assert public == {*asyncwb.__all__, *rooms} - {"__version__"}
    assert {name for name in dir(aio) if not name.startswith("_")} == {*aio.__all__}


def test_rooms_are_there_without_an_import_of_their_own() -> None:
    code = """
import sys, asyncwb
assert not {name for name in sys.modules if name.startswith("asyncwb.")} - {"asyncwb.version"}
assert asyncwb.errors.FilterError is asyncwb.FilterError
assert asyncwb.aio.Api is asyncwb.AsyncApi
assert asyncwb.apis.__name__ == "asyncwb.apis"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


def test_who_starts_a_run_waits_for_no_library_of_the_engine() -> None:
    """The engine's thread imports them, beside the program; what `init` needs has none of them."""
    code = """
import sys, asyncwb.client.live.init, asyncwb.client.live.run, asyncwb.client.live._sync.run
print({"numpy", "aiohttp", "zstandard", "anyio", "asyncio", "ssl"} & set(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
