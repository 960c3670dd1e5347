"""Does our server hold an unmodified wandb client back?

The client logs as fast as it can, offline and then to our server, in one process, first call to
the end of `finish()`. What it logs is counted in its file and at the server.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from bench.case import Case, Ceiling, Figures, Metric, Size
from bench.cases.acked import log_all
from bench.rivals.base import Rival, UnsupportedError
from bench.rivals.wandb_online import WandbOnlineRival
from bench.rows import rows_for


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log offline and online; return both rates, and by how much the second is lower."""
    if not isinstance(rival, WandbOnlineRival):
        raise UnsupportedError(f"{rival.package}: it has no offline twin")
    alone = rate(rival.offline, size, seed)
    served = rate(rival, size, seed)
    return {
        "offline_per_s": alone,
        "rows_per_s": served,
        "behind_percent": max(0.0, (1 - served / alone) * 100),
    }


def rate(rival: Rival, size: Size, seed: int) -> float:
    """Return rows a second, `finish()` included; RuntimeError where one is missing."""
    log = rival.open()
    start = perf_counter()
    sent = log_all(log, rows_for(size, seed), size)
    rival.finish()
    taken = perf_counter() - start
    if (stored := rival.stored()) != sent:
        raise RuntimeError(f"{sent} rows were logged, {stored} are in the store")
    return sent / taken


SIZE = Size("10 floats", ("wandb_online",), metrics=10, rows=50_000, seconds=10)

CASE = Case(
    name="served",
    question="an unmodified wandb client, logging to our server",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, rows=500),),
    metrics=(
        Metric("rows_per_s", "rows", "/s", lower_is_better=False),
        Metric("offline_per_s", "offline", "/s", lower_is_better=False),
        Metric("behind_percent", "behind its offline rate", "%", lower_is_better=True),
    ),
    targets=(Ceiling("10 floats", "behind_percent", 10.0, of="wandb_online"),),
)
