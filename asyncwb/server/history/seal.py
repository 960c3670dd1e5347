"""Sealing: the live tail becomes Parquet in the object store, behind everybody's back.

Ingest stores frames as they come, which is quick to write and slow to read back by column. The
sealer takes a run's oldest frames (and small segments just before them), merges them by step,
and replaces them by one file with rollups. The order of its steps is what makes it safe:

    1. claim the run, so that only one task of one server process works on it
    2. read frames, build the file                      a crash here: nothing has changed
    3. put the file in the object store, under a new name    here: an orphan, collected later
    4. ONE transaction: check the claim, delete exactly those frames and segments, insert the
       segment and its rollups                          here: the database undoes it

The files of segments that were merged away are dropped by that transaction, and deleted once a
grace is over (`collect_orphans`): a reader or a backup that has begun before still finds them.

A row is at every moment in frames or in a segment, and a reader that looks in between finds it
once. Small segments are merged like the digits of a binary counter: a segment is taken along
while it is no larger than what is being sealed, so each row is rewritten a logarithmic number of
times while the run is small, and not at all later.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from anyio import to_thread

from asyncwb.server.history import parquet, wide
from asyncwb.server.history.points import of_columns
from asyncwb.server.history.rows import spread
from asyncwb.server.history.segment import Segment
from asyncwb.server.history.series import Rollup
from asyncwb.server.objects import garbage_collection
from asyncwb.server.objects.checksums import SegmentSums
from asyncwb.server.objects.damage import DamagedError, found
from asyncwb.server.objects.objects import Objects
from asyncwb.server.process.background import shielded
from asyncwb.server.process.claims import held
from asyncwb.server.process.metrics import Metrics
from asyncwb.server.store.claims import Claim, ConflictError
from asyncwb.server.store.database import UncertainCommitError
from asyncwb.server.store.runs.segments import (
    FrameRow,
    NewSegment,
    SegmentRow,
    Segments,
    Tail,
)
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import JSON, Column, Table, concat
from asyncwb.wire.rows.keys import STEP, TIME

logger = logging.getLogger(__name__)

FOLDER: Final = "segments"
SAMPLE_ROWS: Final = 1024
"""rows of a segment that are kept aside: what samples of a whole history are made of"""
SAMPLE_CELLS: Final = 2**21
"""values in these rows of a wide segment at most: the database would hold it once more"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPolicy:
    """When a tail is sealed, and how much at a time.

    Args:
        rows, frames, size: a running run's tail is sealed from so many rows, frames or bytes.
        burst: how many times these rows or bytes a tail may have while rows still pour in: the
            cores are ingest's then.
        idle: seconds without a new frame after which any tail is sealed.
        turn_rows, turn_size, turn_raw: what one turn takes of the tail at most, in rows, in bytes
            as stored and in bytes decompressed.
        full: rows from which a segment is left alone while its run is running.
        most_rows, most_cells: what a segment may grow to by merging.
        lease: seconds after which another process may try where this one is silent.
        grace: seconds after which a file that no segment names counts as an orphan.
        pause: seconds between looks for work.
    """

    rows: int = 2**18
    frames: int = 64
    size: int = 32 * 2**20
    burst: int = 4
    idle: float = 300.0
    turn_rows: int = 2**18
    turn_size: int = 32 * 2**20
    turn_raw: int = 128 * 2**20
    full: int = 65_536
    most_rows: int = 2**20
    most_cells: int = 2**24
    lease: float = 60.0
    grace: float = 6 * 3600.0
    pause: float = 2.0


@dataclass(frozen=True, slots=True)
class SealStatistics:
    """What a sealer has done since it started."""

    segments: int
    frames: int
    rows: int
    conflicts: int
    failures: int
    orphans: int


