"""Runs that went silent are ended, and come back when they are heard again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp import web

from asyncwb.server.crash import end_silent_runs
from asyncwb.server.state import STATE
from asyncwb.wire.frames import encode
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.ingest_client import EPOCH, connect, event_frame, first_frame, rows

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
