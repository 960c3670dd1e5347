"""One metric of a run as a chart asks for it: the pyramid where it will do, the rows elsewhere.

A series comes in parts: one a sealed segment, and the live tail. A part that overlaps no other
is answered from its rollup where the zoom allows (every bucket is a whole number of chunks) and
from its rows where not; parts that overlap are read as rows and merged by step, so that a step
that was logged twice counts once, with the later value. All of it gives what bucketing the rows
would have given, but for two corners. A number that the same step and key later replaced by text is
in the chart until the two rows are sealed into one segment: a chart looks at numbers only. And on a
time axis a step that was logged again without the key lies, until then, where the key's row does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np
import orjson

from asyncwb.server.history import points, series
from asyncwb.server.history.points import Points
from asyncwb.server.history.rows import runtimes
from asyncwb.server.history.segment import Group, Segment
from asyncwb.server.history.series import Buckets, Floats, Grid, Rollup
from asyncwb.server.history.sources import Opened, Sources, View
from asyncwb.server.objects.damage import DamagedError, Missing, found, lost
from asyncwb.server.store.runs.segments import Columns, SegmentFile
from asyncwb.wire.rows.columns import JSON, Table
from asyncwb.wire.rows.keys import RUNTIME, STEP, SYSTEM, TIME
from asyncwb.wire.rows.values import spelled

Axis: TypeAlias = Literal["_step", "_timestamp", "_runtime"]
AXES: Final[tuple[Axis, ...]] = SYSTEM

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query:
    """What a chart asks for: `lo` and `hi` are on the axis, [lo, hi); None is the series' end.

    `began` is the origin of the axis `_runtime`, unix seconds.
    """

    key: str
    axis: Axis = STEP
    buckets: int = 1000
    lo: float | None = None
    hi: float | None = None
    began: float = 0.0

    def place(self, times: Floats) -> Floats:
        """Say where on a time axis times are."""
        return runtimes(times, self.began) if self.axis == RUNTIME else times


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A series, and what is left out of it because it is damaged in the store."""

    buckets: Buckets
    missing: Sequence[Missing]


async def read(sources: Sources, run_id: int, queries: Sequence[Query]) -> list[Answer]:
    """Answer charts of one run, all from one moment of it.

    Reads the database for the tail and the rollups, and sealed files only where those will not
    do; the work is done in a thread.
    """

    async def answer(view: View[SegmentFile], gone_is_lost: bool) -> list[Answer] | None:
        sealed = await _sealed(sources, view, {query.key for query in queries})
        if sealed is None:
            return None
        return await sources.threads.run(_answers, sources, view, sealed, queries, gone_is_lost)

    return await _at_one_moment(sources, run_id, answer)


async def read_json(sources: Sources, run_id: int, queries: Sequence[Query]) -> list[bytes]:
    """Answer the same as JSON; an answer that was made for one reader serves the next ones.

    Many pages show the same charts, most of them of runs that log no more.
    """

    async def answer(view: View[SegmentFile], gone_is_lost: bool) -> list[bytes] | None:
        made = {query: sources.charts.get((view.id, query)) for query in queries}
        new = [query for query, data in made.items() if data is None]
        if new:
            sealed = await _sealed(sources, view, {query.key for query in new})
            if sealed is None:
                return None
            work = (sources, view, sealed, new, gone_is_lost)
            for query, data, complete in await sources.threads.run(_as_json, *work):
                made[query] = data
                if complete:  # what is damaged may be mended
                    sources.charts.keep((view.id, query), data)
        return [data for data in made.values() if data is not None]

    return await _at_one_moment(sources, run_id, answer)


async def _at_one_moment(
    sources: Sources,
    run_id: int,
    answer: Callable[[View[SegmentFile], bool], Awaitable[T | None]],
) -> T:
    """Return what `answer(view, gone_is_lost)` makes of a view of a run; None: of a newer one."""
    again = True
    while True:
        view = await sources.outline(run_id)
        try:
            found = await answer(view, not again)
        except FileNotFoundError:
            # A segment was merged into another after the view was taken: look once more.
            if not again:
                raise
            again = False
            continue
        if found is not None:
            return found


