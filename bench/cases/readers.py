"""How fast do the clients read a long run back from our server, each by its own calls?

`scan_history()` gives every row as a dict; `history(samples=500)` a sample. For our own client the
server says how long the sample took it.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from bench.case import OURS, Advantage, Case, Ceiling, Figures, Metric, Size
from bench.rivals.base import Archive, Charts, Rival, UnsupportedError
from bench.statistics import spread

_SAMPLES = 500
_READS = 5
_MS = 1e3


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Fill a run, scan it once, sample it a few times."""
    if not isinstance(rival, Archive):
        raise UnsupportedError(f"{rival.package}: reading back")
    rival.fill(size.rows, size.metrics, seed)
    start = perf_counter()
    rows = rival.scan_history()
    scanned = perf_counter() - start
    if rows != size.rows:
        raise RuntimeError(f"{size.rows} rows were logged, {rows} came back")
    taken = []
    for _ in range(_READS):
        start = perf_counter()
        sampled = rival.sample_history(_SAMPLES)
        taken.append(perf_counter() - start)
        if not 0 < sampled <= _SAMPLES:
            raise RuntimeError(f"{sampled} rows came as a sample of {_SAMPLES}")
    figures: dict[str, float | list[float]] = {
        "scan_s": scanned,
        "sample_ms": spread(taken).median * _MS,
    }
    if isinstance(rival, Charts):
        served = [rival.sample_at_server(_SAMPLES) for _ in range(_READS)]
        figures["served_ms"] = spread(served).median * _MS
    return figures


SIZE = Size("1,000,000 x 10", (OURS, "wandb_online"), metrics=10, rows=1_000_000)

CASE = Case(
    name="readers",
    question="reading a run back",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, rows=20_000),),
    metrics=(
        Metric("scan_s", "scan_history()", "s", lower_is_better=True),
        Metric("sample_ms", "history(samples=500)", "ms", lower_is_better=True),
        Metric("served_ms", "the sample, at the server", "ms", lower_is_better=True),
    ),
    targets=(
        Advantage("1,000,000 x 10", "scan_s", "wandb_online", 20),
        Ceiling("1,000,000 x 10", "served_ms", 20.0),
    ),
    timeout=900,
)
