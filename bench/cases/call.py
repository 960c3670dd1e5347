"""What does one `log()` cost its caller?

Each call is timed on its own (about 0.1 us of that is the clock), at full speed, so that whatever
the tracker does on other threads competes with the caller as it does in a training loop.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import replace
from itertools import cycle, islice
from time import perf_counter_ns

from bench.case import LIMIT, OURS, Advantage, Case, Figures, Metric, Size
from bench.rivals.base import Log, Rival, Row
from bench.rows import rows_for
from bench.statistics import percentile

_ALL = (OURS, LIMIT, "wandb", "trackio", "tensorboardX", "mlflow")
_WARM_CALLS = 10
_NS_PER_US = 1000


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Time each of `size.rows` calls, fewer if `size.seconds` are over first."""
    rows = rows_for(size, seed)
    log = rival.open()
    for row in rows[:_WARM_CALLS]:  # the first ones build schemas and caches
        log(row)
    taken = sorted(time_calls(log, islice(cycle(rows), size.rows), size.seconds))
    rival.finish()
    return {
        "calls": len(taken),
        "p50_us": percentile(taken, 50) / _NS_PER_US,
        "p99_us": percentile(taken, 99) / _NS_PER_US,
        "max_us": taken[-1] / _NS_PER_US,
    }


def time_calls(log: Log, rows: Iterable[Row], seconds: float) -> array[int]:
    """Log the rows and return the nanoseconds that each call took, until the time is over."""
    clock = perf_counter_ns
    taken = array("q")
    append = taken.append
    deadline = clock() + int(seconds * 1e9)
    for row in rows:
        start = clock()
        log(row)
        end = clock()
        append(end - start)
        if end > deadline:
            break
    return taken


SIZES = (
    Size("1 metric", _ALL, metrics=1, rows=200_000, seconds=4),
    Size("10 metrics", _ALL, metrics=10, rows=200_000, seconds=4),
    Size("100 metrics", _ALL, metrics=100, rows=20_000, seconds=4),
    Size("1,000 metrics", _ALL, metrics=1000, rows=4_000, seconds=4),
    Size("10 of mixed types", (OURS, "wandb", "trackio"), rows=100_000, seconds=4, mixed=True),
)

CASE = Case(
    name="call",
    question="one log(), caller's side",
    run=run,
    sizes=SIZES,
    quick=tuple(replace(size, rows=min(size.rows, 1_000), seconds=0.5) for size in SIZES),
    metrics=(
        Metric("p50_us", "p50", "us", lower_is_better=True),
        Metric("p99_us", "p99", "us", lower_is_better=True),
    ),
    targets=(
        Advantage("10 metrics", "p50_us", "wandb", 60),
        Advantage("10 metrics", "p50_us", "trackio", 12),
    ),
)
