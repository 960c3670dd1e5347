"""The cases, one module each, in the order in which they run and are reported."""

from __future__ import annotations

from bench.case import Case
from bench.cases import (
    acked,
    browsers,
    call,
    chart,
    concurrent,
    crowd,
    memory,
    queries,
    readers,
    scan,
    served,
    startup,
    ticker,
)

CASES: tuple[Case, ...] = (
    call.CASE,
    acked.CASE,
    concurrent.CASE,
    crowd.CASE,
    browsers.CASE,
    ticker.CASE,
    startup.CASE,
    memory.CASE,
    chart.CASE,
    scan.CASE,
    queries.CASE,
    readers.CASE,
    served.CASE,
)


def find(name: str) -> Case:
    """Return the case called `name`; KeyError if there is none."""
    return {case.name: case for case in CASES}[name]
