"""One measurement in a process of its own: `python -m bench.worker JOB`.

JOB is JSON: case, size, rival, seed, quick, folder and the file for the answer. This runs in the
rival's environment, so nothing here or below may import more than the standard library and numpy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import cases, rivals
from bench.case import Case, Size
from bench.rows import rows_for


def main(arguments: Sequence[str]) -> None:
    """Measure what the job says and write the figures to its answer file."""
    job: dict[str, Any] = json.loads(arguments[0])
    case = cases.find(job["case"])
    size = size_of(case, job["size"], quick=job["quick"])
    (example, *_) = rows_for(replace(size, rows=1), job["seed"])
    rival = rivals.create(job["rival"], Path(job["folder"]), tuple(example))
    rival.prepare()
    try:
        figures = case.run(rival, size, job["seed"])
    finally:
        rival.close()
    answer = {"figures": figures, "version": rival.version()}
    Path(job["answer"]).write_text(json.dumps(answer))


def size_of(case: Case, label: str, *, quick: bool) -> Size:
    """Return the case's size of that label; KeyError if it has none."""
    return {size.label: size for size in case.sizes_for(quick)}[label]


if __name__ == "__main__":
    main(sys.argv[1:])
