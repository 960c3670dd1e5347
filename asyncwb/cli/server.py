"""`asyncwb server`: run the server in this process until it is told to stop."""

from __future__ import annotations

import contextlib
import gc
import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from asyncwb.cli.output import say
from asyncwb.errors import UnsupportedError
from asyncwb.settings import Settings


def server(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 8080,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the server's data.", show_default="server/ in the data folder"
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="PostgreSQL or SQLite URL.", show_default="SQLite in the data folder"),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(
            help="Where sealed history goes: a folder, or s3://bucket/prefix.",
            show_default="objects/ in the data folder",
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(
            envvar="ASYNCWB_SERVER_PUBLIC_URL",
            help="How users reach it behind a proxy: https://example.org or .../a/path.",
            show_default="http://HOST:PORT",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="ASYNCWB_SERVER_ALLOW_HOSTS",
            help="A further name that requests may call it by; * is any. Repeat it for more.",
        ),
    ] = None,
    max_upload: Annotated[
        int, typer.Option(min=1, help="MiB that one file of a run may have.")
    ] = 50 * 1024,
    idle_timeout: Annotated[
        float, typer.Option(min=0, help="Stop after this many seconds without a request; 0: never.")
    ] = 0.0,
    embedded: Annotated[
        bool, typer.Option("--embedded", hidden=True, help="Serve this machine's own runs.")
    ] = False,
) -> None:
    """Run a server for runs, history and the page; Ctrl-C or SIGTERM stops it cleanly.

    At first start it makes an admin's API key (or takes ASYNCWB_API_KEY) and says where it is.
    """
    folder = (data or Settings.resolve().server_dir).expanduser().absolute()
    package = load("asyncwb.server")
    config = package.ServerConfig(
        data=folder,
        host=host,
        port=port,
        database=database,
        objects=objects,
        admin_key=package.admin_key_from(),
        max_upload=max_upload * 2**20,
        idle_timeout=idle_timeout or None,
        embedded=embedded,
        public_url=public_url or None,
        hosts=tuple(allow_host or ()),
    )
    package.serve(config, lambda url: _announce(url, config.public_url or url, folder))


def _announce(url: str, reached_at: str, folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # it serves, whether or not that can be read
        say(
            f"Serving at {url}, data in {folder}. The admin's API key is in {folder / 'api_key'}.\n"
            f"To send runs here: asyncwb login --host {reached_at}"
        )


def load(module: str) -> Any:
    """Import a module of the server, whose libraries not everybody has."""
    gc.disable()  # an import makes 100,000 objects that stay: to look through them took a tenth
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library == "asyncwb":
            raise
        raise UnsupportedError(
            f"The server needs {library}, which is not installed; nothing was done. "
            "Install it with: pip install 'asyncwb[server]'"
        ) from None
    finally:
        gc.freeze()
        gc.enable()
