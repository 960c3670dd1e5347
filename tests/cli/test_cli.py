"""The command line itself: help, version, errors of one line, and a light import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

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


@pytest.mark.usefixtures("stop_server")
@pytest.mark.parametrize(
    ("redirect", "code"),
    [("2>/dev/full", 0), ("2>&-", 0), ("2>&1 | true", 0), (">/dev/full", 3), (">&-", 0)],
)
def test_what_a_command_does_is_done_whether_or_not_its_output_is_read(
    environ: dict[str, str], log_offline: Callable[[str, int], Path], redirect: str, code: int
) -> None:
    folder = log_offline("one", 300)
    command = f'"$PYTHON" -m asyncwb sync "$FOLDER" {redirect}'
    env = environ | {"PYTHON": sys.executable, "FOLDER": str(folder)}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "one: 300 rows" in done.stdout or "2" not in redirect or "|" in redirect
    assert ("the output could not be written" in done.stderr) == (code == 3)
    assert not (folder / "journal").exists()
    assert (folder / "synced.json").exists()


@pytest.mark.parametrize(
    "command", ["status", "status --json", "verify --data $FOLDER", "--help", "--version"]
)
def test_output_that_nobody_takes_has_a_code_of_its_own(
    environ: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest, command: str
) -> None:
    if "$FOLDER" in command:
        request.getfixturevalue("served")
    env = environ | {"PYTHON": sys.executable, "FOLDER": str(tmp_path / "served")}
    run = f'"$PYTHON" -m asyncwb {command}'
    full = subprocess.run(
        ["bash", "-c", f"{run} >/dev/full"], env=env, capture_output=True, text=True
    )
    assert full.returncode == 3
    (line,) = full.stderr.splitlines()
    assert line.startswith("asyncwb: the output could not be written: ")
    assert line.endswith("What the command had done by then is done.")
    gone = "exec 3> >(exec 0<&-); wait $!; "  # a pipe that nobody reads any more
    piped = subprocess.run(
        ["bash", "-c", f"{gone}{run} >&3"], env=env, capture_output=True, text=True
    )
    assert (piped.returncode, piped.stderr) == (3, "")
