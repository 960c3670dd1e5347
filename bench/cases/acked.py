"""How many rows a second get where the tracker promises to bring them?

From the first `log()` to the return of `finish()`, at full speed. For asyncwb and `limit` that is
the acknowledgement of a server on the same machine; for the others the file or database they write.
The rows are counted there afterwards, and a measurement that lost one is no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from bench.case import LIMIT, OURS, Advantage, Case, Figures, Metric, Size
from bench.rivals.base import Log, Rival, Row
from bench.rows import rows_for

_ALL = (OURS, LIMIT, "wandb", "trackio", "tensorboardX", "mlflow")
#: Between two looks at the clock.
_VALUES_A_TURN = 1_000


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log `size.rows` rows (fewer if `size.seconds` are over first), finish, count them."""
    rows = rows_for(size, seed)
    log = rival.open()
    start = perf_counter()
    sent = log_all(log, rows, size)
    logged = perf_counter()
    rival.finish()
    end = perf_counter()
    stored = rival.stored()
    if stored != sent:
        raise RuntimeError(f"{sent} rows were logged, {stored} are in the store")
    return {
        "rows": sent,
        "rows_per_s": sent / (end - start),
        "points_per_s": sent * size.metrics / (end - start),
        "log_s": logged - start,
        "finish_s": end - logged,
    }


def log_all(log: Log, rows: Sequence[Row], size: Size) -> int:
    """Walk round the pool until the rows or the seconds are used up; return the rows logged."""
    turn = max(1, _VALUES_A_TURN // size.metrics)
    deadline = perf_counter() + size.seconds
    sent, at = 0, 0
    while sent < size.rows and perf_counter() < deadline:
        batch = rows[at : at + min(turn, size.rows - sent)]
        for row in batch:
            log(row)
        sent += len(batch)
        at = (at + len(batch)) % len(rows)
    return sent


SIZES = (
    Size("10 floats", _ALL, metrics=10, rows=1_000_000, seconds=6),
    Size("1,000 floats", _ALL, metrics=1000, rows=20_000, seconds=6),
)

CASE = Case(
    name="acked",
    question="end to end, finish included",
    run=run,
    sizes=SIZES,
    quick=(replace(SIZES[0], rows=20_000, seconds=1), replace(SIZES[1], rows=300, seconds=1)),
    metrics=(
        Metric("rows_per_s", "rows", "/s", lower_is_better=False),
        Metric("points_per_s", "points", "/s", lower_is_better=False),
    ),
    targets=(
        Advantage("10 floats", "rows_per_s", LIMIT, 0.6),
        Advantage("10 floats", "rows_per_s", "wandb", 30),
        Advantage("10 floats", "rows_per_s", "trackio", 15),
        Advantage("1,000 floats", "points_per_s", LIMIT, 0.5),
        Advantage("1,000 floats", "points_per_s", "wandb", 20),
    ),
)
