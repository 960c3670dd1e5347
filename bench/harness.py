"""Runs the measurements: each in a fresh process and a fresh folder, the rivals in turn.

`plan` decides the order and is pure; `measure` starts one process, bounds its time, ends whatever
it left behind, and turns any failure into a measurement that says so. One rival that fails does not
stop the others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import machine
from bench.case import Case, Size
from bench.environments import ROOM, python_of
from bench.results import Measurement, Results, anonymous

SEED = 20_250_101
WORK = ROOM / ".work"


@dataclass(frozen=True, slots=True)
class Options:
    """How one run is done; `rivals` empty means all of them."""

    cases: tuple[Case, ...]
    rivals: frozenset[str] = frozenset()
    repeat: int = 3
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One process to start."""

    case: Case
    size: Size
    rival: str
    round: int
    quick: bool


def plan(options: Options) -> Iterator[Job]:
    """Yield the jobs: for each case and size, round by round, the rivals one after the other."""
    for case in options.cases:
        for size in case.sizes_for(options.quick):
            wanted = [r for r in size.rivals if not options.rivals or r in options.rivals]
            for turn in range(options.repeat):
                for rival in wanted:
                    yield Job(case, size, rival, turn, options.quick)


def run(options: Options, report: Callable[[Measurement], None]) -> Results:
    """Do every job of the plan and return what came out; `report` is told of each as it is done."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    measurements: list[Measurement] = []
    versions: dict[str, str] = {}
    WORK.mkdir(exist_ok=True)
    for job in plan(options):
        measurement, version = measure(job)
        measurements.append(measurement)
        if version is not None:
            versions[job.rival] = version
        report(measurement)
    settings = {
        "repeat": options.repeat,
        "quick": options.quick,
        "seed": SEED,
        "cases": [case.name for case in options.cases],
    }
    return Results(created, settings, machine.describe(), versions, tuple(measurements))


def measure(job: Job) -> tuple[Measurement, str | None]:
    """Run one job in its own process; return its measurement and the rival's version."""
    with tempfile.TemporaryDirectory(dir=WORK, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        error = run_worker(job, folder)
        answer = folder / "answer.json"
        if error is None and answer.exists():
            found = json.loads(answer.read_text())
            return _result(job, figures=found["figures"]), found["version"]
        log = folder / "output.txt"
        output = log.read_text(errors="replace") if log.exists() else ""
        reasons = [part for part in (output.strip(), error) if part]
        return _result(job, error=anonymous("\n".join(reasons) or "it said nothing")), None


def _result(
    job: Job, figures: dict[str, float | list[float]] | None = None, error: str | None = None
) -> Measurement:
    return Measurement(job.case.name, job.size.label, job.rival, job.round, figures or {}, error)


def run_worker(job: Job, folder: Path) -> str | None:
    """Start the worker and wait for it; return why it failed where it says nothing itself."""
    if not python_of(job.rival).exists():
        return f"{job.rival} is not installed: python -m bench setup --rivals {job.rival}"
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            worker_command(job, folder),
            cwd=ROOM.parent,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(job.case.timeout)
        except subprocess.TimeoutExpired:
            return f"it took longer than {job.case.timeout:.0f} s"
        finally:
            end_group(process)
    return None


def worker_command(job: Job, folder: Path) -> Sequence[str]:
    """Return the command line of the job's worker."""
    data = folder / "data"
    data.mkdir()
    task = {
        "case": job.case.name,
        "size": job.size.label,
        "rival": job.rival,
        "seed": SEED + job.round,
        "quick": job.quick,
        "folder": str(data),
        "answer": str(folder / "answer.json"),
    }
    return [str(python_of(job.rival)), "-m", "bench.worker", json.dumps(task)]


def environment(folder: Path) -> dict[str, str]:
    """Return a clean environment: no settings of the user's reach a rival, nor the user's home."""
    keep = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
    home = {"HOME": str(folder), "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
    return {**keep, **home, "ASYNCWB_BENCH_PYTHON": sys.executable}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the worker's session (a daemon of the rival's) and reap the worker."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
