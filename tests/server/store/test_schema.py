"""The schema and its migrations: one truth, on both databases, whoever starts first."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Insert, MetaData, insert, inspect, select, text

from asyncwb.server.config import ServerConfig
from asyncwb.server.store.database import Database
from asyncwb.server.store.migrate import HEAD, alembic_config, current, migrate, upgrade
from asyncwb.server.store.schema import metadata, users
from tests.fix_server import both_databases

pytestmark = [pytest.mark.anyio, both_databases]


def url_of(database_url: str | None, folder: Path) -> str:
    return ServerConfig(data=folder, database=database_url).database_url


async def test_migrations_make_the_schema(database_url: str | None, tmp_path: Path) -> None:
    database = Database(url_of(database_url, tmp_path))
    async with database.transaction() as connection:
        await connection.run_sync(upgrade)
    async with database.connect() as connection:
        assert await connection.run_sync(_differences) == []
        assert await connection.run_sync(_heads) == [HEAD] == [await connection.run_sync(current)]
        migrated = await connection.run_sync(_tables)
    async with database.transaction() as connection:
        await connection.run_sync(_drop_all)
    await migrate(database)  # at once, as in any empty database
    async with database.connect() as connection:
        assert await connection.run_sync(current) == HEAD
        made = await connection.run_sync(_tables)
    for name in migrated.keys() | made.keys():
        assert made.get(name) == migrated.get(name), name
    await database.close()


def _tables(connection: Connection) -> dict[str, Any]:
    """Return all that the database says of its tables; the order of columns is left out."""
    seen = inspect(connection)
    found: dict[str, Any] = {}
    for name in seen.get_table_names():
        columns = [{**one, "type": repr(one["type"])} for one in seen.get_columns(name)]
        indices: list[Any] = [dict(one) for one in seen.get_indexes(name)]
        for one in indices:  # what a partial index is of
            one["dialect_options"] = {k: str(v) for k, v in one.get("dialect_options", {}).items()}
        keys: list[Any] = [dict(one) for one in seen.get_foreign_keys(name)]
        if connection.dialect.name == "sqlite":  # their names are not seen in each form of them
            keys = [{**one, "name": None} for one in keys]
        parts: list[Iterable[object]] = [
            columns,
            [seen.get_pk_constraint(name)],
            keys,
            seen.get_unique_constraints(name),
            seen.get_check_constraints(name),
            indices,
        ]
        found[name] = [sorted(repr(item) for item in part) for part in parts]
    if connection.dialect.name == "sqlite":
        statements = text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        for name, sql in connection.execute(statements):
            said = [words in sql for words in ("AUTOINCREMENT", "WITHOUT ROWID")]
            found.setdefault(name, []).append(said)
    return found


def _drop_all(connection: Connection) -> None:
    there = MetaData()
    there.reflect(connection)
    there.drop_all(connection)


def _differences(connection: Connection) -> Any:
    context = importlib.import_module("alembic.migration").MigrationContext
    compare = importlib.import_module("alembic.autogenerate").compare_metadata
    return compare(context.configure(connection, opts={"compare_type": True}), metadata)


def _heads(connection: Connection) -> list[str]:
    script = importlib.import_module("alembic.script").ScriptDirectory
    heads: list[str] = script.from_config(alembic_config(connection)).get_heads()
    return heads


async def test_parallel_first_starts_do_not_race(database_url: str | None, tmp_path: Path) -> None:
    databases = [Database(url_of(database_url, tmp_path)) for _ in range(4)]
    await asyncio.gather(*(migrate(database) for database in databases))
    for database in databases:
        async with database.connect() as connection:
            assert await connection.run_sync(current) == HEAD
        await database.close()


async def _fail_after(database: Database, statement: Insert) -> None:
    async with database.transaction() as connection:
        await connection.execute(statement)
        raise ZeroDivisionError


async def test_a_transaction_is_all_or_nothing(database_url: str | None, tmp_path: Path) -> None:
    database = Database(url_of(database_url, tmp_path))
    await migrate(database)
    row = {"admin": False, "created_at": 0.0}
    with pytest.raises(ZeroDivisionError):
        await _fail_after(database, insert(users).values(name="gone", **row))
    async with database.transaction() as connection:
        await connection.execute(insert(users).values(name="stays", **row))
    async with database.connect() as connection:
        assert (await connection.execute(select(users.c.name))).scalars().all() == ["stays"]
    await database.close()
