"""What older databases hold is there after an upgrade."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, column, insert, select, table

from asyncwb.server.config import ServerConfig
from asyncwb.server.http.access import Role
from asyncwb.server.store.database import AsyncConnection, Database
from asyncwb.server.store.migrate import alembic_config, migrate
from asyncwb.server.store.people.teams import Teams
from asyncwb.server.store.people.users import Users, digest
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs.projects import Projects
from asyncwb.server.store.runs.runs import Runs
from asyncwb.server.store.schema import runs
from asyncwb.wire.rows.values import loads
from tests.fix_server import both_databases
from tests.server.ingest_client import first_frame

pytestmark = [pytest.mark.anyio, both_databases]

KEY = "k" * 43
FRAME = first_frame()


def _upgrade(connection: Connection, revision: str) -> None:
    importlib.import_module("alembic.command").upgrade(alembic_config(connection), revision)


async def _add(connection: AsyncConnection, into: str, /, **row: Any) -> None:
    """Insert a row into a table as it is, not as the schema of today says."""
    await connection.execute(insert(table(into, *map(column, row))).values(row))


async def _fill_first_tables(connection: AsyncConnection) -> None:
    at = {"created_at": 10.0}
    for number, (name, admin) in enumerate((("root", True), ("eve", False)), start=1):
        await _add(connection, "users", id=number, name=name, admin=admin, **at)
    await _add(connection, "api_keys", id=1, user_id=2, digest=digest(KEY), hint="...kkkk", **at)
    for number, entity in enumerate(("eve", "lab"), start=1):
        await _add(connection, "projects", id=number, entity=entity, name="p", created_at=20.0)
    counts = {"rows": 10, "lost": 0, "version": 3}
    text = {"tags": "[]", "config": '{"lr": NaN}', "summary": "{}", "fold": "{}"}
    times = {"created_at": 30.0, "heartbeat_at": 40.0}
    run = {"project_id": 2, "run": "r1", "name": "first", "state": "finished"}
    await _add(connection, "runs", id=1, **run, **times, **counts, **text)
    writer = {"run_id": 1, "writer": "w1"}
    await _add(
        connection, "writers", **writer, next_seq=11, rows=10, lost=0, opened_at=30.0,
        heartbeat_at=40.0,
    )  # fmt: skip
    await _add(
        connection, "frames", id=1, **writer, first_seq=0, count=11, rows=10, min_step=0,
        max_step=9, size=len(FRAME), data=FRAME,
    )  # fmt: skip


async def test_people_come_to_a_database_that_has_runs(
    database_url: str | None, tmp_path: Path
) -> None:
    database = Database(ServerConfig(data=tmp_path, database=database_url).database_url)
    async with database.transaction() as connection:
        await connection.run_sync(_upgrade, "0001")
        await _fill_first_tables(connection)
    await migrate(database)
    await _nothing_is_lost(database)
    await _everybody_has_a_place(database)
    await database.close()


async def _nothing_is_lost(database: Database) -> None:
    run = await Runs(database).get(RunKey("lab", "p", "r1"))
    assert run is not None
    assert (run.columns["rows"], run.columns["name"]) == (10, "first")
    rate = loads(run.columns["config"])["lr"]
    assert rate != rate
    assert (run.columns["stop_requested"], run.columns["indexed_version"]) == (False, -1)
    tail = [run.columns[f"tail_{name}"] for name in ("frames", "rows", "size")]
    assert tail == [1, 10, len(FRAME)]
    frames = table("frames", column("run_id"), column("data"))
    async with database.connect() as connection:
        rows = await connection.execute(select(frames.c.run_id, frames.c.data))
        assert [tuple(row) for row in rows] == [(1, FRAME)]


async def _everybody_has_a_place(database: Database) -> None:
    users = Users(database)
    teams = Teams(database, users)
    eve, root = await users.by_key(KEY), await users.first()
    assert eve is not None
    assert root is not None
    assert eve.roles == {"eve": Role.ADMIN}
    assert root.roles == {"root": Role.ADMIN, "lab": Role.ADMIN}
    places = await teams.some(["root", "eve", "lab", "other"])
    assert {name: place.kind for name, place in places.items()} == {
        "root": "user",
        "eve": "user",
        "lab": "team",
    }
    assert places["lab"].created_at == 20.0
    assert [one.user.name for one in await teams.members(places["lab"].id)] == ["root"]
    project = await Projects(database).find("lab", "p")
    assert project is not None
    assert (project.visibility, project.user_id) == ("private", None)


async def test_runs_that_hold_lists_are_indexed_again(
    database_url: str | None, tmp_path: Path
) -> None:
    database = Database(ServerConfig(data=tmp_path, database=database_url).database_url)
    async with database.transaction() as connection:
        await connection.run_sync(_upgrade, "0001")
        await _fill_first_tables(connection)
        await connection.run_sync(_upgrade, "0003")
        run = {"project_id": 2, "name": "n", "state": "finished", "rows": 0, "lost": 0}
        run |= {"created_at": 30.0, "heartbeat_at": 40.0, "tags": "[]", "config": "{}"}
        run |= {"summary": "{}", "fold": "{}", "version": 3, "indexed_version": 3}
        await _add(connection, "fields", id=1, project_id=2, path="config.a")
        for number, text in ((7, "[1]"), (8, '{"a":[1]}')):
            await _add(connection, "runs", id=number, run=f"r{number}", **run)
            value = {"field_id": 1, "run_id": number, "position": 0, "kind": 6, "text": text}
            await _add(connection, "field_values", logged=False, **value)
        await connection.run_sync(_upgrade, "0005")
    async with database.connect() as connection:
        indexed = select(runs.c.id, runs.c.indexed_version).where(runs.c.id > 1)
        assert {row[0]: row[1] for row in await connection.execute(indexed)} == {7: 2, 8: 3}
    await migrate(database)
    async with database.connect() as connection:  # the one that is up to date may hold too much
        assert {row[0]: row[1] for row in await connection.execute(indexed)} == {7: 2, 8: 2}
    await database.close()
