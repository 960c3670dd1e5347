"""Refusing a command line that does not fit together: one line, exit code 2, nothing done."""

from __future__ import annotations

from typing import NoReturn

import typer

from asyncwb.cli.output import say


def refuse(message: str) -> NoReturn:
    """End the command with exit code 2 and a line that says what to write instead."""
    say(f"asyncwb: {message} Nothing was done.", err=True)
    raise typer.Exit(2)


def only_one(**given: object) -> str | None:
    """Return which of these options was given, None where none was; more than one is refused."""
    names = [f"--{name}" for name, value in given.items() if value is not None]
    if len(names) > 1:
        refuse(f"{' and '.join(names)} are different commands: run one after the other.")
    return names[0] if names else None
