"""A copy of the whole database as of one moment, and a new database made of it.

SQLite copies itself, by its backup API: one file. From PostgreSQL every table is copied in one
REPEATABLE READ transaction by COPY, a file a table in its binary format; `pg_dump` need not be
there, nor be of the server's version. Writers are not held up by either.

Sequences do not belong to transactions, and must not be behind: a segment knows the highest frame
in it, so a frame must not get an id that was used before.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database
from asyncwb.server.store.inventory import NamedObject, named_objects
from asyncwb.server.store.migrate import current, upgrade_to
from asyncwb.server.store.schema import metadata

_FILE: Final = "asyncwb.db"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a copy holds beside its files: columns by table, in an order that references allow.

    `sequences` is the last number of each table's ids. SQLite's file needs neither.
    """

    kind: str
    revision: str
    tables: dict[str, list[str]] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)


async def revision_of(database: Database) -> str | None:
    """Return the revision of a database's schema; None where it has no tables."""
    async with database.connect() as connection:
        return await connection.run_sync(current)


async def copy(database: Database, folder: Path) -> tuple[Contents, list[NamedObject]]:
    """Copy a database into an empty folder; returns what it holds, and the objects it names."""
    async with database.connect() as connection:
        revision = await connection.run_sync(current)
        assert revision is not None
        named = await named_objects(connection)  # the same moment as the copy's
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if database.is_sqlite:
            with closing(sqlite3.connect(folder / _FILE, check_same_thread=False)) as target:
                await driver.backup(target)
            return Contents("sqlite", revision), named
        contents = Contents("postgresql", revision)
        for table in metadata.sorted_tables:
            columns = [str(column.name) for column in table.columns]
            contents.tables[str(table.name)] = columns
            await driver.copy_from_table(
                table.name, columns=columns, output=folder / table.name, format="binary"
            )
        for name, sequence in (await _sequences(connection, contents.tables)).items():
            last = await connection.scalar(text(f"SELECT last_value FROM {sequence}"))
            contents.sequences[name] = int(last)
        return contents, named


async def is_empty(database: Database) -> bool:
    """Tell whether a database has no tables."""
    async with database.connect() as connection:
        return not await connection.run_sync(lambda here: inspect(here).get_table_names())


async def load(database: Database, folder: Path, contents: Contents) -> None:
    """Fill a PostgreSQL database that is empty, in one transaction."""
    async with database.transaction() as connection:
        await database.lock_schema(connection)
        await connection.run_sync(upgrade_to, contents.revision)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        for name, columns in contents.tables.items():
            await driver.copy_to_table(name, columns=columns, source=folder / name, format="binary")
        for name, sequence in (await _sequences(connection, contents.tables)).items():
            last = contents.sequences[name]
            await connection.execute(text(f"SELECT setval('{sequence}', {last})"))


def place_file(folder: Path, target: Path) -> None:
    """Put the copy of a SQLite database at its place, whole or not at all."""
    fresh = target.with_name(f".{target.name}")
    shutil.copyfile(folder / _FILE, fresh)
    fresh.chmod(0o600)
    fresh.replace(target)


async def _sequences(
    connection: AsyncConnection, tables: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Return the sequence of the ids of each table that has one.

    Args:
        connection: to PostgreSQL.
        tables: their columns; an older backup has fewer tables than today's schema.
    """
    found: dict[str, str] = {}
    for name, columns in tables.items():
        if "id" in columns:
            asked = text(f"SELECT pg_get_serial_sequence('{name}', 'id')")
            if (sequence := await connection.scalar(asked)) is not None:
                found[name] = str(sequence)
    return found
