"""`asyncwb backup`, `restore` and `verify`: a server's data, copied and looked through.

They work on the data itself, not through a server: with the same places that `asyncwb server` was
given, on a machine that reaches them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from asyncwb.cli.output import OutputError
from asyncwb.cli.server import load
from asyncwb.printable import counted
from asyncwb.settings import Settings

Data: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of the server's data.", show_default="server/ in the data folder"),
]
DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(help="PostgreSQL or SQLite URL.", show_default="SQLite in the data folder"),
]
ObjectsPlace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Where its objects are: a folder, or s3://bucket/prefix.",
        show_default="objects/ in the data folder",
    ),
]


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backup.")],
    data: Data = None,
    database: DatabaseUrl = None,
    objects: ObjectsPlace = None,
) -> None:
    """Copy a server's database, and the objects that it names, into DIR; the server may be running.

    DIR holds one moment, whole: a further backup into it copies only the objects that are new, and
    drops those that are no longer needed. What is damaged is named, and makes the exit code 1.
    """
    target = _absolute(folder)
    made = asyncio.run(_room().backup(_config(data, database, objects), target))
    _tell(
        made.problems,
        f"{target} holds all that the server had at one moment: {counted(made.copied, 'object')} "
        f"({made.size:,} bytes) copied, {made.kept:,} there already, {made.removed:,} dropped.",
    )


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backup.")],
    data: Data = None,
    database: DatabaseUrl = None,
    objects: ObjectsPlace = None,
) -> None:
    """Make a server's data of the backup in DIR, where there is none yet.

    The data folder must be empty or missing, the database without tables (SQLite: missing), and
    there may be no objects. Start the server afterwards, with the same places.
    """
    config = _config(data, database, objects)
    made = asyncio.run(_room().restore(config, _absolute(folder)))
    _tell(
        made.problems,
        f"Restored {counted(made.copied, 'object')} ({made.size:,} bytes) and the database; "
        f"the data folder is {config.data}.",
    )


def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Folder of a backup.", show_default="the server's"),
    ] = None,
    data: Data = None,
    database: DatabaseUrl = None,
    objects: ObjectsPlace = None,
) -> None:
    """Read all that a server stores, or the backup in DIR, and name what is damaged.

    The server may be running; nothing is changed, but a damaged write-ahead log of SQLite is kept
    as a copy. Damage makes the exit code 1.
    """
    if folder is not None:
        made = asyncio.run(_room().verify_backup(_absolute(folder)))
        verdict = "" if made.problems else " Nothing is damaged."
        _tell(
            made.problems,
            f"Read the database and {counted(made.kept, 'object')} ({made.size:,} bytes).{verdict}",
        )
        return
    config = _config(data, database, objects)
    found = asyncio.run(load("asyncwb.server.backups.verify").verify(config))
    counts = ", ".join(_counted(count, what) for what, count in sorted(found.counts.items()))
    old = (
        f" {found.unchecked:,} of them have no checksum, as an older release wrote them."
        if found.unchecked
        else ""
    )
    verdict = "" if found.problems else " Nothing is damaged."
    _tell(found.problems, f"Read {counts or 'an empty store'}.{old}{verdict}")


def _counted(count: int, kind: str) -> str:
    return f"{counted(count, 'block')} of lines" if kind == "lines" else counted(count, kind)


def _tell(problems: Sequence[str], summary: str) -> None:
    """Print what was done, and name what is damaged, whether or not stdout takes anything."""
    try:
        typer.echo(summary)
    except OutputError:
        if not problems:
            raise
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        typer.echo(f"{len(problems):,} damaged.", err=True)
        raise typer.Exit(1)


def _room() -> Any:
    return load("asyncwb.server.backups.backup")


def _config(data: Path | None, database: str | None, objects: str | None) -> Any:
    folder = _absolute(data or Settings.resolve().server_dir)
    return load("asyncwb.server").ServerConfig(data=folder, database=database, objects=objects)


def _absolute(folder: Path) -> Path:
    return folder.expanduser().absolute()
