"""What one server of a PostgreSQL commits, the others know at once, and not by looking for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import func, select, text

from asyncwb.server.http import auth, open_requests
from asyncwb.server.http.auth import new_token
from asyncwb.server.http.state import STATE
from asyncwb.server.live import other_servers
from asyncwb.server.process.background import TASKS
from asyncwb.server.runs import streams
from asyncwb.server.store.database import UnreachableError
from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, first_frame, rows
from tests.server.runs.test_streams import events

pytestmark = pytest.mark.anyio
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be found by comparing, and nothing that is remembered run out."""
    monkeypatch.setattr(streams, "POLL", 3600.0)
    monkeypatch.setattr(open_requests, "PAUSE", 3600.0)
    monkeypatch.setattr(auth, "_CACHE_SECONDS", 3600.0)


@pytest.fixture
def two(start_server: Callable[..., ServerHandle], tmp_path: Path) -> list[ServerHandle]:
    """Two servers on one database and one object store."""
    objects = (tmp_path / "objects").as_uri()
    first = start_server(data=tmp_path / "first", objects=objects)
    return [first, start_server(data=tmp_path / "second", objects=objects)]


@asynccontextmanager
async def logged_here_watched_there(
    two: list[ServerHandle],
) -> AsyncIterator[tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[int]]]]:
    """Give a call that logs a row to the first server, and one that waits for what the second one
    tells a page of it next: how many rows there are. There are two."""
    key, numbers = two[0].api_key, count(3)  # the start took a number, too
    async with connect(two[0]) as here, connect(two[1], key) as there:
        await here.send(first_frame(2))
        entity = (await here.get("viewer"))["entity"]
        async with there.session.get(f"/api/v1/runs/{entity}/p/r1/live") as response:
            told = events(response)

            async def log() -> object:
                number = next(numbers)
                return await here.send(encode(number, rows(number, 1)))

            async def rows_told() -> int:
                async with asyncio.timeout(20):
                    found: int = (await anext(told))[1]["rows"]
                    return found

            assert await rows_told() == 2
            yield log, rows_told


async def cut(app: web.Application) -> int:
    """Cut the connections that servers listen on; returns how many there were."""
    async with app[STATE].database.transaction() as connection:
        found = await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query ILIKE 'LISTEN%' AND pid <> pg_backend_pid()"
                " AND datname = current_database()"
            )
        )
        return len(found.all())


@on_postgresql
async def test_a_row_that_one_was_sent_is_on_the_pages_of_the_other(
    two: list[ServerHandle],
) -> None:
    async with logged_here_watched_there(two) as (log, rows_told):
        for number in range(3, 6):
            await log()
            assert await rows_told() == number


@on_postgresql
async def test_a_key_that_one_revokes_is_worthless_at_the_other(two: list[ServerHandle]) -> None:
    key = new_token()

    async def create(app: web.Application) -> None:
        await app[STATE].users.create("eve", key, 0.0)

    async def revoke(app: web.Application) -> None:
        found = await app[STATE].keys.find(key)
        assert found is not None
        assert await app[STATE].keys.revoke(found.id, 1.0)

    await asyncio.to_thread(two[0].call, create)
    async with connect(two[1], key) as there, AsyncExitStack() as stack:
        await there.send(first_frame())
        stream = await stack.enter_async_context(there.session.get("/api/v1/runs/eve/p/r1/live"))
        assert await stream.content.readline() == b"event: run\n"
        await asyncio.to_thread(two[0].call, revoke)
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(stream.content.read(), 20)
        async with there.session.get("/api/v1/viewer") as answer:
            assert answer.status == 401


@on_postgresql
async def test_who_lost_the_connection_listens_again_and_has_missed_nothing(
    two: list[ServerHandle],
) -> None:
    async with logged_here_watched_there(two) as (log, rows_told):
        assert await asyncio.to_thread(two[0].call, cut) == 2
        await log()
        assert await rows_told() == 3


@on_postgresql
async def test_who_could_not_listen_for_a_while_fails_no_more_once_it_listens(
    two: list[ServerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, True])

    async def refuse_twice(app: web.Application) -> None:
        database = app[STATE].database
        own_connection = database.own_connection

        def refused() -> Any:
            if next(failures, False):
                raise UnreachableError(None, None, ConnectionRefusedError("it is away"))
            return own_connection()

        monkeypatch.setattr(database, "own_connection", refused)
        app[TASKS]._pause = 0.0

    async def told(app: web.Application) -> tuple[list[str], str]:
        return app[TASKS].failing, app[STATE].metrics.text().decode()

    await asyncio.to_thread(two[1].call, refuse_twice)
    async with logged_here_watched_there(two) as (log, rows_told):
        assert await asyncio.to_thread(two[0].call, cut) == 2
        await log()
        assert await rows_told() == 3
    failing, metrics = await asyncio.to_thread(two[1].call, told)
    assert 'asyncwb_task_failures_total{task="listening to other servers"} 2' in metrics
    assert failing == []


@on_postgresql
async def test_what_another_program_says_there_is_passed_over(
    two: list[ServerHandle], caplog: pytest.LogCaptureFixture
) -> None:
    said = ["", "hello", "[" * 5000, "7", "null", "[]", "{}", '["from"]']
    said += [
        '{"from": "x", "runs": 5}',
        '{"from": "x", "runs": [[1], "a", null]}',
        '{"from": [], "people": "no"}',
    ]

    async def say(app: web.Application) -> None:
        async with app[STATE].database.transaction() as connection:
            for message in said:
                await connection.execute(select(func.pg_notify("asyncwb", message)))

    async with logged_here_watched_there(two) as (log, rows_told):
        await asyncio.to_thread(two[0].call, say)
        await log()
        assert await rows_told() == 3
    assert [record.getMessage() for record in caplog.records if record.levelno >= 30] == []


def test_messages_are_short_enough_however_many_runs_there_are() -> None:
    others: Any = other_servers.OtherServers(None, None, None, None)  # type: ignore[arg-type]
    runs = {2**63 - 1 - number for number in range(5_000)}
    messages = list(others._messages(runs, people=True))
    assert max(map(len, messages)) <= 7_900
    found = [run for message in messages for run in json.loads(message).get("runs", ())]
    assert sorted(found) == sorted(runs)


@on_postgresql
async def test_what_was_committed_last_is_told_before_a_server_stops(
    two: list[ServerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_servers, "PAUSE", 3600.0)  # nothing is told in time
    async with logged_here_watched_there(two) as (log, rows_told):
        await log()
        await asyncio.to_thread(two[0].stop)
        assert await rows_told() == 3
