"""`asyncwb login`: check an API key with its server and keep it for the runs to come."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from asyncwb.cli.native import ask
from asyncwb.cli.output import say
from asyncwb.cli.usage import refuse
from asyncwb.errors import AuthenticationError, UsageError
from asyncwb.settings import Settings, read_credentials, write_credentials
from asyncwb.typing import JsonObject


def login(
    host: Annotated[
        str | None,
        typer.Option(
            help="URL of the server, or 'embedded' to go back to the one on this machine."
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The API key. Left out: asked for, or read from stdin.")
    ] = None,
    relogin: Annotated[
        bool, typer.Option("--relogin", help="Replace a key that is stored already.")
    ] = False,
) -> None:
    """Store the API key of a server, and send runs there from now on.

    The key is checked with the server first. Where none is given, one that is stored already and
    that the server still accepts stays, unless `--relogin` is given. Keys are kept in
    credentials.json in the data folder, readable by you alone. The server on this machine needs no
    login.
    """
    settings = Settings.resolve({"base_url": host, "api_key": key})
    stored = read_credentials(settings.data_dir)
    if settings.base_url is None:
        if key is not None or relogin:
            refuse(
                "The server on this machine needs no key: leave --key and --relogin out, or say "
                "with --host which server they are for."
            )
        _use_embedded(settings, stored)
        return
    url = settings.base_url
    kept = None if relogin or key else stored.get(url, {}).get("key")
    chosen, viewer = _checked_key(settings, url, key, kept)
    for entry in stored.values():
        entry.pop("default", None)
    path = write_credentials(settings.data_dir, stored | {url: {"key": chosen, "default": True}})
    say(f"Logged in to {url} as {viewer.get('username')}; the key is in {path}.")
    if chosen == kept:
        say("It was stored already and the server accepts it. To replace it: --relogin")
    say("Runs go there now. Back to this machine: asyncwb login --host embedded")


def _use_embedded(settings: Settings, stored: dict[str, JsonObject]) -> None:
    if any(entry.pop("default", None) for entry in stored.values()):
        write_credentials(settings.data_dir, stored)
    say(
        f"Runs go to the server on this machine, which starts by itself and needs no login "
        f"(its data and its key are in {settings.server_dir}).\n"
        "For another server: asyncwb login --host URL"
    )


def _read_key(url: str) -> str:
    if sys.stdin.isatty():
        key = str(typer.prompt(f"API key for {url}", hide_input=True))
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise UsageError(
            f"No API key for {url}: nothing was stored. Give one with --key, at the prompt or on "
            "standard input."
        )
    return Settings(api_key=key.strip()).api_key or ""


def _checked_key(
    settings: Settings, url: str, given: str | None, kept: str | None
) -> tuple[str, JsonObject]:
    """Return a key that the server accepts and whose it is; asks for one where none is at hand."""

    def viewer(key: str) -> tuple[str, JsonObject]:
        return key, ask(url, "/api/v1/viewer", key=key, timeout=settings.http_timeout)

    if kept:
        try:
            return viewer(kept)
        except AuthenticationError:
            say(f"The stored key for {url} is no longer accepted.", err=True)
    return viewer(given or _read_key(url))
