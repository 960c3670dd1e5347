"""The command line itself: help, version, errors of one line, and a light import."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.cli.conftest import Cli


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").stdout == f"asyncwb {version('asyncwb')}\n"
    shown = cli("--help").stdout
    for command in ("demo", "server", "login", "status", "sync"):
        assert command in shown
        assert cli(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("sync", "nowhere"), 1, "asyncwb: No such folder: nowhere. Nothing was sent"),
        (("login", "--host", "ftp://x"), 1, "asyncwb: Setting base_url: "),
        (("login", "--host", "http://127.0.0.1:9", "--key", "k"), 1, "gave no usable answer"),
        (("login", "--host", "http://127.0.0.1:9"), 1, "No API key for http://127.0.0.1:9"),
        (("demo", "--runs", "0"), 2, "--runs"),
    ],
)
def test_what_goes_wrong_is_said_without_a_traceback(
    arguments: tuple[str, ...], code: int, says: str, cli: Cli
) -> None:
    done = cli(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if code == 1:
        assert len(done.stderr.splitlines()) == 1


def test_importing_the_command_line_loads_neither_server_nor_engine() -> None:
    code = """
import sys, asyncwb.cli
heavy = ("asyncwb.server", "asyncwb.engine", "asyncwb.client", "numpy", "aiohttp", "sqlalchemy")
print([name for name in heavy if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
