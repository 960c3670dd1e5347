"""Does logging make the caller's event loop late?

A task sleeps 1 ms again and again on asyncio's own loop and notes how late it wakes; a second one
logs 5,000 rows a second, a handful each time it wakes. First with a `log` that does nothing, then
with the tracker's: the difference of the two p99 is what the tracker costs the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from time import perf_counter

from bench.case import LIMIT, OURS, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import AsyncLog, Rival, Row
from bench.rows import rows_for
from bench.statistics import percentile

_TICK = 0.001
_ROWS_PER_SECOND = 5_000
_PAUSE = 0.002
_MS = 1e3


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Measure the ticker for `size.seconds` without logging, then as long with it."""
    return asyncio.run(_measure(rival, size, rows_for(size, seed)))


async def _measure(rival: Rival, size: Size, rows: Sequence[Row]) -> Figures:
    idle, _ = await lateness(_nothing, rows, size.seconds)
    (log,) = await rival.open_runs(1)
    busy, logged = await lateness(log, rows, size.seconds)
    await rival.finish_runs()
    p99_idle, p99_busy = percentile(idle, 99) * _MS, percentile(busy, 99) * _MS
    return {
        "ticks": len(busy),
        "rows_per_s": logged / size.seconds,
        "idle_p99_ms": p99_idle,
        "p99_ms": p99_busy,
        "max_ms": busy[-1] * _MS,
        "added_p99_ms": p99_busy - p99_idle,
    }


async def lateness(log: AsyncLog, rows: Sequence[Row], seconds: float) -> tuple[list[float], int]:
    """Return how many seconds late each tick was, ascending, and how many rows were logged."""
    logger = asyncio.create_task(log_steadily(log, rows, seconds))
    late = []
    end = perf_counter() + seconds
    while (before := perf_counter()) < end:
        await asyncio.sleep(_TICK)
        late.append(perf_counter() - before - _TICK)
    return sorted(late), await logger


async def log_steadily(log: AsyncLog, rows: Sequence[Row], seconds: float) -> int:
    """Log at the fixed rate for `seconds`; never more than one pause's rows at once."""
    pool = cycle(rows)
    handful = round(_ROWS_PER_SECOND * _PAUSE)
    start = perf_counter()
    logged = 0
    while (now := perf_counter() - start) < seconds:
        due = min(int(now * _ROWS_PER_SECOND) - logged, 2 * handful)
        for _ in range(due):
            await log(next(pool))
        logged += due
        await asyncio.sleep(_PAUSE)
    return logged


async def _nothing(row: Row) -> None:
    """The `log` of the loop that does not log."""


SIZE = Size("5,000 rows/s", (OURS, LIMIT, "wandb", "trackio"), metrics=10, rows=5_000, seconds=10)

CASE = Case(
    name="ticker",
    question="a 1 ms ticker on the same loop",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, seconds=1),),
    metrics=(
        Metric("added_p99_ms", "p99 lateness added", "ms", lower_is_better=True),
        Metric("p99_ms", "p99 lateness", "ms", lower_is_better=True),
        Metric("rows_per_s", "rows logged", "/s", lower_is_better=False),
    ),
    targets=(Ceiling("5,000 rows/s", "added_p99_ms", 1.0),),
)
