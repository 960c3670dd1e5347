"""Rewinding beside others: who seals, who logs, who asks twice, and a server that stops."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web

from asyncwb.server import graphql
from asyncwb.server.history import rewind
from asyncwb.server.history.history import SOURCES
from asyncwb.server.history.rewind import REWINDS
from asyncwb.server.history.seal import Sealer, SealPolicy
from asyncwb.server.history.sources import Sources
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import STATE
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs.segments import SegmentRow, Segments
from asyncwb.settings import default_entity
from asyncwb.wire.rows.frames import encode
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.graphql.asking import ask, codes
from tests.server.graphql.wandb_client import REWIND, WandbClient, seal
from tests.server.ingest_client import connect, first_frame, rows

pytestmark = both_databases


class HookedSegments(Segments):
    """The statements, with something that happens once a rewind knows its segments."""

    hook: Callable[[], Awaitable[None]]
    calls = 0

    async def segments(self, run_id: int) -> list[SegmentRow]:
        found = await super().segments(run_id)
        self.calls += 1
        await self.hook()
        return found


def hook(
    server: ServerHandle, make: Callable[[web.Application], Callable[[], Awaitable[None]]]
) -> HookedSegments:
    """Let rewinds of a server do something else in their midst."""

    async def put(app: web.Application) -> HookedSegments:
        store = HookedSegments(app[STATE].database, app[STATE].claims)
        store.hook = make(app)
        rewinds = app[REWINDS]
        rewinds._sources = Sources(store, app[OBJECTS])
        return store

    return server.call(put)


def logged(server: ServerHandle, rows: int) -> WandbClient:
    client = WandbClient(server)
    client.begin()
    client.log(0, [{"_step": i, "v": i} for i in range(rows)])
    return client


def values(client: WandbClient) -> dict[int, Any]:
    found = client.history(min=0, max=10_000, samples=10_000)
    return {row["_step"]: row["v"] for row in found}


def asked(step: float) -> dict[str, Any]:
    return {"runName": "r1", "projectName": "p", "metricName": "_step", "metricValue": step}


def files(server: ServerHandle) -> list[str]:
    async def work(app: web.Application) -> list[str]:
        return sorted(found.name for found in app[OBJECTS].list("segments"))

    return server.call(work)


def named(server: ServerHandle) -> list[str]:
    """The files that segments name."""

    async def work(app: web.Application) -> list[str]:
        return sorted(await app[SOURCES].store.known_paths(files_there))

    files_there = files(server)
    return server.call(work)


def test_a_rewind_whose_claim_was_lost_changes_nothing(
    start_server: Callable[..., ServerHandle],
) -> None:
    time = FakeTime()
    server = start_server(clock=time)
    client = logged(server, 60)
    seal(server)
    client.log(60, [{"_step": 60 + i, "v": 60 + i} for i in range(20)])

    def late(app: web.Application) -> Callable[[], Awaitable[None]]:
        async def others_seal() -> None:
            time.now += 10_000  # it was asleep for hours; its claim is anybody's
            store = Segments(app[STATE].database, app[STATE].claims)
            other = Sealer(store, app[OBJECTS], SealPolicy(rows=1, frames=1), time)
            assert await other.turn()

        return others_seal

    hook(server, late)
    assert codes(ask(server, REWIND, input=asked(10))) == ["busy"]
    assert values(client) == {i: i for i in range(80)}
    assert files(server) == named(server)


def test_a_rewind_takes_as_long_as_it_takes(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 0.3
    client = logged(server, 60)
    monkeypatch.setattr(graphql._executor(), "_max_seconds", limit)

    def slow(_: web.Application) -> Callable[[], Awaitable[None]]:
        async def longer_than_allowed() -> None:
            await asyncio.sleep(2 * limit)

        return longer_than_allowed

    hook(server, slow)
    assert "errors" not in ask(server, REWIND, input=asked(10))
    monkeypatch.undo()
    assert values(client) == {i: i for i in range(11)}


def test_who_asks_again_waits_for_the_one_under_way(server: ServerHandle) -> None:
    client = logged(server, 60)
    begun, go_on, entered = threading.Event(), threading.Event(), threading.Semaphore(0)

    def held(app: web.Application) -> Callable[[], Awaitable[None]]:
        really = app[REWINDS].rewind

        async def counted(path: RunKey, run_id: int, step: int) -> None:
            entered.release()
            await really(path, run_id, step)

        app[REWINDS].rewind = counted  # type: ignore[method-assign]

        async def until_told() -> None:
            begun.set()
            await asyncio.to_thread(go_on.wait)

        return until_told

    store = hook(server, held)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, server, REWIND, input=asked(10))
        assert begun.wait(10)
        again = [pool.submit(ask, server, REWIND, input=asked(10)) for _ in range(2)]
        for _ in range(3):
            assert entered.acquire(timeout=20)
        go_on.set()
        for answer in (first, *again):
            assert "errors" not in answer.result(20)
    assert store.calls == 1
    assert values(client) == {i: i for i in range(11)}


@pytest.mark.parametrize("sealed", [False, True], ids=["frames", "sealed"])
def test_frames_of_our_own_clients_are_cut_and_cut_again(
    server: ServerHandle, sealed: bool
) -> None:
    async def log(first: int) -> None:
        async with connect(server) as log_to:
            if not first:
                assert "error" not in await log_to.send(first_frame(20))
            assert "error" not in await log_to.send(encode(21 + first, rows(20 + first, 20)))

    asyncio.run(log(0))
    asyncio.run(log(20))  # frames without an event
    client = WandbClient(server)
    for step in (35, 25, 10, -1):
        if sealed:
            seal(server)
        assert "errors" not in ask(server, REWIND, input=asked(step))
        found = client.history(min=0, max=10_000, samples=10_000)
        assert [row["loss"] for row in found] == list(range(step + 1))
    asyncio.run(log(40))  # the writer's numbers stay used
    seal(server)
    assert len(client.history(min=0, max=10_000, samples=10_000)) == 20


@pytest.mark.parametrize("first", [10, 30])
def test_of_two_rewinds_at_once_the_lower_step_holds(server: ServerHandle, first: int) -> None:
    client = logged(server, 60)
    seal(server)
    client.log(60, [{"_step": 60 + i, "v": 60 + i} for i in range(20)])
    begun, go_on = threading.Event(), threading.Event()

    def held(_: web.Application) -> Callable[[], Awaitable[None]]:
        async def until_told() -> None:
            begun.set()
            await asyncio.to_thread(go_on.wait)

        return until_told

    hook(server, held)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(ask, server, REWIND, input=asked(first))
        assert begun.wait(10)
        other = pool.submit(ask, server, REWIND, input=asked(40 - first))
        go_on.set()
        for answer in (one, other):
            assert "errors" not in answer.result(60)
    assert values(client) == {i: i for i in range(11)}
    assert client.ask("historyLineCount") == {"historyLineCount": 11}
    assert json.loads(client.ask("summaryMetrics")["summaryMetrics"])["v"] == 10


@pytest.mark.parametrize("step", [10, 200])
def test_rows_that_come_meanwhile_are_cut_off_too(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    client = logged(server, 60)
    seal(server)
    client.log(60, [{"_step": 60 + i, "v": 60 + i} for i in range(20)])
    rounds: list[int] = []
    really = rewind._prepared

    def beside_a_writer(cut: Any, frames: Sequence[Any], former: str) -> Any:
        rounds.append(len(frames))
        if len(rounds) < 3:
            first = 60 + 20 * len(rounds)
            client.log(first, [{"_step": first + i, "v": first + i} for i in range(20)])
        return really(cut, frames, former)

    monkeypatch.setattr(rewind, "_prepared", beside_a_writer)
    line = client.rewind(step)
    assert rounds == [1, 1, 1]
    expected = {i: i for i in range(min(step + 1, 120))}
    assert values(client) == expected
    assert line == len(expected)
    assert json.loads(client.ask("summaryMetrics")["summaryMetrics"])["v"] == max(expected)


def test_a_server_that_stops_leaves_the_run_as_it_was(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server()
    client = logged(server, 60)
    seal(server)
    begun = threading.Event()

    def held(app: web.Application) -> Callable[[], Awaitable[None]]:
        async def until_it_stops() -> None:
            begun.set()
            await asyncio.to_thread(app[REWINDS]._stop.wait)

        return until_it_stops

    hook(server, held)

    async def begin(app: web.Application) -> asyncio.Task[None]:
        path = RunKey(default_entity(), "p", "r1")
        run = await app[SOURCES].store.locate(path)
        assert run is not None
        return asyncio.create_task(app[REWINDS].rewind(path, run.id, 10))

    task = server.call(begin)
    assert begun.wait(10)
    server.stop()
    refusal = task.exception()
    assert isinstance(refusal, ApiError)
    assert refusal.status == 503
    server.start()
    assert values(client) == {i: i for i in range(60)}
    assert files(server) == named(server)
