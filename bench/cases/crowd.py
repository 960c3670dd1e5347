"""A thousand runs that log little: what does a row cost, and how soon is it on a page?

Four processes hold 250 async runs each; every run logs ten rows of ten metrics a second. The CPU is
that of the server's process, and of all four with the programs that make the rows. One run is
watched as a page watches it: a row is there with the first event that tells its step.
"""

from __future__ import annotations

from dataclasses import replace

from bench.case import OURS, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import Crowd, Rival, UnsupportedError
from bench.statistics import percentile

_US = 1e6
_PROCESSES = 4
_RATE = 10.0


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Let `size.runs` runs log for `size.seconds`; all rows must be in the store at the end."""
    if not isinstance(rival, Crowd):
        raise UnsupportedError(f"{rival.package}: a crowd")
    each = size.runs // _PROCESSES
    found = rival.crowd(_PROCESSES, each, _RATE, size.seconds, size.metrics)
    return {
        "rows": found.rows,
        "server_us": found.server_cpu / found.rows * _US,
        "client_us": found.client_cpu / found.rows * _US,
        "page_p95_s": percentile(sorted(found.delays), 95),
        "wall_s": found.wall,
    }


SIZE = Size("1,000 runs of 10 rows/s", (OURS,), metrics=10, seconds=20, runs=1000)

CASE = Case(
    name="crowd",
    question="many runs that log little, 4 processes",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, seconds=1, runs=20),),
    metrics=(
        Metric("server_us", "CPU a row, server", "us", lower_is_better=True),
        Metric("client_us", "CPU a row, clients", "us", lower_is_better=True),
        Metric("page_p95_s", "row to page, p95", "s", lower_is_better=True),
    ),
    targets=(
        Ceiling(SIZE.label, "server_us", 50.0),
        Ceiling(SIZE.label, "client_us", 50.0),
        Ceiling(SIZE.label, "page_p95_s", 2.0),
    ),
    timeout=300,
)
