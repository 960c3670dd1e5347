"""All rows of a run, in step order, as they stand at one moment.

Sealed segments and the live tail are joined and merged by step: of each key the value logged
last wins, wherever its rows are kept. Rows are handed out in windows of steps, so that a reader
holds a window and not a run; only row groups whose steps overlap are in memory together.

Sealing goes on meanwhile. A view is taken at the beginning; if a file has been merged away
before its turn came, a new view is taken and reading goes on at the step where it stood.

Rows that are damaged in the store are left out and told: a row group, or a key in it, at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncwb.server.history.parquet import group_rows
from asyncwb.server.history.segment import Group, Segment
from asyncwb.server.history.sources import Sources, View
from asyncwb.server.objects.damage import DamagedError, Missing, found, lost, refusal
from asyncwb.server.store.runs.segments import RunRef, SegmentRow
from asyncwb.wire.picking import EvenRows, even
from asyncwb.wire.rows.columns import FLOAT, INT, Block, Kind, Table, concat
from asyncwb.wire.rows.keys import OPEN, RUNTIME, STEP, SYSTEM, TIME


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a history: steps [min_step, max_step), and keys.

    `keys` None is every key. Otherwise a row is part of it that has one of the keys; keys that
    every row has (`_step`, `_timestamp`, `_runtime`) do not count, and where there are no others
    every row is part of it.
    """

    keys: tuple[str, ...] | None = None
    min_step: int | None = None
    max_step: int | None = None

    @property
    def wanted(self) -> frozenset[str] | None:
        """The keys that rows may lack; None is every key."""
        return None if self.keys is None else frozenset(self.keys) - set(SYSTEM)


async def kinds(sources: Sources, run: RunRef, selection: Selection) -> list[tuple[str, Kind]]:
    """Return the (key, kind) of every column that `read` may give, system columns first."""
    view = await sources.view(run.id)
    wanted = selection.wanted
    found: dict[tuple[str, Kind], None] = {(STEP, INT): None, (TIME, FLOAT): None}
    found[RUNTIME, FLOAT] = None
    sealed = ((key, kind) for row in view.segments for _, key, kind in row.columns)
    live = ((c.key, c.kind) for table in view.tail for c in table.columns)
    for key, kind in (*sealed, *live):
        if key != OPEN and (wanted is None or key in wanted):
            found.setdefault((key, kind))  # type: ignore[arg-type]
    return list(found)


async def read(
    sources: Sources,
    run: RunRef,
    selection: Selection = Selection(),
    missing: list[Missing] | None = None,
) -> AsyncGenerator[Table, None]:
    """Yield the rows of a run, one a step, ascending, in tables of up to about 65,536 rows.

    Each table has `_step`, `_timestamp` and `_runtime` (seconds since the run began).

    Args:
        sources: the server's history.
        run: the run.
        selection: which part of it.
        missing: takes what is left out because it is damaged, before the table that lacks it.

    Raises:
        ApiError: 410, a part is damaged, and there is no `missing` to tell it.
    """
    told: list[Missing] = [] if missing is None else missing
    at, retried = selection.min_step, False
    while True:
        view = await sources.view(run.id)
        plan = _Plan(sources, view, selection, at, told, gone_is_lost=retried)
        try:
            for lo, hi in await sources.threads.run(plan.windows):
                table = await sources.threads.run(plan.load, lo, hi)
                if missing is None and told:
                    raise refusal(told)
                at, retried = hi, False
                if table.n:
                    yield with_runtime(table, run.began)
            if missing is None and told:
                raise refusal(told)
            return
        except FileNotFoundError:
            # Merged into another segment since the view was taken. Gone again at once, though,
            # it is lost.
            retried = True


