"""Is the memory of the logging process flat, however many rows it logs?

Five million rows at full speed; the resident set is read from /proc (Linux) a hundred times on the
way. It counts what the process maps of its journal, too, and goes up and down with that, by a file
or two: so it is the mean of each tenth of the rows that must not grow, once the first is over.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

from bench.case import LIMIT, OURS, Case, Ceiling, Figures, Metric, Size
from bench.cases.acked import log_all
from bench.rivals.base import Rival
from bench.rows import rows_for
from bench.statistics import growth_percent

_TENTHS = 10
_SAMPLES = 10
_KIB_PER_MIB = 1024


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Log `size.rows` rows, sampling the resident set ten times in each tenth of them."""
    rows = rows_for(size, seed)
    log = rival.open()
    before = resident_mib()
    part = replace(size, rows=size.rows // _TENTHS // _SAMPLES)
    samples = []
    for _ in range(_TENTHS * _SAMPLES):
        log_all(log, rows, part)
        samples.append(resident_mib())
    rival.finish()
    tenths = [mean(samples[i : i + _SAMPLES]) for i in range(0, len(samples), _SAMPLES)]
    return {
        "before_mib": before,
        "tenths_mib": tenths,
        "peak_mib": max(samples),
        "growth_percent": growth_percent(tenths[1:]),
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
