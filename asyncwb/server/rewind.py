"""Rewinding: a run goes back to a step, and what came after it never was.

What is dropped is gone for good, in frames and in sealed segments alike, so no reader needs to
know of it. It is done in this order, so that a failure at any moment leaves the run as it was:

    1. take the run's seal lease                  nobody seals or merges meanwhile
    2. write new files for the segments that the step cuts through    a failure: orphans, swept
    3. ONE transaction: lock the run, cut its frames, swap the segments, correct the writers,
       the summary and the counts
    4. delete the files that were replaced        a failure: orphans, swept later

The summary is folded anew from the rows that stay; values that were only ever set by hand stay.
The W&B client that asked for it goes on at the line behind the rows that stay, so frames of W&B
clients give their numbers up: they become those of a writer that nobody is. Our own clients keep
theirs.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from asyncwb.server import spans
from asyncwb.server.errors import ApiError
from asyncwb.server.ledger import Ledger
from asyncwb.server.objects import Objects
from asyncwb.server.parquet import Segment
from asyncwb.server.seal import put_segment
from asyncwb.server.sources import Sources
from asyncwb.server.state import State
from asyncwb.server.store import edits as store
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.records import NewFrame, RunPath
from asyncwb.server.store.segments import FrameRow, Lease, NewSegment, SegmentRow
from asyncwb.wire import frames
from asyncwb.wire.columns import Table
from asyncwb.wire.summary import Fold
from asyncwb.wire.values import dumps, loads

_LEASE: Final = 120.0
_PATIENCE: Final = 20.0
"""seconds to wait for a sealer that is at work on the run"""
_LOOK: Final = 0.1


@dataclass(slots=True)
class _Sealed:
    """What becomes of a run's segments: `rows` rows stay, folded into `fold`."""

    fold: Fold
    rows: int = 0
    last_step: int | None = None
    gone: list[SegmentRow] = field(default_factory=list)
    new: list[tuple[NewSegment, int]] = field(default_factory=list)


async def rewind(
    state: State, sources: Sources, objects: Objects, path: RunPath, run_id: int, step: int
) -> None:
    """Drop all rows of a run after `step`; the row of the step itself stays.

    Costs reading the sealed rows that stay, once, for the summary.

    Args:
        state: the server.
        sources: its history.
        objects: where sealed segments are.
        path: the run's name; there must be one.
        run_id: its inner id.
        step: a whole number from 0; below the first step, the whole history goes.

    Raises:
        ApiError: 503, the run is being sealed and does not become free; nothing was changed.
    """
    lease = Lease(f"seal/{run_id}", uuid.uuid4().hex)
    await _take(state, sources, lease)
    try:
        segments = await sources.store.segments(run_id)
        sealed = await asyncio.to_thread(_cut_segments, sources, objects, run_id, segments, step)
        try:
            async with state.database.transaction() as connection:
                await _commit(connection, state, run_id, step, sealed)
                await _number_anew(connection, state, path, sealed.rows)
        except BaseException:
            await _delete(objects, [new.path for new, _ in sealed.new])
            raise
        await _delete(objects, [row.path for row in sealed.gone])
    finally:
        await sources.store.release(lease)
    state.hub.publish([run_id])


async def _take(state: State, sources: Sources, lease: Lease) -> None:
    give_up = time.monotonic() + _PATIENCE
    while True:
        now = state.clock()
        if await sources.store.lease(lease, now, now + _LEASE):
            return
        if time.monotonic() > give_up:
            raise ApiError(
                503,
                "busy",
                "The run's history is being sealed. Nothing was changed; try again in a minute.",
                {"Retry-After": "10"},
            )
        await asyncio.sleep(_LOOK)


async def _delete(objects: Objects, paths: Sequence[str]) -> None:
    for path in paths:
        await asyncio.to_thread(objects.delete, path)


def _cut_segments(
    sources: Sources, objects: Objects, run_id: int, segments: Sequence[SegmentRow], step: int
) -> _Sealed:
    sealed = _Sealed(Fold())
    for row in segments:
        if row.min_step > step:
            sealed.gone.append(row)
            continue
        segment = sources.open(row)
        try:
            wanted = [g.index for g in segment.groups if g.min_step <= step]
            if row.max_step > step:
                sealed.gone.append(row)
                kept = _until(segment.table(wanted), step)
                new = put_segment(objects, run_id, kept, segment.writers)
                sealed.new.append((new, row.sorted_after_frame))
                _count(sealed, kept)
            else:
                _count_groups(sealed, segment, wanted)
        finally:
            segment.close()
    return sealed