async def damage(sources: Sources, run: RunRef, selection: Selection) -> list[Missing]:
    """Return what `read` would leave out; costs reading the selection, but not decoding it."""
    missing: list[Missing] = []
    view = await sources.view(run.id)
    plan = _Plan(sources, view, selection, selection.min_step, missing, gone_is_lost=True)
    await sources.threads.run(plan.windows)
    await sources.threads.run(plan.check)
    return missing


def runtimes(times: NDArray[np.float64], began: float) -> NDArray[np.float64]:
    """Return the seconds from `began` to each time, at least 0: a clock may have been set back."""
    return np.maximum(times - began, 0.0)


def with_runtime(table: Table, began: float) -> Table:
    """Add the column `_runtime`: seconds from `began` to each row.

    A metric of that name, which only a foreign client can have sent, gives way: with two columns of
    one name nobody could read the rows.
    """
    if RUNTIME in table:
        table = Table.from_columns(table.n, [c for c in table.columns if c.key != RUNTIME])
    words = runtimes(table.times, began).view(np.uint64).reshape(1, table.n)
    return Table(table.n, (*table.blocks, Block((RUNTIME,), FLOAT, words)), table.texts)


async def sample(tables: AsyncIterator[Table], size: int) -> Table:
    """Return `size` rows spread evenly over a history, its first and last row among them.

    The same history gives the same rows. One pass; holds at most four times the sample.

    Args:
        tables: what `read` gives.
        size: rows, >= 1. A history of no more rows is returned whole.
    """
    rows = EvenRows(size)
    async for table in tables:
        rows.add(table)
    whole, last = rows.kept(), rows.last
    if last is not None and whole.steps[-1] != last.steps[-1]:
        whole = concat([whole, last])
    return spread(whole, size)


