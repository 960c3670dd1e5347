"""The statements of sealed history: a run's frames, segments and rollups.

A row is in a frame or in a segment, never in both and never in neither: `replace` swaps them in
one transaction. Ids of frames grow in commit order within a run, and a segment knows the highest
one inside it, so a reader can tell a frame that has just been sealed from one that has not,
whatever moment each of its statements sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Generic, TypeAlias, TypeVar, TypeVarTuple

from sqlalchemy import Row, Select, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.claims import Claim, Claims, ConflictError
from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.dropped import drop, known
from asyncwb.server.store.records import NewFrame, RunKey
from asyncwb.server.store.schema import AXIS, SAMPLE, frames, projects, rollups, runs, segments

_LONGEST_KEY: Final = 500
_AT_ONCE: Final = 500
"""values in one IN (...): SQLite allows 32,766 parameters, its planner likes fewer."""
TAIL: Final = (runs.c.tail_frames, runs.c.tail_rows, runs.c.tail_size)
"""a run's frames that are not sealed: how many, their rows and bytes"""


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run for readers: its inner id, and when it began (unix seconds, the origin of runtime)."""

    id: int
    began: float


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A frame of the live tail; `data` is None where the reader said that it has it."""

    id: int
    writer: str
    rows: int
    min_step: int | None
    max_step: int | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A sealed segment: an object of `size` bytes with `rows` rows, one a step.

    `checksums` None: an older server sealed it.
    """

    id: int
    path: str
    rows: int
    min_step: int
    max_step: int
    size: int
    sorted_after_frame: int
    checksums: bytes | None = None


Columns: TypeAlias = tuple[tuple[str, str, str], ...]
"""(column name, key, kind) in the order of a segment's file"""


@dataclass(frozen=True, slots=True)
class SegmentRow(SegmentFile):
    """A sealed segment with its columns: 5 MB to read where there are 100,000."""

    columns: Columns = ()

    @property
    def cells(self) -> int:
        """How many values it would have if every key were in every row."""
        return self.rows * len(self.columns)


S = TypeVar("S", bound=SegmentFile)
Selected = TypeVarTuple("Selected")


