"""Live events: what changed and no more, read once for all who watch, and nothing while idle."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from asyncwb.server.http.access import Watcher
from asyncwb.server.http.state import STATE
from asyncwb.server.live import feed
from asyncwb.server.runs import streams
from asyncwb.server.runs.edit_requests import edit_run
from asyncwb.server.runs.edits import Edit
from asyncwb.server.store.records import RunKey
from tests.fix_server import ServerHandle, both_databases
from tests.server.ingest_client import Client, connect, first_frame, head

pytestmark = pytest.mark.anyio

LONG = [float(number) for number in range(90_000)]
WATCHERS = 30


async def events(response: Any) -> AsyncIterator[tuple[int, Any]]:
    """Yield the data of server-sent events, each with its size."""
    async for line in response.content:
        if line.startswith(b"data: "):
            yield len(line), json.loads(line[6:])


async def begin(client: Client, **summary: Any) -> RunKey:
    """Make a run with a summary."""
    (answer,) = await client.post([(head(), [first_frame(1)])])
    path = RunKey(*answer["run"].split("/"))
    await change(client, path, **summary)
    return path


async def change(client: Client, path: RunKey, **summary: Any) -> None:
    """Write values into a run's summary."""
    query = "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }"
    said = {"entityName": path.entity, "modelName": path.project, "name": path.run}
    variables = {"i": {**said, "summaryMetrics": json.dumps(summary)}}
    body = {"query": query, "variables": variables}
    async with client.session.post("/graphql", json=body) as answer:
        assert "errors" not in await answer.json()


async def test_a_long_summary_is_sent_once_and_cut(server: ServerHandle) -> None:
    async with connect(server) as client, AsyncExitStack() as stack:
        path = await begin(client, long=LONG, text="x" * 5000, n=1)
        entity = path.entity
        told = []
        for _ in range(WATCHERS):
            address = f"/api/v1/runs/{entity}/p/r1/live"
            response = await stack.enter_async_context(client.session.get(address))
            told.append(events(response))
        for one in told:
            size, first = await anext(one)
            assert first["whole"]
            assert size < 5000
            assert first["summary"]["n"] == 1
            assert first["summary"]["text"]["bytes"] == 5000
            mark = first["summary"]["long"]
            assert (mark["_type"], mark["start"][:9]) == ("cut", "[0.0,1.0,")
            assert mark["bytes"] > 500_000
        with server.statements() as asked:
            await change(client, path, n=2)
            for one in told:
                size, event = await anext(one)
                assert not event["whole"]
                assert size < 1000
                assert event["summary"] == {"n": 2}
        reads = [one for one in asked if "runs.summary" in one and "runs.config" not in one]
        assert len([one for one in reads if "runs.tags" not in one]) <= 3, (
            "not one for each watcher"
        )
        await change(client, path, long=[*LONG[:-1], -1.0])
        _, event = await anext(told[0])
        assert list(event["summary"]) == ["long"], "a change inside of what is cut is one, too"


async def test_an_event_is_bounded(server: ServerHandle) -> None:
    many = {f"key{number}": "x" * 500 for number in range(2000)}
    async with connect(server) as client:
        path = await begin(client, **many)
        async with client.session.get(f"/api/v1/runs/{path.entity}/p/r1/live") as response:
            size, event = await anext(events(response))
            assert event["more"]
            assert size < streams.MAX_EVENT + 1000


def test_what_is_gone_is_bounded_too() -> None:
    many = {f"key{number}": number for number in range(50_000)}
    for before, after in ((many, {}), (many, {"x" * 50_000: 1}), ({}, many)):
        event = streams._written({"version": 2}, after, before)
        assert len(event) < streams.MAX_EVENT + 1000
        data = json.loads(event.removeprefix(b"event: run\ndata: "))
        assert data["more"]
        assert data["removed"] == list(before)[: len(data["removed"])]
    few = json.loads(streams._written({"version": 2}, {"a": 1}, {"a": 0, "b": 0})[17:])
    assert (few["summary"], few["removed"], few["more"]) == ({"a": 1}, ["b"], False)


