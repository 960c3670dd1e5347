"""How long until a client has every row of a long run?

All ten metrics of a finished, sealed run, fetched from the server and decoded to columns.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from bench.case import OURS, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import Charts, Rival, UnsupportedError
from bench.rows import keys
from bench.statistics import spread

_READS = 3


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log a run of `size.rows` steps, seal it, and fetch all of it; rows are counted."""
    if not isinstance(rival, Charts):
        raise UnsupportedError(f"{rival.package}: reading back")
    rival.fill(size.rows, size.metrics, seed)
    taken = []
    for _ in range(_READS):
        start = perf_counter()
        rows = rival.scan(list(keys(size.metrics)))
        taken.append(perf_counter() - start)
        if rows != size.rows:
            raise RuntimeError(f"{size.rows} rows were logged, {rows} came back")
    return {"first_s": taken[0], "scan_s": spread(taken).median}


SIZE = Size("1,000,000 steps", (OURS,), metrics=10, rows=1_000_000, seconds=60)

CASE = Case(
    name="scan",
    question="all rows of 10 metrics",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, rows=50_000),),
    metrics=(Metric("scan_s", "to the client", "s", lower_is_better=True),),
    targets=(Ceiling("1,000,000 steps", "scan_s", 2.0),),
)
