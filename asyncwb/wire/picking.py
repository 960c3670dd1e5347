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

Places: TypeAlias = NDArray[np.intp]


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
