"""Some rows for many: samples of a run's history, the same rows for the same history.

`whole` is a picture of the whole history with all its columns. Sealing keeps some rows of every
segment aside (`seal.SAMPLE_ROWS`), so where segments and tail do not overlap, a picture of a
million rows is made of those and of the tail, which are in memory or one row of the database
each; only where that would be too coarse is the history itself read.

`with_keys` is for a chart: only rows that have every key, and where there are more than asked for,
the rows of the smallest and of the largest value of a single key are among them (of two rows or
more; a single one is the first).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asyncwb.server.history import rows
from asyncwb.server.history.rows import Selection
from asyncwb.server.history.sources import Sources, View
from asyncwb.server.objects.damage import Missing
from asyncwb.server.store.runs.segments import RunRef, SegmentFile
from asyncwb.typing import JsonObject
from asyncwb.wire.picking import Places, even, extremes, including
from asyncwb.wire.rows.columns import JSON, Table, concat
from asyncwb.wire.rows.keys import RUNTIME, STEP, SYSTEM, TIME, escape, shown


@dataclass(frozen=True, slots=True)
class Spec:
    """What a chart asks for: `keys` as people write them, steps [min_step, max_step)."""

    keys: tuple[str, ...]
    samples: int = 500
    min_step: int | None = None
    max_step: int | None = None


async def of_history(
    sources: Sources, run: RunRef, samples: int, missing: list[Missing] | None = None
) -> Table:
    """Return about `samples` rows spread over a whole history, its first and last among them.

    Args:
        sources: the server's history.
        run: the run.
        samples: rows, >= 1. A history of no more rows is returned whole.
        missing: as `rows.read` has it.
    """
    view = await sources.outline(run.id)
    found = None if view.missing else await _from_kept(sources, view, samples)
    if found is not None:
        return rows.with_runtime(found, run.began)
    return await rows.sample(rows.read(sources, run, Selection(), missing), samples)


async def _from_kept(sources: Sources, view: View[SegmentFile], samples: int) -> Table | None:
    """Make a sample of the tail and of what sealing kept; None where that would not do."""
    kept = await sources.samples([row.id for row in view.segments])
    if len(kept) < len(view.segments):
        return None
    return await sources.threads.run(_thinned, view, kept, samples)


def _thinned(view: View[SegmentFile], kept: dict[int, Table], samples: int) -> Table | None:
    spans = [(row.min_step, row.max_step, row.rows, kept[row.id]) for row in view.segments]
    for table in view.tail:
        steps = table.steps
        if not bool(np.all(steps[1:] > steps[:-1])):
            return None
        spans.append((int(steps[0]), int(steps[-1]), table.n, table))
    if any(a[1] >= b[0] for a, b in pairwise(spans)):
        return None  # they share steps, or go back: which value counts, only reading can tell
    total = sum(count for _, _, count, _ in spans)
    places = even(total, samples)
    parts, before = [], 0
    for _, _, count, table in spans:
        mine = places[(places >= before) & (places < before + count)] - before
        if len(mine) > table.n:
            return None
        before += count
        parts.append(table.take(_nearest(mine, count, table.n)))
    return concat(parts).merge_steps()


def _nearest(places: Places, count: int, kept: int) -> Places:
    """Return which of the `kept` rows, evenly spread over `count`, stand for these places."""
    if kept == count:
        return places
    return np.unique(np.rint(places * ((kept - 1) / (count - 1))).astype(np.intp))


async def with_keys(sources: Sources, run: RunRef, spec: Spec) -> list[JsonObject]:
    """Return the rows that have every key of `spec`, at most about `spec.samples` of them.

    Each row has the keys asked for, as they were written, and no others.
    """
    table = await table_with_keys(sources, run, spec)
    return _rows(table, spec.keys, [paths_of(key) for key in spec.keys])


async def table_with_keys(
    sources: Sources, run: RunRef, spec: Spec, missing: list[Missing] | None = None
) -> Table:
    """Return the same rows as a table, under the paths of their keys."""
    paths = [paths_of(key) for key in spec.keys]
    wanted = tuple(dict.fromkeys(path for some in paths for path in some))
    selection = Selection(wanted or (STEP,), spec.min_step, spec.max_step)
    found = await _complete(rows.read(sources, run, selection, missing), paths)
    return await sources.threads.run(_picked, found, spec, paths)


def paths_of(key: str) -> tuple[str, ...]:
    """Return the paths that a key may mean: as a path, or as one key with dots in it."""
    return (key,) if key in SYSTEM else tuple(dict.fromkeys((key, escape(key))))


async def _complete(tables: AsyncIterator[Table], paths: Sequence[Sequence[str]]) -> Table:
    kept = []
    async for table in tables:
        present = np.ones(table.n, dtype=np.bool_)
        for some in paths:
            present &= _has(table, some)
        if present.any():
            kept.append(table if present.all() else table.take(np.flatnonzero(present)))
    return concat(kept)


def _has(table: Table, paths: Sequence[str]) -> NDArray[np.bool_]:
    present = np.zeros(table.n, dtype=np.bool_)
    for column in table.columns:
        if column.key in paths:
            present[slice(None) if column.rows is None else column.rows] = True
    return present


def _picked(table: Table, spec: Spec, paths: Sequence[Sequence[str]]) -> Table:
    if table.n <= spec.samples:
        return table
    places = even(table.n, spec.samples)
    charted = [some for some in paths if some[0] not in SYSTEM]
    if len(charted) == 1:
        places = including(places, extremes(_values(table, charted[0])), table.n)
    return table.take(places)


def _values(table: Table, paths: Sequence[str]) -> NDArray[np.float64]:
    """Return the number that each row has for a key; NaN where it has none."""
    values = np.full(table.n, np.nan)
    for column in table.columns:
        if column.key in paths and column.kind != JSON:
            values[slice(None) if column.rows is None else column.rows] = column.values
    return values


def _rows(table: Table, keys: Sequence[str], paths: Sequence[Sequence[str]]) -> list[JsonObject]:
    named = list(zip(keys, paths, strict=True))
    return [
        {key: next(row[path] for path in some if path in row) for key, some in named}
        for row in table.iter_rows()
    ]


def displayed(table: Table) -> Iterator[JsonObject]:
    """Give the rows under the names that people see; the columns of the system come first."""
    paths = [*dict.fromkeys(column.key for column in table.columns)]
    names = dict(zip(paths, shown(paths), strict=True))
    for row in table.iter_rows():
        first = {key: row[key] for key in (STEP, RUNTIME, TIME) if key in row}
        yield first | {names[path]: value for path, value in row.items() if path not in SYSTEM}
