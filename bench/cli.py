"""The command line of the benchmarks: parse, call one function, print."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import cases, environments, harness, report, results
from bench.case import Case
from bench.results import Measurement
from bench.rivals import CLASSES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (1: a measurement failed)."""
    options = parser().parse_args(arguments)
    command = {"list": show, "setup": setup, "run": run, "report": print_report}[options.command]
    return command(options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of asyncwb.")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="cases, sizes and rivals")
    setup = commands.add_parser("setup", help="install the rivals, each by itself")
    setup.add_argument("--rivals", type=names, default=frozenset(), help="a,b: only these")
    runs = commands.add_parser("run", help="measure")
    runs.add_argument("cases", nargs="*", metavar="CASE", help="all of them if none is named")
    runs.add_argument("--rivals", type=names, default=frozenset(), help="a,b: only these")
    runs.add_argument("--repeat", type=int, help="rounds (3; with --quick 1)")
    runs.add_argument("--quick", action="store_true", help="little of everything: does it run?")
    runs.add_argument("--out", type=Path, help="results file (a full run: results/latest.json)")
    reports = commands.add_parser("report", help="the table of a results file")
    reports.add_argument("file", nargs="?", type=Path, default=results.LATEST)
    return top


def names(text: str) -> frozenset[str]:
    """Parse `a,b` into rivals; argparse.ArgumentTypeError names an unknown one."""
    found = frozenset(text.split(","))
    if unknown := found - CLASSES.keys():
        known = ", ".join(CLASSES)
        raise argparse.ArgumentTypeError(f"no rival {', '.join(unknown)}; there are {known}")
    return found


def show(options: argparse.Namespace) -> int:
    """List the cases with their sizes and rivals, and the rivals that are not installed."""
    for case in cases.CASES:
        say(f"{case.name}: {case.question}")
        for size in case.sizes:
            say(f"    {size.label}: {', '.join(size.rivals)}")
    missing = [name for name in CLASSES if not environments.installed(name)]
    if missing:
        say(f"not installed (python -m bench setup): {', '.join(missing)}")
    return 0


def setup(options: argparse.Namespace) -> int:
    """Install the rivals that were named, or all of them."""
    for rival in sorted(options.rivals) or environments.others():
        say(f"installing {rival}")
        environments.setup(rival)
    return 0


def run(options: argparse.Namespace) -> int:
    """Measure, write the results, print the table."""
    chosen = choose(options.cases)
    # Ends by an exception, so that the worker at hand and its servers are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    repeat = options.repeat or (1 if options.quick else 3)
    found = harness.run(
        harness.Options(chosen, options.rivals, repeat, options.quick), report=progress
    )
    path = options.out or destination(options, found.created)
    results.save(found, path)
    say(report.render(found, chosen))
    say(f"written to {path}; targets missed: {report.unmet(found, chosen)}")
    return 1 if any(found.failures()) else 0


def choose(wanted: Sequence[str]) -> tuple[Case, ...]:
    """Return the named cases in their usual order; SystemExit names an unknown one."""
    known = [case.name for case in cases.CASES]
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"no case {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(case for case in cases.CASES if not wanted or case.name in wanted)


def destination(options: argparse.Namespace, created: str) -> Path:
    """Return where results go: a full run becomes the latest, anything less gets its time."""
    if not (options.quick or options.cases or options.rivals):
        return results.LATEST
    kind = "quick" if options.quick else "part"
    return results.FOLDER / f"{kind}-{created[:19].replace(':', '')}.json"


def print_report(options: argparse.Namespace) -> int:
    """Print the table of a results file."""
    found = results.load(options.file)
    say(report.render(found, cases.CASES))
    return 0


def progress(measurement: Measurement) -> None:
    """Say on stderr what has just been measured."""
    m = measurement
    outcome = m.error or " ".join(
        f"{key}={report.number(value)}"
        for key, value in m.figures.items()
        if not isinstance(value, list)
    )
    sys.stderr.write(f"{m.case} | {m.size} | {m.rival} | {m.round + 1}: {outcome}\n")


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")
