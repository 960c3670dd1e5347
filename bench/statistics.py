"""The arithmetic of the harness: percentiles, medians with their spread, ratios round by round.

Pure functions of numbers. Every one of them is small because every claim of the report rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the least and greatest value that it was taken from."""

    median: float
    low: float
    high: float


def percentile(ordered: Sequence[float], q: float) -> float:
    """Return the nearest-rank percentile of an ascending sequence: a value that really occurred.

    `q` is in (0, 100]; ValueError for an empty sequence or a `q` outside of that.
    """
    if not ordered or not 0 < q <= 100:
        raise ValueError(f"no {q} percentile of {len(ordered)} values")
    return ordered[math.ceil(q / 100 * len(ordered)) - 1]


def spread(values: Iterable[float]) -> Spread:
    """Return median, least and greatest of `values`; ValueError when there are none.

    The median of an even number of values is the mean of the middle two.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle, odd = divmod(len(ordered), 2)
    median = ordered[middle] if odd else (ordered[middle - 1] + ordered[middle]) / 2
    return Spread(median, ordered[0], ordered[-1])


def advantage(ours: float, theirs: float, *, lower_is_better: bool) -> float:
    """Return how many times as good `ours` is: above 1 is better, 0.6 is 60 % of theirs."""
    good, bad = (theirs, ours) if lower_is_better else (ours, theirs)
    return math.inf if bad == 0 else good / bad


def paired_advantage(
    ours: Sequence[float], theirs: Sequence[float], *, lower_is_better: bool
) -> Spread:
    """Return the advantage round by round as a median with its spread.

    A round's figures were taken one right after the other, so what slowed the machine slowed both.
    Where a round of one of them is missing, only the rounds that both have count.
    """
    return spread(
        advantage(a, b, lower_is_better=lower_is_better) for a, b in zip(ours, theirs, strict=False)
    )


def growth_percent(samples: Sequence[float]) -> float:
    """Return by how much the later samples exceed the first at most, in percent of the first."""
    first, *later = samples
    return (max(later, default=first) - first) / first * 100