class Sealer:
    """The background task of one server process.

    Args:
        store: the statements.
        objects: where the files go.
        policy: when and how much.
        clock: unix seconds.
        metrics: where runs that could not be sealed are counted.
    """

    def __init__(
        self,
        store: Segments,
        objects: Objects,
        policy: SealPolicy | None = None,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self._store = store
        self._objects = objects
        self._policy = policy or SealPolicy()
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._counts: Counter[str] = Counter()
        self._swept = clock()
        self._counted = float("-inf")  # when the counts of tails were compared with the frames
        # run id -> (when its last frame came, when that was first seen here): how a silent tail is
        # recognised. The first is by the clock of the server that took the frame.
        self._seen: dict[int, tuple[float, float]] = {}
        # run id -> (no new try before, failures in a row)
        self._aside: dict[int, tuple[float, int]] = {}

    def statistics(self) -> SealStatistics:
        """Return what it has done so far."""
        return SealStatistics(**{name: self._counts[name] for name in SealStatistics.__slots__})

    async def work(self) -> float:
        """Seal a part of what is due; returns for how many seconds to rest."""
        began = time.monotonic()
        now, every = self._clock(), self._policy.grace / 2
        if now - self._counted > every:
            await shielded(self.recount())
            self._counted = now
        busy = await shielded(self.turn())
        now = self._clock()
        if now - self._swept > every:
            self._swept = now
            if await shielded(garbage_collection.is_due(self._store.claims, FOLDER, every)):
                await shielded(self.collect_orphans())
        # At most half of the time, so that ingest keeps its share of a core.
        took = time.monotonic() - began
        return min(took, self._policy.pause) if busy else self._policy.pause

    async def turn(self) -> bool:
        """Seal a part of the largest tail that is due; False where there is none."""
        tails = await self._store.tails()
        now = self._clock()
        self._remember(tails, now)
        for tail in tails:
            wait_until, failed = self._aside.get(tail.run_id, (0.0, 0))
            if now < wait_until or not self._due(tail, now):
                continue
            try:
                if await self._seal_claimed(tail):
                    self._aside.pop(tail.run_id, None)
                    return True
            except ConflictError as error:
                self._counts["conflicts"] += 1
                logger.info("run %d is being sealed elsewhere: %s", tail.run_id, error)
            except Exception:
                # One run that cannot be sealed (a full disk, a damaged frame) stays readable
                # as frames, and must not keep the others from being sealed.
                self._counts["failures"] += 1
                self._metrics.add("asyncwb_task_failures_total", task="sealing")
                delay = min(600.0, self._policy.pause * 2**failed)
                self._aside[tail.run_id] = (now + delay, min(failed + 1, 20))
                logger.exception("run %d could not be sealed; its rows are safe", tail.run_id)
        return False

    async def recount(self) -> None:
        """Put right what runs say of their tails, where that is not so."""
        for run_id in await self._store.miscounted():
            await self._store.recount(run_id)

    def _remember(self, tails: Sequence[Tail], now: float) -> None:
        old = self._seen
        self._seen = {
            tail.run_id: old[tail.run_id]
            if old.get(tail.run_id, (None,))[0] == tail.at
            else (tail.at, now)
            for tail in tails
        }
        self._aside = {run: aside for run, aside in self._aside.items() if run in self._seen}

    def _due(self, tail: Tail, now: float) -> bool:
        policy = self._policy
        silence = now - self._seen[tail.run_id][1]
        times = 1 if silence > 0 else policy.burst
        large = tail.rows >= times * policy.rows or tail.size >= times * policy.size
        many = tail.frames >= policy.frames
        return large or many or silence >= policy.idle or not tail.running

    async def _seal_claimed(self, tail: Tail) -> bool:
        name, claims = claim_of(tail.run_id), self._store.claims
        async with held(claims, name, self._policy.lease) as claim:
            return claim is not None and await self._seal(tail, claim)

    async def _seal(self, tail: Tail, claim: Claim) -> bool:
        policy = self._policy
        oldest = await self._store.oldest_frames(tail.run_id, policy.turn_rows, policy.turn_size)
        sealed = _bounded(oldest, policy.turn_raw)
        if not sealed:
            await self._store.recount(tail.run_id)
            return False
        rows = sum(row.rows for row in sealed)
        segments = await self._store.segments(tail.run_id)
        while True:
            absorbed = absorb(segments, rows, tail.running, policy)
            try:
                new = await to_thread.run_sync(self._build, tail.run_id, absorbed, sealed)
                break
            except DamagedError as error:
                # It stays as it is, for a backup to mend it, and so does what stands before it.
                logger.error("%s; it is not merged with others", error)
                segments = _behind(segments, error.place)
        try:
            await self._store.replace(tail.run_id, claim, self._clock(), sealed, absorbed, new)
        except UncertainCommitError:
            raise  # it may be a part of the run by now; if not, it is collected
        except Exception:
            if new is not None:  # nothing of it was committed: nobody will ever read it
                await to_thread.run_sync(self._objects.delete, new.path)
            raise
        self._counts["segments"] += new is not None
        self._counts["frames"] += len(sealed)
        self._counts["rows"] += rows
        return True

    def _build(
        self, run_id: int, absorbed: Sequence[SegmentRow], sealed: Sequence[FrameRow]
    ) -> NewSegment | None:
        old, writers = self._read(absorbed)
        rows = [row for row in sealed if row.data is not None]
        new = [frames.decode(row.data).table for row in rows if row.data is not None]
        table = concat([*old, *new]).merge_steps()
        if not table.n:
            return None
        by = writers | {row.writer for row in rows if row.rows}
        return put_segment(self._objects, run_id, table, by)

    def _read(self, absorbed: Sequence[SegmentRow]) -> tuple[list[Table], set[str]]:
        tables: list[Table] = []
        writers: set[str] = set()
        for row in absorbed:
            with (
                found(row.path, gone_is_lost=True),  # nobody merges meanwhile: the claim is ours
                closing(self._objects.reader(row.path, row.size)) as source,
                closing(Segment(source, row.path, row.size, row.checksums)) as segment,
            ):
                tables.append(segment.table(range(len(segment.groups))))
                writers |= segment.writers
        return tables, writers

    async def collect_orphans(self) -> None:
        """Delete files that no segment names and that are older than the grace period.

        A younger one may belong to a transaction that is about to commit: the grace is much
        longer than any claim is renewed, and a commit needs a valid one.
        """
        before = self._clock() - self._policy.grace
        gone = await garbage_collection.collect_orphans(
            self._objects, FOLDER, before, self._store.known_paths
        )
        self._counts["orphans"] += gone


def _behind(segments: Sequence[SegmentRow], path: str) -> list[SegmentRow]:
    """Return the segments that stand behind one."""
    paths = [row.path for row in segments]
    return list(segments[paths.index(path) + 1 :])


def claim_of(run_id: int) -> str:
    """Return the name of the claim that whoever swaps a run's frames and segments must have."""
    return f"seal/{run_id}"


def absorb(
    segments: Sequence[SegmentRow], rows: int, running: bool, policy: SealPolicy
) -> list[SegmentRow]:
    """Choose the newest segments to be merged with `rows` rows of the tail, oldest first.

    While a run is running, those that are no larger than what is merged so far and not full;
    once it has ended, whatever fits into one segment.
    """
    chosen: list[SegmentRow] = []
    total, cells = rows, 0
    for row in reversed(segments):
        total, cells = total + row.rows, cells + row.cells
        fits = total <= policy.most_rows and cells <= policy.most_cells
        small = row.rows < policy.full and row.rows <= total - row.rows
        if not fits or (running and not small):
            break
        chosen.append(row)
    if not rows and len(chosen) < 2:
        return []
    return chosen[::-1]


def put_segment(
    objects: Objects, run_id: int, table: Table, writers: Collection[str]
) -> NewSegment:
    """Put a merged table, of one row or more, in the object store under a new name; blocks.

    What is put there is an orphan until `store.runs.segments.insert_segment` is committed.
    """
    data = parquet.write(table, writers)
    path = f"{FOLDER}/{run_id}/{uuid.uuid4().hex}.parquet"
    objects.put(path, data)
    steps = table.steps
    return NewSegment(
        path,
        table.n,
        int(steps[0]),
        int(steps[-1]),
        parquet.names(table),
        len(data),
        SegmentSums.of(data).encode(),
        list(rollups_of(table)),
        frames.encode(0, sample_of(table)),
        wide.axis_of(table) if wide.is_wide(table) else None,
    )


def rollups_of(table: Table) -> list[tuple[str, str, bytes]]:
    """Return (key, kinds, encoded rollup or values) of every key with numbers in a merged table."""
    groups: dict[str, list[Column]] = {}
    for column in table.columns:
        if column.key not in (STEP, TIME) and column.kind != JSON:
            groups.setdefault(column.key, []).append(column)
    found = []
    as_values = wide.is_wide(table)
    for key, columns in groups.items():
        if as_values:
            data = wide.encode(columns, table.steps)
        else:
            rows = of_columns(table.steps, table.times, columns)
            data = Rollup.build(rows.steps, rows.times, rows.values).encode()
        found.append((key, "".join(column.kind for column in columns), data))
    return found


def sample_of(table: Table) -> Table:
    """Return the rows of a merged table that are kept aside for samples of a whole history."""
    few = max(2, SAMPLE_CELLS // table.width)
    return spread(table, min(SAMPLE_ROWS, few) if wide.is_wide(table) else SAMPLE_ROWS)


def _bounded(rows: Sequence[FrameRow], size: int) -> list[FrameRow]:
    """Return the first frames that decompress to about `size` bytes, at least one."""
    taken: list[FrameRow] = []
    for row in rows:
        if size <= 0:
            break
        assert row.data is not None
        size -= frames.peek(row.data).raw_size
        taken.append(row)
    return taken