async def test_who_comes_while_another_is_held_up_is_told_what_is(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = threading.Event(), threading.Event()
    watchers: list[Watcher] = []

    async def may_go_on(self: Watcher, *, every: float) -> bool:
        watchers.append(self)
        if len(watchers) == 2 and self is watchers[0]:  # who has been told of nothing new yet
            held.set()
            await asyncio.to_thread(go_on.wait)
        return True

    monkeypatch.setattr(Watcher, "may_go_on", may_go_on)
    async with connect(server) as client, AsyncExitStack() as stack:
        path = await begin(client, n=1)

        async def watch() -> AsyncIterator[tuple[int, Any]]:
            address = f"/api/v1/runs/{path.entity}/p/r1/live"
            return events(await stack.enter_async_context(client.session.get(address)))

        first = await watch()
        await anext(first)
        await change(client, path, n=2)
        await asyncio.to_thread(held.wait)
        second = await watch()
        assert (await anext(second))[1]["summary"]["n"] == 2
        await change(client, path, n=3)
        assert (await anext(second))[1]["summary"] == {"n": 3}
        go_on.set()
        while (await anext(first))[1]["summary"]["n"] < 3:
            pass
        third = await watch()
        assert (await anext(third))[1]["summary"]["n"] == 3


async def test_who_stops_reading_keeps_nothing_in_memory(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, stuck, versions = threading.Event(), threading.Semaphore(0), 5
    real, writes = web.StreamResponse.write, 0

    async def write(self: web.StreamResponse, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes <= versions:
            stuck.release()
            await asyncio.to_thread(go_on.wait)
        await real(self, data)

    async with connect(server) as client, AsyncExitStack() as stack:
        path = await begin(client, n=0)
        address = f"/api/v1/runs/{path.entity}/p/r1/live"
        monkeypatch.setattr(web.StreamResponse, "write", write)
        try:
            for n in range(versions):  # each of them is stuck at another one
                await change(client, path, n=n)
                await stack.enter_async_context(client.session.get(address))
                await asyncio.to_thread(stuck.acquire)
            told = events(await stack.enter_async_context(client.session.get(address)))
            assert (await anext(told))[1]["summary"]["n"] == versions - 1, "nobody is held up"
            gc.collect()
            assert sum(isinstance(one, feed.Snapshot) for one in gc.get_objects()) <= 2
        finally:
            go_on.set()


async def test_lists_cut_what_is_long_and_a_run_by_itself_is_whole(server: ServerHandle) -> None:
    async with connect(server) as client:
        path = await begin(client, long=LONG, n=1)
        for more in ("", "?order=-created_at"):
            (run,) = (await client.get(f"projects/{path.entity}/p/runs{more}"))["runs"]
            assert run["summary"]["n"] == 1
            assert run["summary"]["long"]["_type"] == "cut"
        address = f"runs/{path.entity}/p/r1"
        assert (await client.get(address))["summary"]["long"] == LONG
        assert (await client.get(f"{address}?values=short"))["summary"]["long"]["_type"] == "cut"


async def test_figures_alone_cost_no_summary(server: ServerHandle) -> None:
    async with connect(server) as client:
        path = await begin(client, n=1)
        run = f"runs/{path.entity}/p/r1"
        async with client.session.get(f"/api/v1/{run}/live?values=none") as response:
            told = events(response)
            with server.statements() as asked:
                _, first = await anext(told)
                record = await client.get(run, values="none", metrics="none")
            assert not [one for one in asked if "summary" in one or "config" in one]
            assert (first["rows"], first["summary"], first["whole"]) == (1, {}, True)
            assert (record["rows"], record["version"]) == (1, first["version"])
            assert not {"config", "summary", "metrics"} & record.keys()
            await change(client, path, n=2)
            _, event = await anext(told)
            assert event["version"] > first["version"]
            assert (event["summary"], event["removed"], event["more"]) == ({}, [], False)


@both_databases
async def test_what_another_process_writes_is_noticed_by_one_question(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "POLL", 0.05)
    async with connect(server) as client, AsyncExitStack() as stack:
        path = await begin(client, n=1)
        told = []
        for _ in range(5):
            address = f"/api/v1/runs/{path.entity}/p/r1/live"
            response = await stack.enter_async_context(client.session.get(address))
            told.append(events(response))
            await anext(told[-1])

        async def as_another_process(app: web.Application) -> None:
            state = app[STATE]
            user = await state.users.first()
            assert user is not None
            with monkeypatch.context() as patched:
                patched.setattr(state.hub, "publish", lambda _: None)
                await edit_run(state, user, path, Edit(summary={"n": 2}))

        await asyncio.to_thread(server.call, as_another_process)
        for one in told:
            async with asyncio.timeout(10):
                _, event = await anext(one)
            assert event["summary"] == {"n": 2}


async def test_who_looks_at_the_same_time_reads_once() -> None:
    watched, reads = feed.Watched(), 0

    async def read(before: feed.Snapshot | None) -> feed.Snapshot:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return feed.Snapshot(reads, {}, {}, before.version if before else None, b"")

    await asyncio.gather(*(watched.look(read) for _ in range(20)))
    assert (reads, watched.latest and watched.latest.since) == (1, None)
    watched.publish()
    await asyncio.gather(*(watched.look(read) for _ in range(20)))
    assert (reads, watched.latest and watched.latest.since) == (2, 1)
    await watched.look(read)
    assert reads == 2, "an idle run is not read"