@dataclass(frozen=True, slots=True)
class _Losses:
    """What is left out for damage; a file that is not there is, where `gone_is_lost`."""

    missing: list[Missing]
    gone_is_lost: bool

    def tell(self, missing: Missing) -> None:
        """Add one, unless it is told already."""
        if missing not in self.missing:
            self.missing.append(missing)

    def opened(self, opened: Opened, row: SegmentFile) -> Segment | None:
        """Open a segment; None where it is damaged as a whole, which is told."""
        try:
            with found(row.path, gone_is_lost=self.gone_is_lost):
                return opened.segment(row)
        except DamagedError as error:
            self.tell(lost(error, row.min_step, row.max_step, row.rows))
            return None


async def _sealed(
    sources: Sources, view: View[SegmentFile], keys: Collection[str]
) -> dict[str, list[tuple[SegmentFile, Rollup | None]]] | None:
    """Return the segments that hold numbers of each key, with the rollups, by one statement.

    None where a segment was merged into another since the view was taken.
    """
    wanted = [(row.id, key) for row in view.segments for key in keys]
    rollups = await sources.rollups(wanted)
    without = [place for place in wanted if place not in rollups]
    if without:
        # Only here are the columns read: 100,000 of them take longer than all else.
        columns = await sources.store.columns({segment for segment, _ in without})
        for segment, key in without:
            if segment not in columns:
                return None
            if _has_numbers(columns[segment], key):
                rollups[segment, key] = None
    return {
        key: [(row, rollups[row.id, key]) for row in view.segments if (row.id, key) in rollups]
        for key in keys
    }


def _answers(
    sources: Sources,
    view: View[SegmentFile],
    sealed: Mapping[str, Sequence[tuple[SegmentFile, Rollup | None]]],
    queries: Sequence[Query],
    gone_is_lost: bool,
) -> list[Answer]:
    answers = []
    with Opened(sources) as opened:
        for query in queries:
            losses = _Losses(list(view.missing), gone_is_lost)
            buckets = _answer(opened, view.tail, sealed[query.key], query, losses)
            answers.append(Answer(buckets, losses.missing))
    return answers


def _as_json(
    sources: Sources,
    view: View[SegmentFile],
    sealed: Mapping[str, Sequence[tuple[SegmentFile, Rollup | None]]],
    queries: Sequence[Query],
    gone_is_lost: bool,
) -> list[tuple[Query, bytes, bool]]:
    """Return each answer as JSON, and whether nothing is left out of it."""
    answers = _answers(sources, view, sealed, queries, gone_is_lost)
    return [
        (query, _dumps(as_json(query, answer)), not answer.missing)
        for query, answer in zip(queries, answers, strict=True)
    ]


