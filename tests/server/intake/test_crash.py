"""Runs that went silent are ended, and come back when they are heard again."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from asyncwb.server.http.state import STATE
from asyncwb.server.intake.crash import end_silent_runs
from asyncwb.server.process.background import TASKS
from asyncwb.wire.ingest import Presence
from asyncwb.wire.rows.frames import encode
from tests.fix_faults import wait_for
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.ingest_client import (
    EPOCH,
    connect,
    event_frame,
    first_frame,
    rows,
    start_event,
)

pytestmark = [pytest.mark.anyio, both_databases]


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def server(start_server: Callable[..., ServerHandle], time: FakeTime) -> ServerHandle:
    return start_server(clock=time, crash_after=60.0)


def look(server: ServerHandle, started_at: float = 0.0) -> int:
    """Look for silent runs now; returns how many were ended."""

    async def once(app: web.Application) -> int:
        return await end_silent_runs(app[STATE], started_at)

    return server.call(once)


async def test_silence_is_a_crash_and_a_heartbeat_revives(
    server: ServerHandle, time: FakeTime
) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
        heard = time.now
        time.now += 59
        assert look(server) == 0
        time.now += 2
        assert look(server) == 1
        info = await client.run()
        assert (info["state"], info["finished_at"]) == ("crashed", heard)
        assert (await client.send())["state"] == "running"  # no frames: a heartbeat
        info = await client.run()
        assert (info["state"], info["finished_at"], info["rows"]) == ("running", None, 10)
        time.now += 50
        await client.send(encode(11, rows(10, 1)))
        time.now += 50
        assert look(server) == 0


async def test_a_server_that_was_down_has_patience(server: ServerHandle, time: FakeTime) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
        time.now += 1000
        assert look(server, started_at=time.now - 30) == 0
        assert look(server, started_at=time.now - 61) == 1


async def test_who_spoke_last_decides(server: ServerHandle, time: FakeTime) -> None:
    finish = {"t": "finish", "exit_code": 0, "at": EPOCH}
    async with connect(server) as client:
        for run, later in (("clean", "w1"), ("crash", "w2")):
            await client.send(first_frame(1), run=run)
            await client.send(first_frame(1), run=run, writer="w2")
            time.now += 10
            await client.send(event_frame(2, finish), run=run)
            if later == "w2":
                time.now += 10
                await client.send(run=run, writer="w2")
        time.now += 100
        assert look(server) == 2
        assert (await client.run("clean"))["state"] == "finished"
        assert (await client.run("crash"))["state"] == "crashed"


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (3, "failed")])
async def test_a_child_that_falls_silent_leaves_the_end_to_its_parent(
    server: ServerHandle, time: FakeTime, code: int, state: str
) -> None:
    parent, child = "0123abcd", "0123abcd-4567cdef"
    finish = {"t": "finish", "exit_code": code, "at": EPOCH}
    async with connect(server) as client:
        for run in ("heard", "found", "revived", "parent silent"):
            await client.send(first_frame(1), run=run, writer=parent)
            await client.send(first_frame(1, joins=True), run=run, writer=child)
        for run in ("heard", "found"):
            await client.send(event_frame(2, finish), run=run, writer=parent)
            time.now += 10
            await client.send(run=run, writer=child)
            assert (await client.run(run))["state"] == "running"
        await client.send(run="found", writer=child, presence=Presence.DONE)
        assert (await client.run("found"))["state"] == state
        time.now += 100
        look(server)
        await client.send(event_frame(2, finish), run="revived", writer=parent)
        await client.send(encode(2, rows(5, 1)), run="revived", writer=child)
        assert (await client.run("revived"))["state"] == "running"
        time.now += 100
        look(server)
        for run in ("heard", "found", "revived"):
            info = await client.run(run)
            assert (info["state"], info["exit_code"]) == (state, code), run
        assert (await client.run("parent silent"))["state"] == "crashed"


async def test_a_run_that_is_begun_again_ends_as_it_ends_then(
    server: ServerHandle, time: FakeTime
) -> None:
    def finish(code: int) -> dict[str, Any]:
        return {"t": "finish", "exit_code": code, "at": EPOCH}

    async with connect(server) as client:
        await client.send(first_frame(1))
        await client.send(event_frame(2, finish(1)))
        assert (await client.run())["state"] == "failed"
        await client.send(first_frame(1), writer="w2")
        await client.send(event_frame(2, finish(0)), writer="w2")
        info = await client.run()
        assert (info["state"], info["exit_code"]) == ("finished", 0)
        await client.send(first_frame(1), writer="w3")
        time.now += 100
        assert look(server) == 1
        assert (await client.run())["state"] == "crashed"


async def test_what_a_dead_writer_left_is_no_sign_of_life(
    server: ServerHandle, time: FakeTime
) -> None:
    """Killed, resumed elsewhere, ended well; then somebody sends what the first one left."""
    time.now = EPOCH + 1000
    finish = {"t": "finish", "exit_code": 0, "at": EPOCH + 1000}
    newer = start_event(at=EPOCH + 500, name="new", config={"lr": 2})
    async with connect(server) as client:
        await client.send(first_frame(10, name="old", config={"lr": 1, "seed": 3}))
        await client.send(encode(0, rows(10, 40), [(0, newer)]), writer="w2")
        await client.send(event_frame(41, finish), writer="w2")
        assert (await client.run())["state"] == "running", "w1 was heard a moment ago"
        answer = await client.send(encode(11, rows(10, 5)), presence=Presence.GONE)
        assert answer["state"] == "running"
        answer = await client.send(encode(16, rows(15, 5)), presence=Presence.DONE)
        assert (answer["state"], answer["next"]) == ("finished", 21)
        late = encode(0, rows(3, 5, "late"), [(0, start_event(name="x", config={"lr": 0, "b": 1}))])
        answer = await client.send(late, writer="w3", presence=Presence.GONE)
        assert answer["state"] == "finished"
        assert (await client.send(writer="w3", presence=Presence.DONE))["state"] == "finished"
        time.now += 1000
        assert look(server) == 0
        info = await client.run()
        assert (info["exit_code"], info["finished_at"], info["rows"]) == (0, EPOCH + 1000, 65)
        assert (info["name"], info["config"]) == ("new", {"lr": 2, "seed": 3, "b": 1})
        last = {key: info["summary"][key] for key in ("loss", "late", "_step", "_timestamp")}
        assert last == {"loss": 49.0, "late": 7.0, "_step": 49, "_timestamp": EPOCH + 49}


async def test_what_a_dead_writer_left_ends_as_it_did(server: ServerHandle, time: FakeTime) -> None:
    time.now = EPOCH + 1000
    finish = {"t": "finish", "exit_code": 3, "at": EPOCH + 10}
    async with connect(server) as client:
        # Nobody has heard of it: it runs while it comes in, and has crashed when its last row came.
        assert (await client.send(first_frame(), presence=Presence.GONE))["state"] == "running"
        assert (await client.send(presence=Presence.DONE))["state"] == "crashed"
        assert (await client.run())["finished_at"] == EPOCH + 9
        # Found crashed, and so it stays; another one goes on with it.
        answer = await client.send(encode(11, rows(10, 5)), presence=Presence.DONE)
        assert answer["state"] == "crashed"
        assert (await client.send(first_frame(), writer="w2"))["state"] == "running"
        answer = await client.send(first_frame(), writer="w3", presence=Presence.DONE)
        assert answer["state"] == "running"
        # It said itself how it ended.
        whole = encode(0, rows(0, 5), [(0, start_event()), (5, finish)])
        answer = await client.send(whole, run="r2", presence=Presence.DONE)
        assert answer["state"] == "failed"
        info = await client.run("r2")
        assert (info["exit_code"], info["finished_at"]) == (3, EPOCH + 10)


async def test_who_leaves_does_not_end_the_run(server: ServerHandle, time: FakeTime) -> None:
    leave, finish = {"t": "leave", "at": EPOCH}, {"t": "finish", "exit_code": 3, "at": EPOCH}
    async with connect(server) as client:
        for run in ("child first", "parent first", "parent killed"):
            await client.send(first_frame(1), run=run)
            await client.send(first_frame(1), run=run, writer="child")
        await client.send(event_frame(2, leave), run="child first", writer="child")
        assert (await client.run("child first"))["state"] == "running"
        await client.send(event_frame(2, finish), run="child first")
        await client.send(event_frame(2, finish), run="parent first")
        assert (await client.run("parent first"))["state"] == "running"
        await client.send(event_frame(2, leave), run="parent first", writer="child")
        for run in ("child first", "parent first"):
            info = await client.run(run)
            assert (info["state"], info["exit_code"]) == ("failed", 3), run
        await client.send(event_frame(2, leave), run="parent killed", writer="child")
        time.now += 100
        assert look(server) == 1
        assert (await client.run("parent killed"))["state"] == "crashed"


async def test_a_database_that_is_out_of_reach_for_a_while_does_not_end_the_looking(
    start_server: Callable[..., ServerHandle], time: FakeTime
) -> None:
    server = start_server(clock=time, crash_after=0.3)
    async with connect(server) as client:
        await client.send(first_frame())
        held = server.call(_take_every_connection)
        await asyncio.to_thread(wait_for, lambda: "crash detection" in _failing(server))
        time.now += 1000
        server.call(lambda _: held.aclose())
        await asyncio.to_thread(wait_for, lambda: not _failing(server))
        assert (await client.run())["state"] == "crashed"
        async with client.session.get("/metrics") as answer:
            assert 'asyncwb_task_failing{task="crash detection"} 0' in await answer.text()


async def _take_every_connection(app: web.Application) -> AsyncExitStack:
    app[TASKS]._pause = 0.05
    engine = app[STATE].database.engine
    pool: Any = engine.pool
    held = AsyncExitStack()
    for _ in range(pool.size() + pool._max_overflow):
        await held.enter_async_context(engine.connect())
    pool._timeout = 0.05
    return held


def _failing(server: ServerHandle) -> list[str]:
    with urllib.request.urlopen(f"{server.url}/ready", timeout=10) as answer:
        found: list[str] = json.load(answer).get("failing", [])
    return found
