"""The points of one key: what a table's rows are to a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from asyncwb.server.history import series
from asyncwb.server.history.series import Floats, Ints
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Column, Table


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Numbers of one key in row order: steps int64[n], times float64[n], values float64[n]."""

    steps: Ints
    times: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def ordered(self) -> bool:
        """Whether times are numbers that do not go back, so that rows ascend on a time axis."""
        return series.ordered(self.times)

    def latest(self) -> Points:
        """Return one point a step, ascending: of each step the one that came last."""
        steps = self.steps
        if bool(np.all(steps[1:] > steps[:-1])):
            return self
        order = np.argsort(steps, kind="stable")
        steps = steps[order]
        last = np.concatenate((steps[1:] != steps[:-1], [True]))
        order = order[last]
        return Points(steps[last], self.times[order], self.values[order])


NONE = Points(np.empty(0, np.int64), np.empty(0), np.empty(0))


def join(parts: Sequence[Points]) -> Points:
    """Put the points of several tables behind each other."""
    if len(parts) < 2:
        return parts[0] if parts else NONE
    return Points(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def of_table(table: Table, key: str) -> Points:
    """Return the points of a key; ints and bools become floats, other values are left out."""
    found = (table.get(key, kind) for kind in (FLOAT, INT, BOOL))
    columns = [column for column in found if column is not None]
    return of_columns(table.steps, table.times, columns) if columns else NONE


def of_columns(steps: Ints, times: Floats, columns: Iterable[Column]) -> Points:
    """Return the points of a key whose columns (one a kind) these are."""
    found = [column for column in columns if column.kind != JSON]
    if not found:
        return NONE
    values = np.concatenate([column.values.astype(np.float64, copy=False) for column in found])
    if len(found) == 1 and found[0].rows is None:
        return Points(steps, times, values)
    rows = np.concatenate([np.arange(len(steps)) if c.rows is None else c.rows for c in found])
    if len(found) > 1:
        order = np.argsort(rows, kind="stable")
        rows, values = rows[order], values[order]
    return Points(steps[rows], times[rows], values)
