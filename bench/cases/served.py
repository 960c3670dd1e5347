"""Does our server hold an unmodified wandb client back?

The client logs as fast as it can, in one process, first call to the end of `finish()`: offline; to
our server; and to our server made to read what is streamed to it and keep nothing of it.
What it logs is counted in its file and at the server that listens.

On few cores the client is slower online than offline whoever listens, since what sends takes its
share of them. So the server is judged by the third rate: what is between is what it costs.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from bench.case import Case, Ceiling, Figures, Metric, Size
from bench.cases.acked import log_all
from bench.rivals.base import Rival, UnsupportedError
from bench.rivals.wandb import WandbRival
from bench.rivals.wandb_online import WandbOnlineRival, WandbUnheardRival
from bench.rows import rows_for


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log offline, online and to a server that keeps nothing.

    Returns the rates, and how far the second is behind.
    """
    if not isinstance(rival, WandbOnlineRival):
        raise UnsupportedError(f"{rival.package}: it has no offline twin")
    offline = WandbRival(rival.folder / "offline", rival.keys)
    offline.folder.mkdir()
    alone = rate(offline, size, seed)
    served = rate(rival, size, seed)
    unheard = WandbUnheardRival(rival.folder / "unheard", rival.keys)
    unheard.prepare()
    try:
        free = rate(unheard, size, seed, kept=False)
    finally:
        unheard.close()
    return {
        "offline_per_s": alone,
        "unheard_per_s": free,
        "rows_per_s": served,
        "behind_percent": max(0.0, (1 - served / alone) * 100),
        "held_percent": max(0.0, (1 - served / free) * 100),
    }


def rate(rival: Rival, size: Size, seed: int, *, kept: bool = True) -> float:
    """Return rows a second, `finish()` included; RuntimeError where one that is `kept` is gone."""
    log = rival.open()
    start = perf_counter()
    sent = log_all(log, rows_for(size, seed), size)
    rival.finish()
    taken = perf_counter() - start
    if kept and (stored := rival.stored()) != sent:
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
        Metric("unheard_per_s", "to a server that keeps nothing", "/s", lower_is_better=False),
        Metric(
            "held_percent",
            "behind its rate to a server that keeps nothing",
            "%",
            lower_is_better=True,
        ),
        Metric("behind_percent", "behind its offline rate", "%", lower_is_better=True),
    ),
    targets=(
        Ceiling("10 floats", "behind_percent", 10.0, of="wandb_online"),
        Ceiling("10 floats", "held_percent", 10.0, of="wandb_online"),
    ),
)
