"""When rows of a step become one, and count.

A row may be open: later rows of the same step are merged into it, and all of them are one row from
then on. These functions say which rows of a table are one, in which order they close, and what a
column holds of them, by whole columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import JSON, Column, Table
from asyncwb.wire.rows.keys import OPEN, RUNTIME, STEP

Index = NDArray[np.intp]


class Ends(NamedTuple):
    """Where a column's values of the lowest and of the highest step are, and these steps.

    Of several values at one step the first is the lowest, and the last the highest.
    """

    first: int
    last: int
    low: int
    high: int


class MergedRows:
    """Which values of a column count, where rows with the same label are one row."""

    def __init__(self, table: Table, label: Index | None) -> None:
        self._table = table
        merges = label is not None and bool((label[1:] == label[:-1]).any())
        self._label = label if merges else None
        # By id of a column's rows, which blocks share.
        self._found: dict[int, Index | None] = {}
        self._ends: dict[int, Ends] = {}

    def values(self, column: Column) -> Any:
        last = self._last_of_label(column)
        if last is None:
            return column.values
        if column.kind == JSON:
            return [column.values[i] for i in last.tolist()]
        return column.values[last]

    def steps(self, column: Column) -> NDArray[np.int64]:
        """Return the step of each value that counts."""
        steps, last = self._table.steps, self._last_of_label(column)
        held = steps if column.rows is None else steps[column.rows]
        return held if last is None else held[last]

    def ends(self, column: Column) -> Ends:
        """Return where the values that count begin and end, in the order of their steps."""
        where = id(column.rows)
        found = self._ends.get(where)
        if found is None:
            found = self._ends[where] = _ends_of(self.steps(column), self._table.ascending)
        return found

    def _last_of_label(self, column: Column) -> Index | None:
        if self._label is None:
            return None
        where = id(column.rows)
        if where not in self._found:
            label = self._label if column.rows is None else self._label[column.rows]
            ends = np.concatenate((label[1:] != label[:-1], [True]))
            self._found[where] = None if ends.all() else np.flatnonzero(ends)
        return self._found[where]

    def mixed(self, columns: list[Column]) -> tuple[list[object], list[int]]:
        """Weave the columns of one key, one a kind, into one list of values and their steps."""
        label = np.arange(self._table.n) if self._label is None else self._label
        by_row: dict[int, object] = {}
        for column in columns:
            rows = range(self._table.n) if column.rows is None else column.rows.tolist()
            plain = column.values if column.kind == JSON else column.values.tolist()
            by_row.update(zip(rows, plain, strict=True))
        last = {int(label[row]): row for row in sorted(by_row)}.values()
        return [by_row[row] for row in last], [int(self._table.steps[row]) for row in last]


def _ends_of(steps: NDArray[np.int64], ascending: bool) -> Ends:
    n = len(steps)
    if ascending:
        return Ends(0, n - 1, int(steps[0]), int(steps[-1]))
    first, last = int(steps.argmin()), n - 1 - int(steps[::-1].argmax())
    return Ends(first, last, int(steps[first]), int(steps[last]))


def closing_order(
    steps: NDArray[np.int64], late: NDArray[np.bool_], is_open: NDArray[np.bool_]
) -> tuple[Index, Index | None]:
    """Return each row's label, equal for rows that are one, and the order in which rows close.

    The order is None where the rows already stand in it. Without late rows they do.
    """
    n = len(steps)
    label = np.arange(n)
    on_time = np.flatnonzero(~late)
    joins = np.zeros(len(on_time), dtype=np.bool_)
    here, before = on_time[1:], on_time[:-1]
    joins[1:] = (steps[here] == steps[before]) & is_open[before]
    start = np.maximum.accumulate(np.where(joins, 0, np.arange(len(on_time))))
    label[on_time] = on_time[start]
    if len(on_time) == n:
        return label, None
    # When each row counts, in half rows: with row i at 2i + 1; an open step just before the row
    # of a later step, at 2i; the step that is open at the end last of all.
    when = 2 * np.arange(n) + 1
    firsts = np.flatnonzero(~joins)
    lasts = np.append(firsts[1:] - 1, len(on_time) - 1)[: len(firsts)]
    end = on_time[lasts]
    follows = np.append(2 * on_time[firsts[1:]], 2 * n + 1)[: len(firsts)]
    closes = np.where(is_open[end], follows, 2 * end + 1)
    when[on_time] = closes[np.cumsum(~joins) - 1]
    return label, np.argsort(when, kind="stable")


def by_path(table: Table) -> Iterable[tuple[str, list[Column]]]:
    """Return the columns of each key, `_timestamp` among them, without `_step` and its like."""
    found: dict[str, list[Column]] = {}
    for column in table.columns:
        if column.key not in (STEP, OPEN, RUNTIME) and len(column.values):
            found.setdefault(column.key, []).append(column)
    return found.items()


def merged_row(table: Table) -> JsonObject:
    """Return the rows of one step as one: of each key the value logged last."""
    row: JsonObject = {}
    for path, columns in by_path(table):
        last = max(columns, key=lambda c: table.n if c.rows is None else int(c.rows[-1]))
        value = last.values[-1]
        row[path] = value if last.kind == JSON else value.item()
    return row
