"""The command line: parse, call one function, print.

    demo         several training loops in one event loop, and what became of every row
    training     a training loop worth watching
    server       run the server
    login        check an API key and keep it
    open         a browser on the server's page, signed in
    status       what waits on this machine
    sync         bring it to the server
    importing    bring runs of other trackers
    people       users, teams, invitations, keys
    backup       backup, restore, verify
    native       one small request to a server's native API
    output       how commands print
    usage        refusing a command line that does not fit together

One file a command. Importing this room loads neither the server nor the engine: a command imports
what it runs when it is run, so that `asyncwb --help` and a typing mistake answer at once.
Everything that goes wrong ends in one line on stderr and an exit code that is not 0.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer

from asyncwb.cli import importing
from asyncwb.cli.backup import backup, restore, verify
from asyncwb.cli.demo import demo
from asyncwb.cli.login import login
from asyncwb.cli.open import open_page
from asyncwb.cli.output import OutputError, prepare_output, say
from asyncwb.cli.people import invite, join, keys, teams, users
from asyncwb.cli.server import server
from asyncwb.cli.status import status
from asyncwb.cli.sync import sync
from asyncwb.descriptors import fill_standard_descriptors
from asyncwb.errors import Error

_UNWRITTEN: Final = 3

app = typer.Typer(
    name="asyncwb",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(demo, server, login, open_page, status, sync, users, teams, invite, join, keys),
    *(backup, restore, verify),
):
    app.command("open" if command is open_page else None)(command)
app.add_typer(importing.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asyncwb {version('asyncwb')}")
        raise typer.Exit


@app.callback()
def about(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Track experiments without slowing them down.

    Runs are logged with `asyncwb.init()` in Python. With nothing configured they go to a server on
    this machine that starts by itself; what a run accepted is on disk first, so nothing is lost
    while a server is away. Start with: asyncwb demo
    """


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    fill_standard_descriptors()
    prepare_output()
    try:
        app(prog_name="asyncwb")
    except Error as error:
        _fail(error.message)
    except OutputError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # its reader has gone, as `head` does
            _leave(_UNWRITTEN)
        _fail(
            f"the output could not be written: {error}. What the command had done by then is done.",
            _UNWRITTEN,
        )
    except OSError as error:
        _fail(str(error))


def _fail(message: str, code: int = 1) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody can be told
        say(f"asyncwb: {message}", err=True)
    _leave(code)


def _leave(code: int) -> None:
    """Exit; what stdout has not taken by now is dropped, or Python would try again, and say so."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except (OutputError, OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
