"""The statements of dropped objects: nothing names them any more, and since when.

Whoever drops the last reference to an object says so here, in the same transaction. A reader or a
backup that began before it still finds the object, until a grace is over and it is collected.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Column, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.schema import dropped_objects

_AT_ONCE: Final = 500
"""values in one IN (...)"""


async def drop(connection: AsyncConnection, names: Collection[str], now: float) -> None:
    """Say that nothing names these objects any more; their names are never used again."""
    rows = [{"name": name, "dropped_at": now} for name in names]
    if rows:
        await connection.execute(insert(dropped_objects), rows)


async def known(database: Database, column: Column[str], names: Collection[str]) -> set[str]:
    """Return those of these objects that a column names, or that were dropped lately."""
    found: set[str] = set()
    async with database.connect() as connection:
        for some in batches(names, _AT_ONCE):
            found.update(await connection.scalars(select(column).where(column.in_(some))))
        for some in batches(names, _AT_ONCE):
            waiting = select(dropped_objects.c.name).where(dropped_objects.c.name.in_(some))
            found.update(await connection.scalars(waiting))
    return found


class Dropped:
    """Reads and forgets what was dropped. Every method is one short transaction or read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def before(self, time: float) -> list[str]:
        """Return some hundred objects that were dropped before a time (unix seconds)."""
        statement = (
            select(dropped_objects.c.name)
            .where(dropped_objects.c.dropped_at < time)
            .order_by(dropped_objects.c.dropped_at)
            .limit(_AT_ONCE)
        )
        async with self._database.connect() as connection:
            return list(await connection.scalars(statement))

    async def forget(self, names: Collection[str]) -> None:
        """Take objects off the list that are deleted."""
        async with self._database.transaction() as connection:
            for some in batches(names, _AT_ONCE):
                gone = delete(dropped_objects).where(dropped_objects.c.name.in_(some))
                await connection.execute(gone)
