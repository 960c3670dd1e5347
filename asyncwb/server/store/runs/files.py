"""The statements of files: what a run's files are called, and which blob their bytes are.

A file is announced first (a row without a blob) and has one once its bytes came. A name is text
and nothing else. `None` stands for a file that is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.blobs import Blobs, Content, release
from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.schema import blobs, files, secrets

_AT_ONCE: Final = 500
"""values in one IN (...)"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a run; `object` None: announced, its bytes have not come.

    `md5` is base64, `sha256` hex; None too where an older server stored the bytes.
    """

    id: int
    run_id: int
    name: str
    object: str | None
    size: int
    md5: str | None
    sha256: str | None
    mimetype: str | None
    created_at: float
    updated_at: float


class Files:
    """Reads and changes the table of files. Every method is one short transaction or read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.blobs = Blobs(database)
        self._announce = database.insert(files).on_conflict_do_nothing()

    async def secret(self, name: str, fresh: str, now: float) -> str:
        """Return the secret of that name; `fresh` becomes it where there is none yet."""
        row = {"name": name, "value": fresh, "created_at": now}
        async with self._database.transaction() as connection:
            await connection.execute(self._database.insert(secrets).on_conflict_do_nothing(), [row])
            found = select(secrets.c.value).where(secrets.c.name == name)
            return str((await connection.execute(found)).scalar_one())

    async def announce(
        self, run_id: int, mimetypes: dict[str, str | None], now: float
    ) -> list[StoredFile]:
        """Return the files of these names, made where they are missing; in no order."""
        plain = {"run_id": run_id, "created_at": now, "updated_at": now}
        rows = [
            {**plain, "name": name, "mimetype": kind} for name, kind in sorted(mimetypes.items())
        ]
        async with self._database.transaction() as connection:
            for some in batches(rows, _AT_ONCE):
                await connection.execute(self._announce, some)
            return await _named(connection, run_id, list(mimetypes))

    async def put(self, file_id: int, content: Content, now: float) -> bool:
        """Say which bytes a file has now; those that it had are released.

        Returns:
            Whether the file is (still) there.
        """
        async with self._database.transaction() as connection:
            locked = select(files.c.blob_id).where(files.c.id == file_id).with_for_update()
            row = (await connection.execute(locked)).first()
            if row is None:
                return False
            blob = await self.blobs.refer(connection, content, row[0], now)
            new = update(files).where(files.c.id == file_id)
            await connection.execute(new.values(blob_id=blob, updated_at=now))
            return True

    async def get(self, run_id: int, name: str) -> StoredFile | None:
        """Return a run's file of that name, announced ones too."""
        async with self._database.connect() as connection:
            found = await _named(connection, run_id, [name])
        return found[0] if found else None

    async def by_id(self, file_id: int) -> StoredFile | None:
        """Return a file by its inner id."""
        async with self._database.connect() as connection:
            row = (await connection.execute(_FILE.where(files.c.id == file_id))).first()
        return None if row is None else StoredFile(*row)

    async def by_ids(self, ids: Collection[int]) -> list[StoredFile]:
        """Return files by their inner ids; those that are not there are left out."""
        async with self._database.connect() as connection:
            return await _by_ids(connection, ids)

    async def page(
        self,
        run_id: int,
        *,
        names: Sequence[str] | None = None,
        pattern: str | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> list[StoredFile]:
        """Return up to `first` uploaded files, by name, that come after the name `after`.

        Args:
            run_id: the run.
            names: only these, some thousand at most, which is the caller's to see to.
            pattern: only those that match, with SQL's `%` and `_`; a backslash escapes them.
            first: how many.
            after: the last name of the page before.
        """
        statement = _FILE.where(*_chosen(run_id, names, pattern)).order_by(files.c.name)
        if after is not None:
            statement = statement.where(files.c.name > after)
        async with self._database.connect() as connection:
            return [StoredFile(*row) for row in await connection.execute(statement.limit(first))]

    async def count(
        self, run_id: int, *, names: Sequence[str] | None = None, pattern: str | None = None
    ) -> int:
        """Return how many uploaded files `page` would give in all."""
        statement = select(func.count(files.c.id)).where(*_chosen(run_id, names, pattern))
        async with self._database.connect() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def uploaded(self, run_id: int, names: Collection[str]) -> int:
        """Return how many of these names, each another one, are those of uploaded files."""
        async with self._database.connect() as connection:
            found = await _named(connection, run_id, names)
        return sum(file.object is not None for file in found)

    async def delete(self, run_id: int, ids: Collection[int], now: float) -> int:
        """Delete a run's files of these ids, whose bytes are released; return how many."""
        async with self._database.transaction() as connection:
            found: list[tuple[int, int | None]] = []
            for some in batches(sorted(ids), _AT_ONCE):
                locked = _BLOBS.where(files.c.run_id == run_id, files.c.id.in_(some))
                found += [tuple(row) for row in await connection.execute(locked)]
            await _delete(connection, found, now)
            return len(found)


async def delete_all(connection: AsyncConnection, run_ids: Sequence[int], now: float) -> None:
    """Delete all files of some hundred runs, in the caller's transaction; bytes are released."""
    found = await connection.execute(_BLOBS.where(files.c.run_id.in_(run_ids)))
    await _delete(connection, [tuple(row) for row in found], now)


async def _delete(
    connection: AsyncConnection, found: Sequence[tuple[int, int | None]], now: float
) -> None:
    for some in batches([file for file, _ in found], _AT_ONCE):
        await connection.execute(delete(files).where(files.c.id.in_(some)))
    await release(connection, [blob for _, blob in found if blob is not None], now)


_BLOBS: Final = select(files.c.id, files.c.blob_id).order_by(files.c.id).with_for_update()
_COLUMNS: Final = (
    *(files.c[name] for name in ("id", "run_id", "name")),
    blobs.c.object,
    func.coalesce(blobs.c.size, 0),
    *(blobs.c[name] for name in ("md5", "sha256")),
    *(files.c[name] for name in ("mimetype", "created_at", "updated_at")),
)
_FILE: Final = select(*_COLUMNS).outerjoin(blobs, blobs.c.id == files.c.blob_id)


def _chosen(
    run_id: int, names: Sequence[str] | None, pattern: str | None
) -> list[ColumnElement[bool]]:
    found = [files.c.run_id == run_id, files.c.blob_id.is_not(None)]
    if names is not None:
        found.append(files.c.name.in_(names))
    if pattern is not None:
        found.append(files.c.name.like(pattern, escape="\\"))
    return found


async def _named(
    connection: AsyncConnection, run_id: int, names: Collection[str]
) -> list[StoredFile]:
    found: list[StoredFile] = []
    for some in batches(names, _AT_ONCE):
        statement = _FILE.where(files.c.run_id == run_id, files.c.name.in_(some))
        found += [StoredFile(*row) for row in await connection.execute(statement)]
    return found


async def _by_ids(connection: AsyncConnection, ids: Collection[int]) -> list[StoredFile]:
    found: list[StoredFile] = []
    for some in batches(ids, _AT_ONCE):
        rows = await connection.execute(_FILE.where(files.c.id.in_(some)))
        found += [StoredFile(*row) for row in rows]
    return found
