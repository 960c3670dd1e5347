"""`asyncwb open`: a browser on the server's page, signed in without typing a key."""

from __future__ import annotations

import html
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Final

import typer

from asyncwb.cli.native import ChosenServer
from asyncwb.cli.output import say
from asyncwb.private import make_private_folder, write_private
from asyncwb.settings import Settings

_DISPLAYS: Final = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
"""environment variables of which one is set where a browser has something to show itself on"""


def open_page(
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the link, and open no browser.")
    ] = False,
) -> None:
    """Open the server's page in a browser, signed in.

    The server is the one that runs go to; the one on this machine is started where it does not run.
    A link is made that signs one browser in, once, within 10 minutes. It is printed where there is
    no browser, on a machine that you reach by SSH, say.
    """
    server = ChosenServer(start=True)
    link = str(server.ask("POST", "login/links")["url"])
    if print_only:
        say(link)
    elif _show(link, Settings.resolve().data_dir):
        say(f"A browser shows {server.url}. If none does: asyncwb open --print")
    else:
        say(f"This link signs a browser in, once, within 10 minutes:\n{link}")


def _show(link: str, folder: Path) -> bool:
    """Have a browser open a link; False where there is none.

    By way of a file: a command line can be read by everybody on the machine, and whoever is the
    first to use the link is signed in.
    """
    graphic = sys.platform == "darwin" or any(os.environ.get(name) for name in _DISPLAYS)
    if not graphic:  # else it may be one of the terminal's, which cannot show the page
        return False
    page = folder / "open.html"
    make_private_folder(folder)
    write_private(page, _PAGE.format(link=html.escape(link, quote=True)).encode())
    return webbrowser.open(page.as_uri())


_PAGE: Final = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={link}">
<title>asyncwb</title>
<a href="{link}">The page of the server</a>
"""
