"""A hundred concurrent async runs in one process: do they share the line well?

Every run is a task that logs its rows and gives way to the others after each. `limit` knows no
runs, so its hundred tasks share one journal: a bound that a real tracker cannot quite reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from bench.case import LIMIT, OURS, Case, Figures, Metric, Size
from bench.rivals.base import AsyncLog, Rival, Row
from bench.rows import rows_for
from bench.statistics import percentile

_US = 1e6


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Open `size.runs` runs, log `size.rows` rows into all of them together, finish, count."""
    return asyncio.run(_measure(rival, size, rows_for(size, seed)))


async def _measure(rival: Rival, size: Size, rows: Sequence[Row]) -> Figures:
    begin = perf_counter()
    logs = await rival.open_runs(size.runs)
    start = perf_counter()
    share = rows[: size.rows // size.runs]
    deadline = start + size.seconds
    taken = await asyncio.gather(*(log_in_turn(log, share, deadline) for log in logs))
    await rival.finish_runs()
    end = perf_counter()
    calls = sorted(call for run_calls in taken for call in run_calls)
    stored = rival.stored()
    if stored != len(calls):
        raise RuntimeError(f"{len(calls)} rows were logged, {stored} are in the store")
    return {
        "rows": len(calls),
        "rows_per_s": len(calls) / (end - start),
        "open_s": start - begin,
        "p50_us": percentile(calls, 50) * _US,
        "p99_us": percentile(calls, 99) * _US,
    }


async def log_in_turn(log: AsyncLog, rows: Sequence[Row], deadline: float) -> list[float]:
    """Log the rows, letting the other tasks run after each; return the seconds of each call."""
    taken = []
    for row in rows:
        start = perf_counter()
        await log(row)
        end = perf_counter()
        taken.append(end - start)
        if end > deadline:
            break
        await asyncio.sleep(0)
    return taken


SIZE = Size("100 runs", (OURS, LIMIT, "wandb"), metrics=10, rows=300_000, seconds=10, runs=100)

CASE = Case(
    name="concurrent",
    question="100 async runs in one process",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, rows=2_000, seconds=1),),
    metrics=(
        Metric("rows_per_s", "rows, finish included", "/s", lower_is_better=False),
        Metric("p99_us", "p99 of a call", "us", lower_is_better=True),
        Metric("open_s", "opening them all", "s", lower_is_better=True),
    ),
    timeout=600,
)
