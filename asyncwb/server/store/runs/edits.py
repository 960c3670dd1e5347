"""The statements of edits: one run's row is locked, changed, and its version grows.

All of them take part in the caller's transaction. Ingest locks the same row first, so an edit and
a batch of rows of one run follow one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.dropped import drop
from asyncwb.server.store.records import NewFrame
from asyncwb.server.store.runs import files
from asyncwb.server.store.runs.segments import (
    FrameRow,
    NewSegment,
    add_frames,
    delete_frames,
    delete_segments,
    insert_segment,
)
from asyncwb.server.store.schema import (
    alerts,
    frames,
    rollups,
    runs,
    segments,
    writers,
)

_EDITED: Final = (
    runs.c.id,
    runs.c.project_id,
    runs.c.state,
    runs.c.version,
    runs.c.rows,
    runs.c.last_step,
    runs.c.user_id,
    runs.c.fold,
    runs.c.config,
    runs.c.tags,
)


@dataclass(frozen=True, slots=True)
class EditedRun:
    """The part of a run's row that edits go by; locked until the transaction ends."""

    id: int
    project_id: int
    state: str
    version: int
    rows: int
    last_step: int | None
    user_id: int | None
    fold: str  # like the config JSON as text, or `DamagedText`
    config: str
    tags: list[str]


async def lock(connection: AsyncConnection, run_id: int) -> EditedRun | None:
    """Lock a run's row and return it; None where it has been deleted."""
    statement = select(*_EDITED).where(runs.c.id == run_id).with_for_update()
    row = (await connection.execute(statement)).first()
    return None if row is None else EditedRun(**row._mapping)


async def lock_version(connection: AsyncConnection, run_id: int) -> int | None:
    """Lock a run's row and return its version; None where it has been deleted."""
    statement = select(runs.c.version).where(runs.c.id == run_id).with_for_update()
    version: int | None = (await connection.execute(statement)).scalar()
    return version


async def look(connection: AsyncConnection, run_id: int) -> EditedRun | None:
    """Return a run's row as it is now, without a lock; None where there is none."""
    row = (await connection.execute(select(*_EDITED).where(runs.c.id == run_id))).first()
    return None if row is None else EditedRun(**row._mapping)


async def write(connection: AsyncConnection, run: EditedRun, columns: Mapping[str, object]) -> None:
    """Write changed columns of a locked run; its version grows by one."""
    statement = update(runs).where(runs.c.id == run.id)
    await connection.execute(statement.values(**columns, version=run.version + 1))


async def count_runs(connection: AsyncConnection, project_id: int) -> int:
    """Return how many runs a project has."""
    statement = select(func.count()).select_from(runs).where(runs.c.project_id == project_id)
    return int((await connection.execute(statement)).scalar_one())


async def delete_runs(connection: AsyncConnection, run_ids: Sequence[int], now: float) -> None:
    """Delete runs whose rows are locked, some hundred at most, and all that belongs to them."""
    sealed = select(segments.c.path).where(segments.c.run_id.in_(run_ids))
    await drop(connection, list(await connection.scalars(sealed)), now)
    await files.delete_all(connection, run_ids, now)
    # The rows of frames and rollups go with their parents; doing it here, in this order, spares
    # SQLite a check of the foreign key for each.
    theirs = select(segments.c.id).where(segments.c.run_id.in_(run_ids))
    await connection.execute(delete(rollups).where(rollups.c.segment_id.in_(theirs)))
    for table in (segments, frames):
        await connection.execute(delete(table).where(table.c.run_id.in_(run_ids)))
    await connection.execute(delete(runs).where(runs.c.id.in_(run_ids)))


async def add_alert(
    connection: AsyncConnection, run_id: int, now: float, title: str, text: str, level: str
) -> None:
    """Store an alert of a run."""
    row = {"run_id": run_id, "title": title, "text": text, "level": level, "created_at": now}
    await connection.execute(insert(alerts).values(row))


async def last_alert(connection: AsyncConnection, run_id: int, title: str) -> float | None:
    """Return when a run raised an alert of this title last."""
    statement = select(func.max(alerts.c.created_at)).where(
        alerts.c.run_id == run_id, alerts.c.title == title
    )
    found: float | None = (await connection.execute(statement)).scalar_one()
    return found


# Rewinding.


async def replace_segments(
    connection: AsyncConnection,
    run_id: int,
    now: float,
    gone: Sequence[int],
    new: Sequence[tuple[NewSegment, int]],
) -> None:
    """Put segments in the place of others; each new one with the highest frame id inside.

    Raises:
        ConflictError: some of the others are gone.
    """
    await delete_segments(connection, gone, now)
    for segment, after in new:
        await insert_segment(connection, run_id, segment, after, now)


async def replace_frames(
    connection: AsyncConnection, run_id: int, old: Sequence[int], new: Sequence[NewFrame]
) -> None:
    """Put frames in the place of those of these ids, which ascend and leave none out.

    Raises:
        ConflictError: others are there than these.
    """
    await delete_frames(connection, run_id, old)
    await add_frames(connection, run_id, new)


async def lower_writers(
    connection: AsyncConnection, run_id: int, prefix: str, next_seq: int
) -> None:
    """Let no writer of a run whose name begins so stand behind a sequence number."""
    behind = update(writers).where(
        writers.c.run_id == run_id,
        writers.c.writer.startswith(prefix, autoescape=True),
        writers.c.next_seq > next_seq,
    )
    await connection.execute(behind.values(next_seq=next_seq))


async def frames_after(
    connection: AsyncConnection, run_id: int, after: int
) -> list[tuple[FrameRow, int, int]]:
    """Return a run's frames behind an id, each with its first sequence number and its count."""
    columns = (*(frames.c[name] for name in FrameRow.__slots__), frames.c.first_seq, frames.c.count)
    here = frames.c.run_id == run_id, frames.c.id > after
    found = await connection.execute(select(*columns).where(*here).order_by(frames.c.id))
    return [(FrameRow(*row[:-2]), row[-2], row[-1]) for row in map(tuple, found)]