@dataclass(frozen=True, slots=True)
class Holdings(Generic[S]):
    """Where a run's rows are: sealed segments, oldest first, then frames in order."""

    segments: tuple[S, ...]
    frames: tuple[FrameRow, ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """How much of a run is not sealed: frames, their rows and bytes, and when the last one came."""

    run_id: int
    frames: int
    rows: int
    size: int
    at: float
    running: bool


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A file that stands in the object store, about to become part of a run's history."""

    path: str
    rows: int
    min_step: int
    max_step: int
    columns: Sequence[tuple[str, str, str]]
    size: int
    checksums: bytes
    rollups: Sequence[tuple[str, str, bytes]]
    """(key, kinds, encoded rollup, or of a wide one the key's values)"""
    sample: bytes
    """some of its rows, evenly spread, as a frame"""
    axis: bytes | None = None
    """of a wide one: the steps and times of its rows, as a frame"""


class Segments:
    """Reads and swaps frames and segments."""

    def __init__(self, database: Database, claims: Claims) -> None:
        self._database = database
        self.claims = claims

    async def locate(self, path: RunKey) -> RunRef | None:
        """Return the run at `path`, or None; cheap."""
        began = func.coalesce(runs.c.started_at, runs.c.created_at)
        statement = (
            select(runs.c.id, began)
            .join(projects, projects.c.id == runs.c.project_id)
            .where(
                projects.c.entity == path.entity,
                projects.c.name == path.project,
                runs.c.run == path.run,
            )
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else RunRef(row[0], row[1])

    async def holdings(self, run_id: int, have: Container[int] = ()) -> Holdings[SegmentRow]:
        """Return a consistent view of where a run's rows are, frames' bytes included.

        Args:
            run_id: the run.
            have: ids of frames whose bytes the caller does not need.
        """
        return await self._holdings(run_id, have, _segments)

    async def outline(self, run_id: int, have: Container[int] = ()) -> Holdings[SegmentFile]:
        """Return the same without the segments' columns."""
        return await self._holdings(run_id, have, _files)

    async def _holdings(
        self,
        run_id: int,
        have: Container[int],
        read: Callable[[AsyncConnection, int], Awaitable[list[S]]],
    ) -> Holdings[S]:
        async with self._database.connect() as connection:
            # Frames first: one that is sealed between the statements is then in both answers,
            # and known by its id. The other way round it could be in neither.
            found = await self._frame_heads(connection, run_id)
            missing = [row.id for row in found if row.id not in have]
            data = await self._frame_data(connection, missing)
            sealed = await read(connection, run_id)
        after = max((row.sorted_after_frame for row in sealed), default=-1)
        live = (row for row in found if row.id > after and (row.id in data or row.id in have))
        tail = (
            FrameRow(row.id, row.writer, row.rows, row.min_step, row.max_step, data.get(row.id))
            for row in live
        )
        return Holdings(tuple(sealed), tuple(tail))

    async def _frame_heads(
        self, connection: AsyncConnection, run_id: int
    ) -> Sequence[Row[int, str, int, int | None, int | None]]:
        statement = (
            select(
                frames.c.id, frames.c.writer, frames.c.rows, frames.c.min_step, frames.c.max_step
            )
            .where(frames.c.run_id == run_id)
            .order_by(frames.c.id)
        )
        return (await connection.execute(statement)).all()

    async def _frame_data(
        self, connection: AsyncConnection, ids: Sequence[int]
    ) -> dict[int, bytes]:
        data: dict[int, bytes] = {}
        for some in batches(ids, _AT_ONCE):
            statement = select(frames.c.id, frames.c.data).where(frames.c.id.in_(some))
            data.update((row.id, row.data) for row in await connection.execute(statement))
        return data

    async def columns(self, ids: Collection[int]) -> dict[int, Columns]:
        """Return the columns of segments by their ids, of those that are there."""
        found: dict[int, Columns] = {}
        async with self._database.connect() as connection:
            for some in batches(ids, _AT_ONCE):
                statement = select(segments.c.id, segments.c.columns).where(segments.c.id.in_(some))
                found |= {row[0]: _columns(row[1]) for row in await connection.execute(statement)}
        return found

    async def rollups(self, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], bytes]:
        """Return the encoded rollup of each (segment, key) that has one, by both."""
        stored = {(segment, _indexed(key)): key for segment, key in wanted}
        segment_ids = sorted({segment for segment, _ in stored})
        keys = sorted({key for _, key in stored})
        found: dict[tuple[int, str], bytes] = {}
        async with self._database.connect() as connection:
            for ids in batches(segment_ids, _AT_ONCE):
                for some in batches(keys, _AT_ONCE):
                    statement = select(rollups.c.segment_id, rollups.c.key, rollups.c.data).where(
                        rollups.c.segment_id.in_(ids),
                        rollups.c.key.in_(some),
                        rollups.c.kind.not_in((SAMPLE, AXIS)),
                    )
                    for segment, key, data in await connection.execute(statement):
                        if (segment, key) in stored:
                            found[segment, stored[segment, key]] = data
        return found

    async def samples(self, segment_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the encoded samples of segments; one sealed by an older server has none."""
        return await self._of_segments(segment_ids, SAMPLE)

    async def axes(self, segment_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the encoded axes of segments, of those that are wide."""
        return await self._of_segments(segment_ids, AXIS)

    async def _of_segments(self, segment_ids: Sequence[int], kind: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        async with self._database.connect() as connection:
            for some in batches(segment_ids, _AT_ONCE):
                statement = select(rollups.c.segment_id, rollups.c.data).where(
                    rollups.c.segment_id.in_(some), rollups.c.key == "", rollups.c.kind == kind
                )
                found.update(
                    (row.segment_id, row.data) for row in await connection.execute(statement)
                )
        return found

    async def tails(self) -> list[Tail]:
        """Return every run that has unsealed frames, the largest tail first."""
        statement = (
            select(runs.c.id, *TAIL, func.coalesce(runs.c.tail_at, 0.0), runs.c.state)
            .where(text("tail_frames > 0"))  # word for word what the index says
            .order_by(runs.c.tail_rows.desc(), runs.c.id)
        )
        async with self._database.connect() as connection:
            return [
                Tail(run_id, n, total, size, at, state == "running")
                for run_id, n, total, size, at, state in await connection.execute(statement)
            ]

    async def miscounted(self) -> list[int]:
        """Return the runs that have more unsealed frames than their rows say, or fewer.

        A server of an older release, which goes on beside this one for a while, counts none. Costs
        a look at the index of all frames.
        """
        there = select(frames.c.run_id, func.count().label("n")).group_by(frames.c.run_id)
        counted = there.subquery()
        statement = (
            select(runs.c.id)
            .outerjoin(counted, counted.c.run_id == runs.c.id)
            .where(runs.c.tail_frames != func.coalesce(counted.c.n, 0))
            .order_by(runs.c.id)
        )
        async with self._database.connect() as connection:
            return list(await connection.scalars(statement))

    async def recount(self, run_id: int) -> None:
        """Count anew what of a run is not sealed."""
        there = select(
            func.count(),
            func.coalesce(func.sum(frames.c.rows), 0),
            func.coalesce(func.sum(frames.c.size), 0),
        ).where(frames.c.run_id == run_id)
        async with self._database.transaction() as connection:
            row = select(runs.c.id).where(runs.c.id == run_id).with_for_update()
            await connection.execute(row)  # whoever adds or takes frames waits, or we
            found = (await connection.execute(there)).one()
            counts = {column.name: int(n) for column, n in zip(TAIL, found, strict=True)}
            await connection.execute(update(runs).where(runs.c.id == run_id).values(counts))

    async def oldest_frames(self, run_id: int, rows: int, size: int) -> list[FrameRow]:
        """Return a run's first frames, about `rows` rows or `size` bytes of them, at least one."""
        heads = (
            select(frames.c.id, frames.c.rows, frames.c.size)
            .where(frames.c.run_id == run_id)
            .order_by(frames.c.id)
        )
        async with self._database.connect() as connection:
            last = None
            for row in (await connection.execute(heads)).all():
                rows, size, last = rows - row.rows, size - row.size, row.id
                if rows <= 0 or size <= 0:
                    break
            if last is None:
                return []
            columns = (frames.c[name] for name in FrameRow.__slots__)
            statement = (
                select(*columns)
                .where(frames.c.run_id == run_id, frames.c.id <= last)
                .order_by(frames.c.id)
            )
            return [FrameRow(*row) for row in await connection.execute(statement)]

    async def segments(self, run_id: int) -> list[SegmentRow]:
        """Return a run's sealed segments, oldest first."""
        async with self._database.connect() as connection:
            return await _segments(connection, run_id)

    async def replace(
        self,
        run_id: int,
        claim: Claim,
        now: float,
        sealed: Sequence[FrameRow],
        absorbed: Sequence[SegmentRow],
        segment: NewSegment | None,
    ) -> None:
        """Put a new segment in the place of frames and older segments, in one transaction.

        `segment` is None where the frames held no rows.

        Raises:
            ConflictError: the claim is not ours any more, or some of them are gone; nothing was
                changed.
        """
        async with self._database.transaction() as connection:
            await self.claims.check(connection, claim)
            # Before what belongs to it, as everybody does: whoever deletes the run waits, or we.
            row = select(runs.c.id).where(runs.c.id == run_id).with_for_update()
            if (await connection.execute(row)).first() is None:
                raise ConflictError("the run has been deleted")
            if sealed:
                await self._delete_frames(connection, run_id, sealed)
            await delete_segments(connection, [row.id for row in absorbed], now)
            if segment is not None:
                after = max(
                    [row.id for row in sealed] + [row.sorted_after_frame for row in absorbed]
                )
                await self._insert(connection, run_id, segment, after, now)

    async def _delete_frames(
        self, connection: AsyncConnection, run_id: int, sealed: Sequence[FrameRow]
    ) -> None:
        await delete_frames(connection, run_id, [row.id for row in sealed])

    async def _insert(
        self, connection: AsyncConnection, run_id: int, new: NewSegment, after: int, now: float
    ) -> None:
        await insert_segment(connection, run_id, new, after, now)

    async def known_paths(self, paths: Sequence[str]) -> set[str]:
        """Return those of the paths that a segment has, or had until lately."""
        return await known(self._database, segments.c.path, paths)


async def insert_segment(
    connection: AsyncConnection, run_id: int, new: NewSegment, after: int, now: float
) -> None:
    """Make a stored file part of a run's history, behind the frame `after`."""
    statement = insert(segments).values(
        run_id=run_id,
        path=new.path,
        rows=new.rows,
        min_step=new.min_step,
        max_step=new.max_step,
        columns=[list(column) for column in new.columns],
        size=new.size,
        checksums=new.checksums,
        sorted_after_frame=after,
        created_at=now,
    )
    inserted = (await connection.execute(statement)).inserted_primary_key
    assert inserted is not None
    found = [*new.rollups, ("", SAMPLE, new.sample)]
    if new.axis is not None:
        found.append(("", AXIS, new.axis))
    rows = [
        {"segment_id": inserted[0], "key": _indexed(key), "kind": kind, "data": data}
        for key, kind, data in found
    ]
    await connection.execute(insert(rollups), rows)


async def delete_frames(connection: AsyncConnection, run_id: int, ids: Sequence[int]) -> None:
    """Delete a run's frames of these ids, which ascend and leave none out between them.

    Its row is locked by the caller.

    Raises:
        ConflictError: others are there than these.
    """
    if not ids:
        return
    statement = (
        delete(frames)
        .where(frames.c.run_id == run_id, frames.c.id >= ids[0], frames.c.id <= ids[-1])
        .returning(frames.c.rows, frames.c.size)
    )
    gone = (await connection.execute(statement)).all()
    if len(gone) != len(ids):
        raise ConflictError(f"{len(gone)} frames are there instead of {len(ids)}")
    fewer = -len(gone), -sum(row.rows for row in gone), -sum(row.size for row in gone)
    await _count(connection, run_id, fewer)


async def add_frames(connection: AsyncConnection, run_id: int, new: Sequence[NewFrame]) -> None:
    """Store frames of a run, whose row is locked by the caller."""
    if new:
        await connection.execute(insert(frames), [_frame(frame) for frame in new])
        await _count(connection, run_id, tail_of(new))


def _frame(frame: NewFrame) -> dict[str, object]:
    columns = {name: getattr(frame, name) for name in NewFrame.__slots__}
    return {**columns, "size": len(frame.data)}


async def _count(connection: AsyncConnection, run_id: int, more: tuple[int, int, int]) -> None:
    counts = {column.name: column + n for column, n in zip(TAIL, more, strict=True)}
    await connection.execute(update(runs).where(runs.c.id == run_id).values(counts))


def tail_of(new: Collection[NewFrame]) -> tuple[int, int, int]:
    """Return how many frames these are, their rows and their bytes."""
    return len(new), sum(frame.rows for frame in new), sum(len(frame.data) for frame in new)


async def delete_segments(connection: AsyncConnection, ids: Sequence[int], now: float) -> None:
    """Delete segments and their rollups; their files are dropped.

    Raises:
        ConflictError: some of them are gone.
    """
    for some in batches(ids, _AT_ONCE):
        paths = await connection.scalars(select(segments.c.path).where(segments.c.id.in_(some)))
        await drop(connection, paths.all(), now)
        await connection.execute(delete(rollups).where(rollups.c.segment_id.in_(some)))
        gone = await connection.execute(delete(segments).where(segments.c.id.in_(some)))
        if gone.rowcount != len(some):
            raise ConflictError(f"{gone.rowcount} segments are there instead of {len(some)}")


_FILE: Final = tuple(segments.c[field.name] for field in fields(SegmentFile))


async def _files(connection: AsyncConnection, run_id: int) -> list[SegmentFile]:
    statement = _of_run(select(*_FILE), run_id)
    return [SegmentFile(*row) for row in await connection.execute(statement)]


async def _segments(connection: AsyncConnection, run_id: int) -> list[SegmentRow]:
    statement = _of_run(select(*_FILE, segments.c.columns), run_id)
    found = await connection.execute(statement)
    return [SegmentRow(*(*row[:-1], _columns(row[-1]))) for row in found]


def _of_run(statement: Select[*Selected], run_id: int) -> Select[*Selected]:
    return statement.where(segments.c.run_id == run_id).order_by(
        segments.c.sorted_after_frame, segments.c.id
    )


def _columns(stored: Iterable[tuple[str, str, str]]) -> Columns:
    return tuple((name, key, kind) for name, key, kind in stored)


def _indexed(key: str) -> str:
    """Return the key as the table has it: PostgreSQL indexes no 3 KiB and stores no NUL."""
    if len(key) <= _LONGEST_KEY and "\0" not in key:
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()
