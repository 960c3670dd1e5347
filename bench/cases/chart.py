"""How fast is a chart's data: one metric of a long run, reduced to 1,000 buckets?

From the pyramid it is the request of the page, over one kept-alive connection on the same machine:
what the server says it took, its JSON included, and the round trip until the answer is decoded.
Without the pyramid it is the same reduction by the server's own code
from the sealed rows of that metric, in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

from bench.case import OURS, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import Charts, Rival, UnsupportedError
from bench.rows import keys
from bench.statistics import percentile

_BUCKETS = 1_000
_READS = 20
_MS = 1e3


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log a run of `size.rows` steps and read one of its metrics."""
    if not isinstance(rival, Charts):
        raise UnsupportedError(f"{rival.package}: reading back")
    rival.fill(size.rows, size.metrics, seed)
    key, *_ = keys(size.metrics)
    at_server: list[float] = []

    def series(key: str, buckets: int) -> int:
        found, seconds = rival.series(key, buckets)
        at_server.append(seconds)
        return found

    trips = read_times(series, key)
    rows = read_times(rival.series_from_rows, key)
    return {
        "first_ms": at_server[0] * _MS,
        "pyramid_ms": percentile(sorted(at_server), 50) * _MS,
        "trip_ms": percentile(sorted(trips), 50) * _MS,
        "rows_ms": percentile(sorted(rows), 50) * _MS,
    }


def read_times(read: Callable[[str, int], int], key: str) -> list[float]:
    """Return the seconds of each read in turn; RuntimeError if an answer is empty.

    Each asks for one bucket less than the one before: a server may remember its answers.
    """
    taken = []
    for most in range(_BUCKETS, _BUCKETS - _READS, -1):
        start = perf_counter()
        buckets = read(key, most)
        taken.append(perf_counter() - start)
        if not 0 < buckets <= most:
            raise RuntimeError(f"{buckets} buckets came instead of {most} at most")
    return taken


SIZE = Size("1,000,000 steps", (OURS,), metrics=10, rows=1_000_000, seconds=60)

CASE = Case(
    name="chart",
    question="one metric to 1,000 buckets",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, rows=50_000),),
    metrics=(
        Metric("pyramid_ms", "from the pyramid", "ms", lower_is_better=True),
        Metric("first_ms", "from the pyramid, first time", "ms", lower_is_better=True),
        Metric("trip_ms", "from the pyramid, round trip", "ms", lower_is_better=True),
        Metric("rows_ms", "without it, from the rows", "ms", lower_is_better=True),
    ),
    targets=(
        Ceiling("1,000,000 steps", "pyramid_ms", 5.0),
        Ceiling("1,000,000 steps", "rows_ms", 50.0),
    ),
)
