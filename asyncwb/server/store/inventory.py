"""The statements of what a store holds: the objects that it names, and the bytes in its rows.

For copying and for checking: all of it, in some hundred rows at a time, whatever they belong to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import Select, Table, Text, and_, or_, select, text, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database
from asyncwb.server.store.documents import Bytes
from asyncwb.server.store.schema import (
    AXIS,
    HEADS,
    SAMPLE,
    blobs,
    frames,
    lines,
    reports,
    rollups,
    runs,
    segments,
    sweeps,
)

_AT_ONCE: Final = 200
_FRAMES: Final = {SAMPLE: "the sample", AXIS: "the axis"}
"""what stands as a frame among rollups"""


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object that the database names, and what it says of the bytes.

    `checksums` is None where an older server stored it; `md5` (base64) and `sha256` (hex) too, and
    of a segment.
    """

    name: str
    kind: Literal["segment", "blob"]
    size: int
    md5: str | None
    sha256: str | None
    checksums: bytes | None


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes in a row of the database; `place` says which, in words. Most documents are JSON."""

    place: str
    kind: Literal["frame", "rollup", "lines", "document"]
    data: bytes
    json: bool = False


async def named_objects(connection: AsyncConnection) -> list[NamedObject]:
    """Return every object that segments and blobs name, as of the connection's moment."""
    found: list[NamedObject] = []
    sealed = select(segments.c.path, segments.c.size, segments.c.checksums)
    async for path, size, checksums in await connection.stream(sealed):
        found.append(NamedObject(path, "segment", size, None, None, checksums))
    columns = ("object", "size", "md5", "sha256", "checksums")
    stored = await connection.stream(select(*(blobs.c[name] for name in columns)))
    return found + [NamedObject(row[0], "blob", *row[1:]) async for row in stored]


async def inline(database: Database) -> AsyncIterator[Inline]:
    """Yield the bytes of all frames, rollups and samples, lines of text, and documents."""
    async for row in _pages(database, _frames_after):
        yield Inline(f"frame {row.id} of run {row.run_id}", "frame", row.data)
    async for row in _pages(database, _rollups_after):
        what = _FRAMES.get(row.kind)
        kind: Literal["frame", "rollup"] = "rollup" if what is None else "frame"
        place = f"{what or f'the rollup of {row.key!r}'} of segment {row.segment_id}"
        yield Inline(place, kind, row.data)
    async for row in _pages(database, _lines_after):
        place = f"lines {row.first} to {row.first + row.count - 1} of {row.stream!r}"
        yield Inline(f"{place} of run {row.run_id}", "lines", row.data)
    for table, names, what, json in _DOCUMENTS:
        async for row in _pages(database, partial(_documents_after, table, names)):
            for name, data in zip(names, row[1:], strict=True):
                yield Inline(f"{name!r} of {what} {row.id}", "document", data, json)


async def _pages(database: Database, after: Any) -> AsyncIterator[Any]:
    """Yield rows, page by page: no transaction is open while they are looked at."""
    last: Any = None
    while True:
        async with database.connect() as connection:
            page = (await connection.execute(after(last).limit(_AT_ONCE))).all()
        for row in page:
            yield row
        if len(page) < _AT_ONCE:
            return
        last = page[-1]


_DOCUMENTS: Final[tuple[tuple[Table, tuple[str, ...], str, bool], ...]] = (
    (runs, ("config", "summary", "fold", "system"), "run", True),
    (reports, ("spec",), "report", True),
    (sweeps, ("config",), "sweep", False),
)


def _documents_after(table: Table, names: tuple[str, ...], last: Any) -> Select[Any]:
    stored = (Bytes(type_coerce(table.c[name], Text)).label(name) for name in names)
    statement = select(table.c.id, *stored).order_by(table.c.id)
    return statement if last is None else statement.where(table.c.id > last.id)


def _frames_after(last: Any) -> Select[Any]:
    statement = select(frames.c.id, frames.c.run_id, frames.c.data).order_by(frames.c.id)
    return statement if last is None else statement.where(frames.c.id > last.id)


def _rollups_after(last: Any) -> Select[Any]:
    key = (rollups.c.segment_id, rollups.c.key, rollups.c.kind)
    return _behind(select(rollups).order_by(*key), key, last)


def _lines_after(last: Any) -> Select[Any]:
    key = (lines.c.run_id, lines.c.stream, lines.c.first)
    texts = select(lines).where(lines.c.stream != HEADS)
    return _behind(texts.order_by(*key), key, last)


def _behind(statement: Select[Any], key: tuple[Any, Any, Any], last: Any) -> Select[Any]:
    if last is None:
        return statement
    a, b, c = key
    x, y, z = (getattr(last, column.name) for column in key)
    return statement.where(or_(a > x, and_(a == x, b > y), and_(a == x, b == y, c > z)))


async def complaints(database: Database) -> list[str]:
    """Return what the database itself finds wrong with its file; PostgreSQL is not asked."""
    if not database.is_sqlite:
        return []
    async with database.connect() as connection:
        said = [str(row[0]) for row in await connection.execute(text("PRAGMA integrity_check"))]
    return [] if said == ["ok"] else said