def _count_groups(sealed: _Sealed, segment: Segment, wanted: Sequence[int]) -> None:
    for index in wanted:
        _count(sealed, segment.table([index]))


def _count(sealed: _Sealed, table: Table) -> None:
    """Take in rows that stay."""
    if not table.n:
        return
    sealed.fold.apply(table, writer=spans.WRITER)
    sealed.rows += table.n
    last = int(table.steps.max())
    sealed.last_step = last if sealed.last_step is None else max(last, sealed.last_step)


def _until(table: Table, step: int) -> Table:
    kept = np.flatnonzero(table.steps <= step)
    return table if len(kept) == table.n else table.take(kept)


async def _commit(
    connection: AsyncConnection, state: State, run_id: int, step: int, sealed: _Sealed
) -> None:
    now = state.clock()
    run = await store.lock(connection, run_id)
    if run is None:
        raise ApiError(404, "run_not_found", "The run has been deleted meanwhile.")
    tail = _Tail(run_id, step, sealed)
    await asyncio.to_thread(tail.cut, await store.frames_of(connection, run_id))
    await store.replace_segments(connection, run_id, now, [r.id for r in sealed.gone], sealed.new)
    await store.replace_frames(connection, run_id, tail.frames)
    await store.lower_writers(connection, run_id, spans.WRITER, sealed.rows)
    fold = _with_hand_set(sealed.fold, loads(run.fold.encode()))
    await store.write(
        connection,
        run,
        {
            "rows": sealed.rows,
            "last_step": sealed.last_step,
            "fold": dumps(fold.state()).decode(),
            "summary": dumps(fold.as_dict()).decode(),
        },
    )


async def _number_anew(connection: AsyncConnection, state: State, path: RunPath, line: int) -> None:
    """Let W&B clients go on at a line, although lines of higher numbers came before."""
    record = (await state.ingest.lock(connection, {path})).get(path)
    if record is not None:
        ledger = Ledger(record, state.clock(), state.config.crash_after)
        spans.begin_generation(ledger, spans.WRITER, line)
        await state.ingest.apply(connection, [ledger.change()])


class _Tail:
    """Cuts frames that are not sealed. `frames` is what is left of them."""

    def __init__(self, run_id: int, step: int, sealed: _Sealed) -> None:
        self._run_id = run_id
        self._step = step
        self._sealed = sealed
        self._nobody = f"rewound-{uuid.uuid4().hex}"
        self._next = 0
        self.frames: list[NewFrame] = []

    def cut(self, rows: Sequence[tuple[FrameRow, int, int]]) -> None:
        """Take in all frames of the run, in order, as (frame, first number, count); blocks."""
        for row, first, count in rows:
            assert row.data is not None
            decoded = frames.decode(row.data)
            table = _until(decoded.table, self._step)
            # Events say nothing of steps: what was configured or defined stays so.
            events = [(min(at, table.n), event) for at, event in decoded.events]
            self._fold(table, events, row.writer)
            whole = table.n == decoded.table.n
            if not row.writer.startswith(spans.WRITER):
                data = row.data if whole else frames.encode(first, table, events)
                self._keep(row.writer, first, count, table, data)
            elif table.n:
                data = frames.encode(self._next, table, events)
                count = table.n + len(events)
                self._keep(self._nobody, self._next, count, table, data)
                self._next += count

    def _fold(self, table: Table, events: Sequence[frames.Event], writer: str) -> None:
        sealed = self._sealed
        sealed.fold.apply(table, events, writer)
        sealed.rows += table.n
        if table.n:
            last = int(table.steps.max())
            sealed.last_step = last if sealed.last_step is None else max(last, sealed.last_step)

    def _keep(self, writer: str, first: int, count: int, table: Table, data: bytes) -> None:
        low, high = (int(table.steps.min()), int(table.steps.max())) if table.n else (None, None)
        self.frames.append(NewFrame(self._run_id, writer, first, count, table.n, low, high, data))


def _with_hand_set(fold: Fold, before: dict[str, Any]) -> Fold:
    """Give a fold of rows what the run's former fold knew beyond its rows.

    That is the run's start, its metric definitions, and values that were only set by hand.
    """
    if not before:
        return fold
    state = fold.state()
    leaves = {path: leaf for path, leaf in before["leaves"].items() if not leaf[1]}
    state |= {"started_at": before["started_at"], "rules": before["rules"]}
    state["leaves"] = {**leaves, **state["leaves"]}
    return Fold.from_state(state)