def _dumps(answer: object) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _has_numbers(columns: Columns, key: str) -> bool:
    return any(found == key and kind != JSON for _, found, kind in columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A stretch of the series in arrival order: a sealed segment, or the whole tail.

    `chunks` are its pyramid on the query's axis; where `shift` is None they are the points
    themselves. `ordered` says that times do not go back inside. `load` reads the points of the
    row groups that it is asked about.
    """

    first_step: int
    last_step: int
    ordered: bool
    chunks: Buckets
    shift: int | None
    load: Callable[[Callable[[Group], bool]], Points]

    @property
    def first(self) -> float:
        """The x of its first point."""
        return float(self.chunks.x_first[0])

    @property
    def last(self) -> float:
        """The x of its last point."""
        return float(self.chunks.x_last[-1])

    def serves(self, on: Grid, axis: Axis) -> bool:
        """Whether it has chunks that are fine enough for a grid."""
        if self.shift is None:
            return False
        if axis == STEP:
            return (on.width / 2.0**self.shift).is_integer()
        return bool(np.all(self.chunks.x_last - self.chunks.x_first <= on.width))

    def rows_inside(self, lo: float | None, hi: float | None) -> int:
        """Return how many points are in [lo, hi) at least, by the chunks."""
        start = 0 if lo is None else int(np.searchsorted(self.chunks.x_first, lo))
        stop = len(self.chunks) if hi is None else int(np.searchsorted(self.chunks.x_last, hi))
        return int(self.chunks.count[start:stop].sum())


def _answer(
    opened: Opened,
    tail: Sequence[Table],
    sealed: Sequence[tuple[SegmentFile, Rollup | None]],
    query: Query,
    losses: _Losses,
) -> Buckets:
    parts = []
    for row, kept in sealed:
        rollup = _rebuilt(opened, row, query.key, losses) if kept is None else kept
        if len(rollup):
            parts.append(_sealed_part(opened, row, rollup, query, losses))
    live = points.join([points.of_table(table, query.key) for table in tail]).latest()
    if len(live):
        parts.append(_live_part(live, query))
    groups = _overlapping(parts)
    if not groups:
        return series.join(())
    if query.axis != STEP and not _in_order(groups):
        return _from_unordered(parts, query)
    return _from_groups(groups, query)


def _rebuilt(opened: Opened, row: SegmentFile, key: str, losses: _Losses) -> Rollup:
    """Make a rollup that is damaged anew, from the rows."""
    live = _load(opened, row, key, (STEP, TIME), lambda _: True, losses)
    return Rollup.build(live.steps, live.times, live.values)


def _load(
    opened: Opened,
    row: SegmentFile,
    key: str,
    system: Sequence[str],
    wanted: Callable[[Group], bool],
    losses: _Losses,
) -> Points:
    """Read the points of one key in some row groups; those that are damaged are told."""
    segment = losses.opened(opened, row)
    groups = [] if segment is None else [g for g in segment.groups if wanted(g)]
    if segment is None or not groups:
        return points.NONE
    try:
        with found(row.path, gone_is_lost=losses.gone_is_lost):
            return _points(segment, groups, key, system)
    except DamagedError:
        return points.join([_sound(segment, group, key, system, losses) for group in groups])


def _sound(
    segment: Segment, group: Group, key: str, system: Sequence[str], losses: _Losses
) -> Points:
    try:
        with found(segment.place, gone_is_lost=losses.gone_is_lost):
            return _points(segment, [group], key, system)
    except DamagedError as error:
        losses.tell(lost(error, group.min_step, group.max_step, group.rows))
        return points.NONE


def _points(segment: Segment, groups: Sequence[Group], key: str, system: Sequence[str]) -> Points:
    columns = segment.read([group.index for group in groups], (key,), system)
    steps = columns[STEP, "i"].values
    times = columns[TIME, "f"].values if TIME in system else np.zeros(len(steps))
    charted = [column for (of, _), column in columns.items() if of == key]
    return points.of_columns(steps, times, charted)


def _sealed_part(
    opened: Opened, row: SegmentFile, rollup: Rollup, query: Query, losses: _Losses
) -> _Part:
    system = (STEP,) if query.axis == STEP else (STEP, TIME)

    def load(wanted: Callable[[Group], bool]) -> Points:
        if rollup.whole:
            return Points(rollup.step_first, rollup.time_first, rollup.last)
        return _load(opened, row, query.key, system, wanted, losses)

    on_steps = query.axis == STEP
    chunks = rollup.over_steps() if on_steps else rollup.over_times(query.place)
    first, last = int(rollup.step_first[0]), int(rollup.step_last[-1])
    return _Part(first, last, rollup.ordered, chunks, rollup.shift, load)


def _live_part(live: Points, query: Query) -> _Part:
    chunks = series.points(_x(live, query), live.values)
    first, last = int(live.steps[0]), int(live.steps[-1])
    return _Part(first, last, live.ordered, chunks, None, lambda _: live)


def _overlapping(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Group parts whose steps overlap; groups ascend, arrival order is kept inside."""
    groups: list[list[tuple[int, _Part]]] = []
    reach = 0
    for place, part in sorted(enumerate(parts), key=lambda entry: entry[1].first_step):
        if not groups or part.first_step > reach:
            groups.append([])
            reach = part.last_step
        groups[-1].append((place, part))
        reach = max(reach, part.last_step)
    return [[part for _, part in sorted(group, key=lambda e: e[0])] for group in groups]


def _in_order(groups: Sequence[Sequence[_Part]]) -> bool:
    """Whether x ascends from part to part, so that the chunks serve a time axis."""
    if any(len(group) > 1 or not group[0].ordered for group in groups):
        return False
    return all(a[0].last <= b[0].first for a, b in pairwise(groups))


def _x(rows: Points, query: Query) -> Floats:
    if query.axis == STEP:
        return rows.steps.astype(np.float64)
    return query.place(rows.times)


def _from_unordered(parts: Sequence[_Part], query: Query) -> Buckets:
    rows = points.join([part.load(lambda _: True) for part in parts]).latest()
    x = _x(rows, query)
    order = np.argsort(x, kind="stable")
    order = order[np.isfinite(x[order])]  # a row without a time has no place on a time axis
    return series.bucketise(x[order], rows.values[order], query.buckets, query.lo, query.hi)


def _from_groups(groups: Sequence[Sequence[_Part]], query: Query) -> Buckets:
    first = min(part.first for part in groups[0])
    last = max(part.last for part in groups[-1])
    on = series.grid(first, last, query.buckets, query.lo, query.hi)
    inside = sum(max(p.rows_inside(query.lo, query.hi) for p in group) for group in groups)
    if inside > query.buckets:
        return series.regroup([_reduced(group, on, query) for group in groups], on)
    # Few points, or a few more than the chunks could tell: look at them.
    near = points.join([_rows(group, on, query) for group in groups])
    x = _x(near, query)
    start, stop = series.window(x, query.lo, query.hi)
    if stop - start <= query.buckets:
        return series.points(x[start:stop], near.values[start:stop])
    return series.bucketise_on(x, near.values, on)


def _reduced(group: Sequence[_Part], on: Grid, query: Query) -> Buckets:
    if len(group) == 1 and group[0].serves(on, query.axis):
        return group[0].chunks
    rows = _rows(group, on, query)
    return series.bucketise_on(_x(rows, query), rows.values, on)


def _rows(group: Sequence[_Part], on: Grid, query: Query) -> Points:
    """Read the points of parts that overlap each other, in and near the grid."""

    def near(found: Group) -> bool:
        if query.axis == STEP:
            return found.max_step >= on.lo and found.min_step < on.hi
        first, last = query.place(np.array((found.min_time, found.max_time)))
        return bool(last >= on.lo and first < on.hi)

    wanted = [part for part in group if part.last >= on.lo and part.first < on.hi]
    return points.join([part.load(near) for part in wanted]).latest()


def as_json(query: Query, found: Answer) -> dict[str, object]:
    """Return a series in the shape of the HTTP API; non-finite numbers are strings there."""
    answer = found.buckets
    missing = [one.as_dict() for one in found.missing]
    return {
        "key": query.key,
        "exact": answer.exact,
        "rows": int(answer.count.sum()),
        "x": _numbers(answer.x_last),
        "min": _numbers(answer.min),
        "max": _numbers(answer.max),
        "mean": _numbers(answer.mean),
        "last": _numbers(answer.last),
        "count": answer.count,
        "valid": answer.valid,
        **({"missing": missing} if missing else {}),
    }


def _numbers(values: Floats) -> object:
    if bool(np.isfinite(values).all()):
        return np.ascontiguousarray(values)
    return spelled(values.tolist())
