"""What stays of a run that goes back to a step: its sealed rows, its frames, its summary.

Pure work on values and files, for a worker thread; `rewind` says when, and writes it down.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence

import numpy as np

from asyncwb.errors import FrameError
from asyncwb.server.history.seal import put_segment
from asyncwb.server.history.segment import Segment
from asyncwb.server.history.sources import Sources
from asyncwb.server.intake import line_ranges
from asyncwb.server.intake.folds import FOLD
from asyncwb.server.objects.damage import DamagedError, sound
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store.records import NewFrame
from asyncwb.server.store.runs.segments import FrameRow, NewSegment, SegmentRow
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Table
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.summary.fold import Fold


class CutShortError(Exception):
    """Somebody asked for the work to end before it had."""


class Cut:
    """One run, cut off behind a step.

    Let it `follow` the run's fold, then feed it the segments, then the frames in order. What comes
    of it: `gone` and `new`, segments that are replaced and (file, highest frame inside) of those
    that replace them; `old`, ids of the frames, and `frames`, what is left of them; `rows` and
    `last_step` of all that stays.
    """

    def __init__(self, run_id: int, step: int) -> None:
        self._run_id = run_id
        self._step = step
        self._nobody = f"rewound-{uuid.uuid4().hex}"
        self._next = 0
        self._fold = Fold()
        self.gone: list[SegmentRow] = []
        self.new: list[tuple[NewSegment, int]] = []
        self.old: list[int] = []
        self.frames: list[NewFrame] = []
        self.rows = 0
        self.last_step: int | None = None

    def follow(self, former: str) -> None:
        """Go by the run's fold of until now, in what rows do not tell; before any row."""
        before = loads(sound(former, FOLD).encode())
        if before:
            self._fold.take_over(Fold.from_state(before))

    def segments(
        self,
        sources: Sources,
        objects: Objects,
        segments: Sequence[SegmentRow],
        stop: threading.Event,
    ) -> None:
        """Read what stays of the segments, and write those that the step cuts through.

        Raises:
            CutShortError: `stop` was set.
        """
        for row in segments:
            if row.min_step > self._step:
                self.gone.append(row)
                continue
            segment = sources.open(row)
            try:
                self._segment(objects, row, segment, stop)
            finally:
                segment.close()

    def _segment(
        self, objects: Objects, row: SegmentRow, segment: Segment, stop: threading.Event
    ) -> None:
        wanted = [g.index for g in segment.groups if g.min_step <= self._step]
        if row.max_step > self._step:
            kept = _until(segment.table(wanted), self._step)
            new = put_segment(objects, self._run_id, kept, segment.writers)
            self.gone.append(row)
            self.new.append((new, row.sorted_after_frame))
            self._keep(kept, [], line_ranges.WRITER)
            return
        for index in wanted:
            if stop.is_set():
                raise CutShortError
            self._keep(segment.table([index]), [], line_ranges.WRITER)

    def tail(self, rows: Sequence[tuple[FrameRow, int, int]]) -> None:
        """Take in further frames, in order, as (frame, first number, count)."""
        for row, first, count in rows:
            assert row.data is not None
            try:
                decoded = frames.decode(row.data)
            except FrameError as error:
                raise DamagedError(f"frame {row.id} in the database", str(error)) from error
            table = _until(decoded.table, self._step)
            # Events say nothing of steps: what was configured or defined stays so.
            events = [(min(at, table.n), event) for at, event in decoded.events]
            self._keep(table, events, row.writer)
            self.old.append(row.id)
            whole = table.n == decoded.table.n
            if not row.writer.startswith(line_ranges.WRITER):
                data = row.data if whole else frames.encode(first, table, events)
                if table.n or events:  # a frame of nothing is none, and no reader takes it
                    self._add(row.writer, first, count, table, data)
            elif table.n:
                data = frames.encode(self._next, table, events)
                count = table.n + len(events)
                self._add(self._nobody, self._next, count, table, data)
                self._next += count

    def columns(self, former: str) -> dict[str, object]:
        """Return the changed columns of the run, whose fold was `former` until now."""
        fold = self._fold
        self.follow(former)
        return {
            "rows": self.rows,
            "last_step": self.last_step,
            "fold": dumps(fold.state()).decode(),
            "summary": dumps(fold.as_dict()).decode(),
        }

    def _keep(self, table: Table, events: Sequence[frames.Event], writer: str) -> None:
        """Take in rows that stay."""
        self._fold.apply(table, events, writer)
        self.rows += table.n
        if table.n:
            last = int(table.steps.max())
            self.last_step = last if self.last_step is None else max(last, self.last_step)

    def _add(self, writer: str, first: int, count: int, table: Table, data: bytes) -> None:
        low, high = (int(table.steps.min()), int(table.steps.max())) if table.n else (None, None)
        self.frames.append(NewFrame(self._run_id, writer, first, count, table.n, low, high, data))


def _until(table: Table, step: int) -> Table:
    kept = np.flatnonzero(table.steps <= step)
    return table if len(kept) == table.n else table.take(kept)
