"""The statements of a store's identity: the id that its database and its objects share."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import blobs, secrets, segments

_NAME: Final = "store"
_SOME: Final = 20


class Identity:
    """Reads and writes the id in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> str | None:
        """Return the id; None where the database has none yet."""
        statement = select(secrets.c.value).where(secrets.c.name == _NAME)
        async with self._database.connect() as connection:
            return (await connection.execute(statement)).scalar()

    async def write(self, fresh: str, now: float) -> str:
        """Give the database an id where it has none; returns the one that it has."""
        row = {"name": _NAME, "value": fresh, "created_at": now}
        async with self._database.transaction() as connection:
            await connection.execute(self._database.insert(secrets).on_conflict_do_nothing(), [row])
            found = select(secrets.c.value).where(secrets.c.name == _NAME)
            return str((await connection.execute(found)).scalar_one())

    async def some_objects(self) -> list[str]:
        """Return the names of some objects, the newest ones, that the database names."""
        newest = (
            select(segments.c.path).order_by(segments.c.id.desc()).limit(_SOME),
            select(blobs.c.object).order_by(blobs.c.id.desc()).limit(_SOME),
        )
        found: list[str] = []
        async with self._database.connect() as connection:
            for statement in newest:
                found += await connection.scalars(statement)
        return found
