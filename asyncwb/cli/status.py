"""`asyncwb status`: what waits on this machine to reach a server."""

from __future__ import annotations

import dataclasses
import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asyncwb.cli.output import say
from asyncwb.printable import counted
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject

if TYPE_CHECKING:
    from asyncwb.client.sync.backlog import UnsentRun


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the runs whose rows, changes or saved files are not all at a server yet."""
    settings = Settings.resolve()
    backlog = importlib.import_module("asyncwb.client.sync.backlog")
    runs: list[UnsentRun] = backlog.unsent(settings.runs_dir)
    if as_json:
        typer.echo(json.dumps([_plain(run) for run in runs], indent=2))
    elif not runs:
        say(f"Nothing waits in {settings.runs_dir}.")
    else:
        for run in runs:
            say("\n".join(_lines(run)))
        say("To send all of it: asyncwb sync")
        if any(run.error for run in runs):
            say("To give up what can never be sent: delete the folder.")


def _lines(run: UnsentRun) -> Iterator[str]:
    """Say what waits of a run, and below it where; whole lines, so that a folder can be copied."""
    waiting = [counted(run.rows, "row")]
    if run.changes and not run.rows:  # beside rows they need no word
        waiting = [f"0 rows and {counted(run.changes, 'change')}"]
    waiting += [counted(run.files, "file")] * bool(run.files)
    mode = f"{run.mode}, in use" if run.live else run.mode
    written = age(time.time() - run.written_at)
    yield f"{run.run}: {', '.join(waiting)} ({size(run.size)}), {mode}, written {written}"
    yield f"    {run.path}"
    if run.error:
        yield f"    {run.error}"


def _plain(run: UnsentRun) -> JsonObject:
    fields = dataclasses.asdict(run).items()
    return {key: str(value) if isinstance(value, Path) else value for key, value in fields}


def size(count: float) -> str:
    """Write a number of bytes for people: `size(3_000_000)` gives "2.9 MiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def age(seconds: float) -> str:
    """Write a span of time for people: `age(7200)` gives "2 h ago"."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
