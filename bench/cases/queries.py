"""How fast is the first page of a filtered, sorted run list, and its count?

One project of 100,000 runs with 50 config and 50 summary keys each, on either database; see
`bench/run_lists.py`, which only the environment with the server can import.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from bench.case import OURS, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import Rival


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Fill a database of the server's and ask it; the rival has no part in it."""
    figures: Figures = import_module("bench.run_lists").measure(size, seed)
    return figures


SIZES = (
    Size("SQLite", (OURS,), metrics=50, rows=100_000),
    Size("PostgreSQL", (OURS,), metrics=50, rows=100_000),
)

CASE = Case(
    name="queries",
    question="100,000 runs of 100 keys: filter by two, sort by a third",
    run=run,
    sizes=SIZES,
    quick=tuple(replace(size, rows=2_000) for size in SIZES),
    metrics=(
        Metric("page_ms", "first page, a quarter of the runs matches", "ms", lower_is_better=True),
        Metric("count_ms", "its count", "ms", lower_is_better=True),
        Metric("few_page_ms", "first page, few runs match", "ms", lower_is_better=True),
        Metric("all_sorted_ms", "first page, no filter", "ms", lower_is_better=True),
        Metric("regex_ms", "first page, by a pattern", "ms", lower_is_better=True),
    ),
    targets=tuple(
        target
        for size in SIZES
        for target in (
            Ceiling(size.label, "page_ms", 200.0),
            Ceiling(size.label, "count_ms", 100.0),
        )
    ),
    timeout=600.0,
)