def spread(table: Table, size: int) -> Table:
    """Return `size` rows of a table spread evenly, its first and last among them.

    A table of no more rows is returned whole.
    """
    if table.n <= size:
        return table
    return table.take(even(table.n, size))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A row group of a sealed segment."""

    segment: SegmentRow
    group: Group


class _Plan:
    """How one view of a run is read: which row groups and which part of the tail a window has.

    Its methods block. Mutable state: `_open`, the row groups that the next window may need again;
    `_missing`, what was left out for damage, a file that is not there among it where
    `gone_is_lost`.
    """

    def __init__(
        self,
        sources: Sources,
        view: View[SegmentRow],
        selection: Selection,
        min_step: int | None,
        missing: list[Missing],
        *,
        gone_is_lost: bool,
    ) -> None:
        self._sources = sources
        self._wanted = selection.wanted
        self._lo, self._hi = min_step, selection.max_step
        self._segments = [row for row in view.segments if self._touches(row)]
        self._tail = view.tail
        self._pieces: list[_Piece] = []
        self._open: dict[int, Table | None] = {}
        self._missing = missing
        self._gone_is_lost = gone_is_lost
        self._lost_frames = view.missing

    def _touches(self, row: SegmentRow) -> bool:
        if self._wanted and not any(key in self._wanted for _, key, _ in row.columns):
            return False
        return self._overlaps(row.min_step, row.max_step)

    def _overlaps(self, first: int, last: int) -> bool:
        below = self._lo is not None and last < self._lo
        return not below and (self._hi is None or first < self._hi)

    def windows(self) -> list[tuple[int | None, int | None]]:
        """Return the windows of steps [lo, hi) to be loaded one after the other."""
        self._live = self._merged_tail()
        for one in self._lost_frames:
            if self._overlaps(one.first_step, one.last_step):
                self._tell(one)
        for row in self._segments:
            segment = self._opened(row)
            if segment is None:
                continue
            segment.close()
            self._pieces += [
                _Piece(row, group)
                for group in segment.groups
                if self._overlaps(group.min_step, group.max_step)
            ]
        return list(self._cut())

    def _opened(self, row: SegmentRow) -> Segment | None:
        """Open a segment; None where it is damaged as a whole, which is told."""
        try:
            with found(row.path, gone_is_lost=self._gone_is_lost):
                return self._sources.open(row)
        except DamagedError as error:
            self._tell(lost(error, row.min_step, row.max_step, row.rows))
            return None

    def _tell(self, missing: Missing) -> None:
        if missing not in self._missing:  # a second view has the same damage
            self._missing.append(missing)

    def check(self) -> None:
        """Find out what is damaged in all windows."""
        for piece in self._pieces:
            segment = self._opened(piece.segment)
            if segment is not None:
                with closing(segment):
                    self._checked(piece, segment)

    def _checked(self, piece: _Piece, segment: Segment) -> None:
        try:
            with found(piece.segment.path, gone_is_lost=self._gone_is_lost):
                segment.check([piece.group.index], self._wanted)
        except DamagedError as error:
            self._tell(_lost_of(error, piece.group))

    def _merged_tail(self) -> Table:
        tail: Iterable[Table] = self._tail
        if self._wanted is not None:
            tail = [table.select(self._wanted) for table in tail]
        live = concat(list(tail)).merge_steps()
        return _between(live, self._lo, self._hi)

    def _cut(self) -> Iterable[tuple[int | None, int | None]]:
        """Cut where a piece begins, before a window would hold more rows than one row group."""
        widest = max([len(row.columns) for row in self._segments], default=0)
        room = group_rows(max(widest if self._wanted is None else 0, len(self._live.columns)))
        starts = [(p.group.min_step, p.group.rows) for p in self._pieces]
        steps = self._live.steps
        starts += [
            (int(steps[at]), min(room, self._live.n - at)) for at in range(0, self._live.n, room)
        ]
        lo, held, before = self._lo, 0, None
        for step, rows in sorted(starts):
            if held and held + rows > room and step != before:
                yield lo, step
                lo, held = step, 0
            held, before = held + rows, step
        if held:
            yield lo, self._hi

    def load(self, lo: int | None, hi: int | None) -> Table:
        """Return the merged rows of one window.

        Raises:
            FileNotFoundError: a segment was merged away meanwhile.
        """
        parts = []
        for place, piece in enumerate(self._pieces):
            last = piece.group.max_step
            if (lo is not None and last < lo) or (hi is not None and piece.group.min_step >= hi):
                continue
            table = self._open.pop(place) if place in self._open else self._read(piece)
            if hi is not None and last >= hi:
                self._open[place] = table
            if table is not None:
                parts.append(_between(table, lo, hi))
        parts.append(_between(self._live, lo, hi))
        return self._with_keys(concat(parts).merge_steps())

    def _read(self, piece: _Piece) -> Table | None:
        """Read a row group, without the keys that are damaged; None where all of it is."""
        segment = self._opened(piece.segment)
        if segment is None:
            return None
        groups = [piece.group.index]
        with closing(segment):
            try:
                with found(piece.segment.path, gone_is_lost=self._gone_is_lost):
                    return segment.table(groups, self._wanted)
            except DamagedError as error:
                self._tell(_lost_of(error, piece.group))
                if error.keys is None:
                    return None
                return segment.table(groups, self._wanted, error.keys)

    def _with_keys(self, table: Table) -> Table:
        """Leave out the rows that have none of the wanted keys."""
        if not self._wanted or not table.n:
            return table
        found = [c for c in table.columns if c.key in self._wanted]
        if any(column.rows is None for column in found):
            return table
        present = np.zeros(table.n, dtype=np.bool_)
        for column in found:
            present[column.rows] = True
        return table.take(np.flatnonzero(present))


def _lost_of(error: DamagedError, group: Group) -> Missing:
    return lost(error, group.min_step, group.max_step, group.rows)


def _between(table: Table, lo: int | None, hi: int | None) -> Table:
    steps: NDArray[np.int64] = table.steps
    start = 0 if lo is None else int(np.searchsorted(steps, lo))
    stop = table.n if hi is None else int(np.searchsorted(steps, hi))
    return table.slice(start, stop)
