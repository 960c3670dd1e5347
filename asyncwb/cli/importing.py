"""`asyncwb import`: bring runs of other trackers to the server."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TaskID
from rich.text import Text

from asyncwb.cli.output import progress_column, progress_console, say
from asyncwb.cli.usage import refuse
from asyncwb.errors import UsageError
from asyncwb.printable import counted, printable
from asyncwb.settings import Settings

if TYPE_CHECKING:
    from asyncwb.importers.importing import ImportProgress, ImportResult

app = typer.Typer(
    name="import",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Bring runs of other trackers to the server. Interrupted? Run it again: it goes on.",
)

_Folders = Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders to look into.")]
_Project = Annotated[
    str | None, typer.Option(help="Put the runs into this project, not into their own.")
]
_Entity = Annotated[
    str | None, typer.Option(help="Give the runs to this team, not to the key's own user.")
]
_Jobs = Annotated[int, typer.Option(min=1, max=64, help="Runs to import at a time.")]
_Into = Annotated[
    bool,
    typer.Option("--into-existing", help="Add rows to runs that the server has from elsewhere."),
]


@app.command("wandb-offline")
def wandb_offline(
    folders: _Folders,
    project: _Project = None,
    entity: _Entity = None,
    jobs: _Jobs = 4,
    into_existing: _Into = False,
) -> None:
    """Import W&B run folders (`wandb/offline-run-*` and `wandb/run-*`), without W&B.

    DIR is such a folder, or one that holds them. Nothing in it is changed.
    """
    settings = _settings(entity)
    _check(folders)
    work = importlib.import_module("asyncwb.importers.commands")

    def run(report: Callable[[ImportProgress], None]) -> Coroutine[Any, Any, list[ImportResult]]:
        found: Coroutine[Any, Any, list[ImportResult]] = work.from_wandb_logs(
            folders,
            settings=settings,
            entity=settings.entity,
            project=project,
            jobs=jobs,
            into_existing=into_existing,
            report=report,
        )
        return found

    _show(run)


@app.command("tensorboard")
def tensorboard(
    folders: _Folders,
    project: _Project = None,
    entity: _Entity = None,
    jobs: _Jobs = 4,
    follow: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Follow files that still grow until nothing was added for so long.",
        ),
    ] = 0.0,
) -> None:
    """Import folders of TensorBoard event files: each DIR is one run.

    The folders in it (`train`, `validation`) are the first part of the metrics' names.
    """
    settings = _settings(entity)
    _check(folders)
    work = importlib.import_module("asyncwb.importers.commands")

    def run(report: Callable[[ImportProgress], None]) -> Coroutine[Any, Any, list[ImportResult]]:
        found: Coroutine[Any, Any, list[ImportResult]] = work.from_tensorboard(
            folders,
            settings=settings,
            entity=settings.entity,
            project=project or settings.project,
            jobs=jobs,
            quiet=follow,
            report=report,
        )
        return found

    _show(run)


@app.command("wandb")
def wandb(
    path: Annotated[str, typer.Argument(metavar="ENTITY/PROJECT", help="What to import.")],
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="The W&B server.")
    ] = "https://api.wandb.ai",
    key: Annotated[
        str | None,
        typer.Option(help="The key for that server; left out: $WANDB_SOURCE_API_KEY."),
    ] = None,
    filters: Annotated[
        str | None, typer.Option(metavar="JSON", help="Only runs that match, as in Api.runs().")
    ] = None,
    project: _Project = None,
    entity: _Entity = None,
    jobs: _Jobs = 4,
    into_existing: _Into = False,
) -> None:
    """Import the runs of a project from a W&B server, through its API.

    Comes over: history, config, summary, tags, notes, state and files. Works with any server that
    speaks W&B's API.
    """
    _check_path(path)
    _check_filters(filters)
    settings = _settings(entity)
    key = key or os.environ.get("WANDB_SOURCE_API_KEY")
    if not key:
        raise UsageError(
            "No API key for the server to import from. Nothing was done; give it with --key or in "
            "WANDB_SOURCE_API_KEY"
        )
    work = importlib.import_module("asyncwb.importers.commands")

    def run(report: Callable[[ImportProgress], None]) -> Coroutine[Any, Any, list[ImportResult]]:
        found: Coroutine[Any, Any, list[ImportResult]] = work.from_wandb_server(
            path,
            base_url=source,
            key=key,
            filters=filters,
            settings=settings,
            entity=settings.entity,
            project=project,
            jobs=jobs,
            into_existing=into_existing,
            report=report,
        )
        return found

    _show(run)


def _settings(entity: str | None) -> Settings:
    return Settings.resolve({} if entity is None else {"entity": entity})


def _check_path(path: str) -> None:
    if "/" not in path.strip("/"):
        refuse(f"{path!r} is no ENTITY/PROJECT: write both, with a slash between them.")


def _check_filters(text: str | None) -> None:
    try:
        said = {} if text is None else json.loads(text)
    except ValueError as error:
        refuse(f"--filters is no JSON: {error}. Write an object, in quotes: '{{\"state\": ...}}'.")
    if not isinstance(said, dict):
        refuse('--filters must be a JSON object, such as {"state": "finished"}.')


def _check(folders: list[Path]) -> None:
    missing = [str(path) for path in folders if not path.exists()]
    if missing:
        raise UsageError(f"No such folder: {', '.join(missing)}. Nothing was imported")


def _show(
    run: Callable[[Callable[[ImportProgress], None]], Coroutine[Any, Any, list[ImportResult]]],
) -> None:
    """Run an import with its progress on stderr, then print what became of every run."""
    columns = (SpinnerColumn(), progress_column("description"), progress_column("completed:,"))
    with Progress(*columns, console=progress_console()) as progress:
        results = asyncio.run(run(Lines(progress).report))
    if not results:
        say("There is no run to import.")
        return
    for result in results:
        say(outcome(result), style="red" if result.error else "")
        for line in remarks(result):
            say(f"    {line}", style="yellow")
    if any(result.error for result in results):
        raise typer.Exit(1)


class Lines:
    """Keep one line a run. Mutable state: the line of each run."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: dict[str, TaskID] = {}

    def report(self, state: ImportProgress) -> None:
        """Show how far a run has come."""
        if state.label not in self._lines:
            self._lines[state.label] = self._progress.add_task(printable(state.label), total=None)
        self._progress.update(self._lines[state.label], completed=state.done)
        if state.said is not None:
            self._progress.console.print(Text(printable(state.said)), highlight=False)


def outcome(result: ImportResult) -> str:
    """Say what became of a run: a whole line, so that a path in it can be copied."""
    where = "" if result.path is None else f" -> {result.path}"
    counts = [counted(result.rows, "new row")]
    counts += [counted(result.files, "new file")] * bool(result.files)
    said = f"{result.label}{where}: {', '.join(counts)}"
    if result.error:
        return f"{said}; failed: {result.error}"
    return said


def remarks(result: ImportResult) -> list[str]:
    """Say what of a run did not come over, and what else is to be known."""
    left = [f"{count:,} x {what}" for what, count in sorted(result.left.items())]
    not_carried = [f"not carried over: {', '.join(left)}"] if left else []
    return [*not_carried, *result.notes]
