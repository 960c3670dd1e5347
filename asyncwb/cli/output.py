"""How commands print: plain, whole lines, in which nothing of anybody's is an order to a terminal.

Names, messages and paths may be others' (users of a server, runs of another one): whatever is not
printable in them is escaped, and nothing in them is markup. Results go to stdout. Progress goes to
stderr, as long as that takes anything: what a command is asked to do does not stop because its
terminal was closed, its pipe has no reader or the disk with its log is full.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import IO, Any, TextIO, cast

import typer
from rich import box
from rich.console import Console
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from asyncwb.printable import printable


class OutputError(Exception):
    """Stdout does not take what a command prints; `__cause__` is the OSError that says why."""


def prepare_output() -> None:
    """Have stdout raise OutputError, and escapes written for what an encoding has no letters for.

    An OSError of stdout would read as one of the command's work; and click and rich end the
    process with 1, which means damage or failure, where the reader of a pipe has gone.
    """
    _print_all_characters()
    if sys.stdout is not None:
        sys.stdout = cast("TextIO", _Telling(sys.stdout))


def _print_all_characters() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, style: str = "", err: bool = False) -> None:
    """Print lines of text; `style` is a colour for a terminal."""
    if style:
        plain = Text(printable(text, lines=True), style=style)
        Console(stderr=err).print(plain, soft_wrap=True)
    else:
        typer.echo(printable(text, lines=True), err=err)


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their titles."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def progress_console() -> Console:
    """Return a console on stderr that drops what cannot be written."""
    return Console(file=cast("IO[str]", _Dropping(sys.stderr)) if sys.stderr else None, stderr=True)


def progress_column(field: str) -> TextColumn:
    """Return a column that shows a field of its tasks as it is."""
    return TextColumn(f"{{task.{field}}}", markup=False)


class _Wrapped:
    """A file like the one it is given."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Telling(_Wrapped):
    """Its `write` and `flush` raise OutputError where they fail."""

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except OSError as error:
            raise OutputError(str(error)) from error

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise OutputError(str(error)) from error


class _Dropping(_Wrapped):
    """Its `write` and `flush` do not fail."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()
