"""Is the memory of the logging process flat, however many rows it logs?

Five million rows at full speed; the resident set is read from /proc (Linux) ten times on the way.
It counts what the process maps of its journal, too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.case import LIMIT, OURS, Case, Ceiling, Figures, Metric, Size
from bench.cases.acked import log_all
from bench.rivals.base import Rival
from bench.rows import rows_for
from bench.statistics import growth_percent

_SAMPLES = 10
_KIB_PER_MIB = 1024


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log `size.rows` rows, sampling the resident set after each tenth of them."""
    rows = rows_for(size, seed)
    log = rival.open()
    before = resident_mib()
    tenth = replace(size, rows=size.rows // _SAMPLES)
    samples = []
    for _ in range(_SAMPLES):
        log_all(log, rows, tenth)
        samples.append(resident_mib())
    rival.finish()
    return {
        "before_mib": before,
        "samples_mib": samples,
        "peak_mib": max(samples),
        "growth_percent": growth_percent(samples),
    }


def resident_mib() -> float:
    """Return the resident set of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIB_PER_MIB
    raise RuntimeError("this system does not say how much memory a process has")


SIZE = Size("5,000,000 rows", (OURS, LIMIT), metrics=10, rows=5_000_000, seconds=60)

CASE = Case(
    name="memory",
    question="memory while logging",
    run=run,
    sizes=(SIZE,),
    quick=(replace(SIZE, rows=100_000),),
    metrics=(
        Metric("growth_percent", "growth after the first tenth", "%", lower_is_better=True),
        Metric("peak_mib", "peak", "MiB", lower_is_better=True),
    ),
    targets=(Ceiling("5,000,000 rows", "growth_percent", 10.0),),
    timeout=600,
)
