"""What do the first two lines cost: the import, and the beginning of a run?

In a bare interpreter that has imported nothing but `time`. It is started twice and the second
start counts: the first one compiles byte code and warms the file cache, as an installer does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench.case import OURS, Advantage, Case, Figures, Metric, Size
from bench.rivals.base import Rival, Startup

_SCRIPT = """\
import time
start = time.perf_counter()
{import_line}
imported = time.perf_counter()
{init_line}
ready = time.perf_counter()
{finish_line}
with open({answer!r}, "w") as answer:
    answer.write(f"[{{imported - start}}, {{ready - imported}}]")
"""
_MS = 1e3


def run(rival: Rival, size: Size, seed: int) -> Figures:
    """Run the tracker's first lines in bare interpreters, `size.runs` times after a first one.

    Nothing in it is random: `seed` only names the file that the answer comes in.
    """
    startup = rival.startup()
    answer = str(rival.folder / f"startup-{seed}.json")
    for _ in range(1 + size.runs):
        importing, beginning = time_startup(startup, answer)
    return {
        "import_ms": importing * _MS,
        "init_ms": beginning * _MS,
        "both_ms": (importing + beginning) * _MS,
    }


def time_startup(startup: Startup, answer: str) -> tuple[float, float]:
    """Return the seconds of the import and of the beginning of a run."""
    script = _SCRIPT.format(
        import_line=startup.import_line,
        init_line=startup.init_line,
        finish_line=startup.finish_line,
        answer=answer,
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ, timeout=120)
    with open(answer) as file:
        importing, beginning = json.load(file)
    return importing, beginning


SIZE = Size("a bare interpreter", (OURS, "wandb", "trackio", "tensorboardX", "mlflow"))

CASE = Case(
    name="startup",
    question="the first two lines",
    run=run,
    sizes=(SIZE,),
    quick=(SIZE,),
    metrics=(
        Metric("import_ms", "import", "ms", lower_is_better=True),
        Metric("init_ms", "init", "ms", lower_is_better=True),
        Metric("both_ms", "both", "ms", lower_is_better=True),
    ),
    targets=(
        Advantage("a bare interpreter", "import_ms", "wandb", 8),
        Advantage("a bare interpreter", "init_ms", "wandb", 10),
    ),
)
