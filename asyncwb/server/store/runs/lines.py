"""The statements of lines: chunks of text that do not overlap, a run's streams one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.schema import lines


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` lines from line `first` on; `data` is what `server.intake.lines` packed them into."""

    first: int
    count: int
    data: bytes


_OF_STREAM: Final = (
    lines.c.run_id == bindparam("run"),
    lines.c.stream == bindparam("name"),
)
_CHUNK: Final = (lines.c.first, lines.c.count, lines.c.data)
_BETWEEN: Final = (
    select(*_CHUNK)
    .where(*_OF_STREAM, lines.c.first < bindparam("stop"))
    .where(lines.c.first + lines.c.count > bindparam("start"))
    .order_by(lines.c.first)
)
_LAST: Final = (
    select(lines.c.first + lines.c.count).where(*_OF_STREAM).order_by(lines.c.first.desc()).limit(1)
)
_NEXT: Final = select(func.min(lines.c.first)).where(
    *_OF_STREAM, lines.c.first >= bindparam("start")
)
_ADD: Final = insert(lines)
_REMOVE: Final = delete(lines).where(*_OF_STREAM, lines.c.first == bindparam("at"))


async def between(
    connection: AsyncConnection, run_id: int, stream: str, start: int, stop: int
) -> list[Chunk]:
    """Return the chunks that hold any of the lines [start, stop), in order."""
    asked = {"run": run_id, "name": stream, "start": start, "stop": stop}
    return [Chunk(*row) for row in await connection.execute(_BETWEEN, asked)]


async def end(connection: AsyncConnection, run_id: int, stream: str) -> int:
    """Return the number behind the last line, 0 where there is none."""
    row = (await connection.execute(_LAST, {"run": run_id, "name": stream})).first()
    return 0 if row is None else int(row[0])


async def next_after(connection: AsyncConnection, run_id: int, stream: str, start: int) -> int:
    """Return where the first chunk from line `start` on begins, `start` where there is none."""
    asked = {"run": run_id, "name": stream, "start": start}
    found = (await connection.execute(_NEXT, asked)).scalar_one()
    return start if found is None else int(found)


async def replace(
    connection: AsyncConnection,
    run_id: int,
    stream: str,
    old: Sequence[Chunk],
    new: Sequence[Chunk],
) -> None:
    """Put new chunks in the place of old ones. The caller holds the lock of the run's row."""
    if old:
        gone = [{"run": run_id, "name": stream, "at": chunk.first} for chunk in old]
        await connection.execute(_REMOVE, gone)
    if new:
        whose = {"run_id": run_id, "stream": stream}
        rows = [{**whose, "first": c.first, "count": c.count, "data": c.data} for c in new]
        await connection.execute(_ADD, rows)
