"""`asyncwb sync`: bring what is on disk to the server."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID
from rich.text import Text

from asyncwb.cli.output import progress_column, progress_console, say
from asyncwb.errors import UsageError
from asyncwb.printable import counted, in_seconds, printable
from asyncwb.settings import Settings

if TYPE_CHECKING:
    from asyncwb.client.sync.sync import SyncProgress, SyncResult


def sync(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR",
            help="Run folders, or folders of run folders. Left out: all on this machine.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Runs to send at a time.")] = 4,
    create: Annotated[
        bool,
        typer.Option(
            "--create", help='Make runs anew that the server has lost, though resume="must".'
        ),
    ] = False,
) -> None:
    """Send offline and interrupted runs to the server.

    Safe while a run still logs, and as often as you like: a row that the server has counts once.
    A run that cannot be sent does not stop the others; then the exit code is 1.
    """
    settings = Settings.resolve()
    paths = folders or [settings.runs_dir]
    engine = importlib.import_module("asyncwb.client.sync.sync")
    missing = [str(path) for path in folders or [] if not engine.is_there(path)]
    if missing:
        raise UsageError(
            f"No such folder: {', '.join(missing)}. Nothing was sent; see: asyncwb status"
        )
    columns = (progress_column("description"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=progress_console()) as progress:
        bars = Bars(progress, settings.finish_timeout)
        results: list[SyncResult] = asyncio.run(
            engine.sync(paths, settings=settings, jobs=jobs, report=bars.report, create=create)
        )
    if not results:
        gone = [path for path in paths if not path.is_dir()]
        say(f"Nothing waits in {', '.join(map(str, paths))}.")
        if gone:
            say("What is not there (any more) was sent meanwhile, or deleted.")
        return
    for result in results:
        say(outcome(result), style="red" if result.error or result.lost else "")
    if any(result.error for result in results):
        raise typer.Exit(1)


class Bars:
    """Keep one progress bar a run. Mutable state: the bar of each run folder; what was said."""

    def __init__(self, progress: Progress, patience: float) -> None:
        self._progress = progress
        self._patience = patience
        self._bars: dict[Path, TaskID] = {}
        self._said: set[str] = set()

    def report(self, state: SyncProgress) -> None:
        """Show how far a run has come."""
        if state.path not in self._bars:
            self._bars[state.path] = self._progress.add_task(
                printable(state.run or state.path.name)
            )
        self._progress.update(self._bars[state.path], completed=state.sent, total=state.total)
        if state.trouble is not None and state.trouble not in self._said:
            self._said.add(state.trouble)
            said = f"{state.trouble} It is tried again for {in_seconds(self._patience)}."
            self._progress.console.print(Text(printable(said)), highlight=False)


def outcome(result: SyncResult) -> str:
    """Say what became of a run: a whole line, so that a folder in it can be copied."""
    counts = [f"{counted(result.sent, 'row')} sent"]
    counts += [f"{counted(result.files, 'file')} sent"] * bool(result.files)
    counts += [f"{counted(result.lost, 'row')} lost"] * bool(result.lost)
    said = f"{result.run or result.path}: {', '.join(counts)}"
    if result.lacks_start:
        said += (
            "; the start of its journal is not here any more: what it said of the run (config, "
            "name, notes, tags, metric definitions, summary) was not sent"
        )
    if result.error:
        return f"{said}; failed: {result.error}"
    return said
