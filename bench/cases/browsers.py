"""Do readers stop a writer? Fifty pages ask for 24 charts each every two seconds while a run logs.

A program logs as fast as the tracker takes it, first alone, then beside the pages, which show
sealed runs; another one logs a row twenty times a second and waits until it is acknowledged. All of
them and the server share the machine's cores.
"""

from __future__ import annotations

from dataclasses import replace

from bench.case import OURS, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import Browsed, Rival, UnsupportedError
from bench.statistics import percentile

_CHARTS = 24
_EVERY = 2.0
_MS = 1e3


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Fill runs of `size.rows` rows; let one log for `size.seconds` twice; `size.runs` pages."""
    if not isinstance(rival, Browsed):
        raise UnsupportedError(f"{rival.package}: pages")
    rival.fill(size.rows, _CHARTS, seed)
    alone = rival.browsed(0, _CHARTS, _EVERY, size.seconds, size.metrics)
    beside = rival.browsed(size.runs, _CHARTS, _EVERY, size.seconds, size.metrics)
    return {
        "alone_rows_per_s": alone.rows_per_s,
        "rows_per_s": beside.rows_per_s,
        "slower": 100 * (1 - beside.rows_per_s / alone.rows_per_s),
        "alone_p99_ms": percentile(sorted(alone.acknowledged), 99) * _MS,
        "p99_ms": percentile(sorted(beside.acknowledged), 99) * _MS,
        "charts_per_s": beside.charts / size.seconds,
        "page_p95_ms": percentile(sorted(beside.answers), 95) * _MS,
    }


SIZE = Size("50 pages of 24 charts", (OURS,), metrics=10, seconds=20, rows=500_000, runs=50)

CASE = Case(
    name="browsers",
    question="a run that logs, beside pages",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, seconds=1, rows=5_000, runs=5),),
    metrics=(
        Metric("slower", "slower than alone", "%", lower_is_better=True),
        Metric("p99_ms", "row to acknowledgement, p99", "ms", lower_is_better=True),
        Metric("page_p95_ms", "24 charts, p95", "ms", lower_is_better=True),
    ),
    targets=(
        Ceiling(SIZE.label, "slower", 20.0),
        Ceiling(SIZE.label, "p99_ms", 50.0),
    ),
    timeout=300,
)
