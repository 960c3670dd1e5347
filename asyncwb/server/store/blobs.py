"""The statements of blobs: bytes that are stored once, and counted by the rows that refer to them.

A reference is counted in the transaction that makes or drops it (`refer`, `release`). Nobody
deletes a blob: one that nothing has referred to for a grace is let go of, and its object is
collected (`server.objects.garbage_collection`). Until then an upload of the same bytes takes it
into use again.

Of bytes that come twice the newer object is kept: so a damaged one is mended by uploading it anew.

Rows are locked in the order of runs, files, blobs, and those of one table by id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Double, bindparam, case, delete, exists, insert, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database
from asyncwb.server.store.dropped import drop, known
from asyncwb.server.store.schema import blobs, dropped_objects, files

_AT_ONCE: Final = 500
"""blobs that are let go of in one transaction"""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that were stored: their object, how many, SHA-256 (hex), MD5 (base64), checksums."""

    object: str
    size: int
    sha256: str
    md5: str
    checksums: bytes


class Blobs:
    """Reads and changes the table of blobs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        put = database.insert(blobs)
        again = {"uses": blobs.c.uses + 1, "unused_since": null()}
        self._put = put.on_conflict_do_update(index_elements=["sha256"], set_=again)

    async def refer(
        self, connection: AsyncConnection, content: Content, former: int | None, now: float
    ) -> int:
        """Refer to bytes that have come, in the caller's transaction, and return their blob's id.

        Args:
            connection: holds the row that refers to them.
            content: the bytes.
            former: the blob that the row referred to until now; it is released.
            now: unix seconds.
        """
        mine = blobs.c.sha256 == content.sha256
        locked = select(blobs.c.id).where(or_(mine, blobs.c.id == former)).order_by(blobs.c.id)
        await connection.execute(locked.with_for_update())
        row = {**asdict(content), "uses": 1, "created_at": now}
        await connection.execute(self._put, [row])
        found = (await connection.execute(select(blobs.c.id, blobs.c.object).where(mine))).one()
        if found.object != content.object:
            newer = update(blobs).where(mine)
            await connection.execute(
                newer.values(object=content.object, checksums=content.checksums)
            )
            await drop(connection, [found.object], now)
        if former is not None:
            await release(connection, [former], now)
        return int(found.id)

    async def checksums(self, object_name: str) -> bytes | None:
        """Return the checksums of an object; None where it came before there were any."""
        statement = select(blobs.c.checksums).where(blobs.c.object == object_name)
        async with self._database.connect() as connection:
            return (await connection.execute(statement)).scalar()

    async def known_objects(self, names: Collection[str]) -> set[str]:
        """Return those of these objects that hold some blob's bytes, or did until lately."""
        return await known(self._database, blobs.c.object, names)

    async def let_go(self, before: float) -> int:
        """Delete some hundred blobs that nothing has referred to since a time (unix seconds).

        Their objects are dropped as of the time since when they were unused. Several processes may
        do this at once, each with other blobs.

        Returns:
            How many; call again until there are none.
        """
        unused = (
            select(blobs.c.id, blobs.c.object, blobs.c.unused_since)
            .where(blobs.c.unused_since < before, ~exists().where(files.c.blob_id == blobs.c.id))
            .order_by(blobs.c.unused_since)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        async with self._database.transaction() as connection:
            found = (await connection.execute(unused)).all()
            if found:
                ids = [row.id for row in found]
                await connection.execute(delete(blobs).where(blobs.c.id.in_(ids)))
                gone = [{"name": row.object, "dropped_at": row.unused_since} for row in found]
                await connection.execute(insert(dropped_objects), gone)
            return len(found)


async def release(connection: AsyncConnection, ids: Iterable[int], now: float) -> None:
    """Drop references to blobs, one for each time that an id stands there."""
    dropped = [{"blob": id, "fewer": fewer} for id, fewer in sorted(Counter(ids).items())]
    if dropped:
        await connection.execute(_RELEASE, [{**row, "now": now} for row in dropped])


_LEFT: Final = blobs.c.uses - bindparam("fewer")
_RELEASE: Final = (
    update(blobs)
    .where(blobs.c.id == bindparam("blob"))
    .values(
        uses=_LEFT, unused_since=case((_LEFT <= 0, bindparam("now", type_=Double)), else_=null())
    )
)
