"""An answer that says that nothing was written is true, whatever goes wrong, and when.

Each route and each mutation that writes is asked as an admin, with the first COMMIT going wrong,
then the second, and so on: once done without an answer, once not done. On PostgreSQL the backend
is killed before it has the COMMIT; SQLite's driver fails.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import select

from asyncwb.server.http.state import STATE
from asyncwb.server.store.schema import metadata
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from tests.fix_people import TEAM, People
from tests.fix_server import ServerHandle, both_databases
from tests.server.graphql.asking import post
from tests.server.graphql.test_access import MUTATIONS, document_of
from tests.server.http.test_access import TABLE, Try
from tests.server.ingest_client import first_frame, head

pytestmark = pytest.mark.anyio

asyncpg: Any = importlib.import_module("asyncpg")
DENIES: Final = re.compile(r"[Nn]othing (was|of)")
_MOST: Final = 8
"""commits that one request may make"""
_INDEX: Final = {"fields", "field_values"}
"""what the server makes in the background from what was written before"""
Written = dict[str, list[str]]


@contextmanager
def failing(server: ServerHandle, number: int, *, done: bool) -> Iterator[list[int]]:
    """Let the commit of this number fail of those that requests cause; gives those that came."""
    seen: list[int] = []

    def commit(real: Any, database: Any, connection: Any) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith("Task-"):  # others have names
            seen.append(len(seen))
            if seen[-1] == number and done:
                real(connection)
                raise ConnectionResetError("the answer to COMMIT was lost")
            if seen[-1] == number and database.is_sqlite:
                connection.rollback()
                raise sqlite3.OperationalError("disk I/O error")
            if seen[-1] == number:
                _kill(database, connection._connection.get_server_pid())
        real(connection)

    async def switch(app: web.Application) -> None:
        database = app[STATE].database
        dialect: Any = database.engine.sync_engine.dialect
        if "do_commit" in vars(dialect):
            del dialect.do_commit
        else:
            dialect.do_commit = partial(commit, dialect.do_commit, database)

    server.call(switch)
    try:
        yield seen
    finally:
        server.call(switch)


def _kill(database: Any, backend: int) -> None:
    """Kill a process of PostgreSQL; returns once it is gone."""

    async def kill() -> None:
        url = database.url.set(drivername="postgresql")
        connection = await asyncpg.connect(url.render_as_string(hide_password=False))
        try:
            await connection.execute("SELECT pg_terminate_backend($1, 10000)", backend)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(kill()))  # this loop waits in a COMMIT
    thread.start()
    thread.join()


def written(server: ServerHandle) -> Written:
    """Return all that requests put in the database."""
    left = {"used_at", "indexed_version"}

    async def look(app: web.Application) -> Written:
        found = {}
        async with app[STATE].database.connect() as connection:
            for table in metadata.sorted_tables:
                if table.name in _INDEX:
                    continue
                columns = [column for column in table.c if column.name not in left]
                found[table.name] = sorted(map(repr, await connection.execute(select(*columns))))
        return found

    return server.call(look)


def changed(before: Written, after: Written) -> list[str]:
    return [name for name in before if before[name] != after[name]]


@both_databases
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_no_route_denies_what_it_wrote(people: People, *, done: bool) -> None:
    tried = 0
    cases = [(*key, case) for key, some in TABLE.items() if key[0] != "GET" for case in some]
    for method, route, case in cases:
        for number in range(_MOST):
            on = Try(people, "private", await asyncio.to_thread(people.project))
            request = await asyncio.to_thread(_request, on, route, case)
            before = await asyncio.to_thread(written, people.server)
            with failing(people.server, number, done=done) as seen:
                status, said = await _answer(method, *request)
            after = await asyncio.to_thread(written, people.server)
            where = (method, route, number, said, changed(before, after))
            assert not (DENIES.search(said) and changed(before, after)), where
            if len(seen) <= number:
                break
            assert status in (500, 503), where
            tried += 1
    assert tried > 20


def _request(on: Try, route: str, case: Any) -> tuple[str, Any, dict[str, str]]:
    names = {"entity": TEAM, "team": TEAM, "project": on.project, "run": "r1", "user": "member"}
    names |= {"name": "x", "token": "t", "id": "1", **case.fill(on)}
    body = None if case.body is None else case.body(on)
    headers = {**on.people.headers("admin"), **case.headers(on)}
    return on.people.server.url + route.format(**names), body, headers


async def _answer(method: str, url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, str]:
    sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, **sent) as answer,
    ):
        return answer.status, await answer.text()


@both_databases
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_no_mutation_denies_what_it_wrote(people: People, *, done: bool) -> None:
    tried = 0
    for name, case in MUTATIONS.items():
        for number in range(_MOST):
            arguments = case.arguments(people, people.project())
            document = document_of("Mutation", case, arguments)
            before = written(people.server)
            with failing(people.server, number, done=done) as seen:
                said = _mutate(people, document, arguments)
            after = written(people.server)
            where = (name, number, said, changed(before, after))
            assert not (DENIES.search(said) and changed(before, after)), where
            if len(seen) <= number:
                break
            assert "errors" in said, where
            tried += 1
    assert tried > 20


def _mutate(people: People, document: str, arguments: Mapping[str, Any]) -> str:
    body = json.dumps({"query": document, "variables": arguments}).encode()
    return json.dumps(post(people.server, body, people.headers("admin"))[1])


_UPSERT: Final = 'mutation {{ upsertBucket(input: {{entityName: "new", {}}}) {{ inserted }} }}'
_IN_NEW: Final = 'modelName: "p", name: "r1"'


@both_databases
@pytest.mark.parametrize(
    "edit", ['sweep: "none"', 'state: "odd"', 'tags: [""]', 'config: "[]"', 'notes: "\\u0000"']
)
def test_an_edit_that_is_refused_makes_no_team(people: People, edit: str) -> None:
    before = written(people.server)
    said = _mutate(people, _UPSERT.format(f"{_IN_NEW}, {edit}"), {})
    assert ("errors" in said) == (not changed(before, written(people.server))), said


@both_databases
@pytest.mark.parametrize("frames", [[], [first_frame(1, resume="must")]], ids=["none", "must"])
async def test_a_stream_that_is_refused_makes_no_team(people: People, frames: list[bytes]) -> None:
    batch = encode_batch([(head(entity="new"), frames)])
    headers = {**people.headers("admin"), "Content-Type": CONTENT_TYPE}
    before = await asyncio.to_thread(written, people.server)
    _, said = await _answer("POST", f"{people.server.url}/api/v1/ingest", batch, headers)
    assert "Nothing was written" in said
    assert not changed(before, await asyncio.to_thread(written, people.server))
