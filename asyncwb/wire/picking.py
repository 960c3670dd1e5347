"""Which of many rows stand for all of them: a sample's places. Pure; for the server and a client.

A sample is spread evenly, first and last row among it. Where rows must be in it (those of a
metric's smallest and largest value), each takes the place of its nearest neighbour; the first and
the last row give way only where there is no other place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asyncwb.wire.rows.columns import Table, concat

Places: TypeAlias = NDArray[np.intp]


class EvenRows:
    """Rows spread evenly over a history that comes table by table, in one pass.

    The same history gives the same rows, however it was cut into tables. Holds at most four times
    `size` rows: where there are more, every second one goes, and of what comes every second one is
    taken from then on.

    Mutable state: `last`, the last row that came; `_kept`, `_stride` (of so many rows one is kept),
    `_count` (rows that came).

    Args:
        size: rows, >= 1. A history of no more rows is kept whole.
    """

    def __init__(self, size: int) -> None:
        self.last: Table | None = None
        self._size = size
        self._kept: list[Table] = []
        self._stride = 1
        self._count = 0

    def add(self, table: Table) -> None:
        """Take the next rows."""
        if not table.n:
            return
        places = np.arange(-self._count % self._stride, table.n, self._stride)
        self._kept.append(table if self._stride == 1 else table.take(places))
        self._count += table.n
        self.last = table.slice(table.n - 1, table.n)
        while sum(part.n for part in self._kept) > 4 * self._size:
            kept = self.kept()
            self._kept = [kept.take(np.arange(0, kept.n, 2))]
            self._stride *= 2

    def kept(self) -> Table:
        """Return the rows that are kept, in the order in which they came, up to four times as many;
        `last` may not be among them."""
        return concat(self._kept)


def even(count: int, size: int) -> Places:
    """Return up to `size` places spread evenly over `count` rows, ascending."""
    if count <= size:
        return np.arange(count)
    return np.unique(np.rint(np.linspace(0, count - 1, size)).astype(np.intp))


def extremes(values: NDArray[np.float64]) -> list[int]:
    """Return where the smallest and the largest finite value are first; nothing where none is."""
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite):
        return []
    found = values[finite]
    return [int(finite[found.argmin()]), int(finite[found.argmax()])]


def including(places: Places, wanted: Sequence[int], count: int) -> Places:
    """Return as many places, ascending, the `wanted` ones among them.

    Args:
        places: a sample of `count` rows.
        wanted: the rows that must be in it. A sample of fewer rows than these stays as it is:
            one row cannot be both the smallest and the largest.
        count: how many rows there are.
    """
    chosen = {int(place) for place in places}
    if len(chosen) < len(set(wanted)):
        return places
    for row in wanted:
        if row not in chosen:
            free = chosen - set(wanted)
            inner = [at for at in free if 0 < at < count - 1]
            chosen.remove(min(inner or free, key=lambda at: (abs(at - row), at)))
            chosen.add(row)
    return np.array(sorted(chosen), dtype=np.intp)
