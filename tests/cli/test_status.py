"""`asyncwb status`: what waits, also where it is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncwb.cli.status import age, size
from tests.cli.conftest import Cli


def test_nothing_waits(cli: Cli) -> None:
    assert cli("status").stdout.startswith("Nothing waits in ")
    assert json.loads(cli("status", "--json").stdout) == []


def test_an_offline_run_waits(
    cli: Cli, environ: dict[str, str], log_offline: Callable[[str, int], Path]
) -> None:
    folder = log_offline("one", 1234)
    (run,) = json.loads(cli("status", "--json").stdout)
    assert run["path"] == str(folder)
    assert (run["run"], run["mode"], run["rows"]) == ("cli/one", "offline", 1234)
    assert (run["live"], run["error"]) == (False, None)
    assert run["size"] == sum(f.stat().st_size for f in (folder / "sealed").iterdir())
    environ["COLUMNS"] = "80"
    about, where, advice = cli("status").stdout.splitlines()
    assert about.startswith("cli/one: 1,234 rows (")
    assert len(about) < 80
    assert where == f"    {folder}"
    assert "asyncwb sync" in advice


def test_a_run_without_rows_waits(cli: Cli, log_offline: Callable[[str, int], Path]) -> None:
    log_offline("none", 0)
    (run,) = json.loads(cli("status", "--json").stdout)
    assert run["rows"] == 0
    assert cli("status").stdout.startswith(f"cli/none: 0 rows and {run['changes']} changes (")


def test_a_damaged_run_is_listed_with_what_is_wrong(
    cli: Cli, log_offline: Callable[[str, int], Path]
) -> None:
    (sealed,) = (log_offline("bad", 50) / "sealed").iterdir()
    content = bytearray(sealed.read_bytes())
    content[-1] ^= 1
    sealed.write_bytes(content)
    (log_offline("odd", 7) / "run.json").write_text("{")
    bad, odd = sorted(
        json.loads(cli("status", "--json").stdout), key=lambda run: "odd" in run["run"]
    )
    assert bad["rows"] < 50
    assert sealed.name in bad["error"]
    assert odd["rows"] == 7
    assert "run.json cannot be read" in odd["error"]
    shown = cli("status").stdout.splitlines()
    for run in (bad, odd):
        assert f"    {run['path']}" in shown
        assert f"    {run['error']}" in shown


INTERRUPTED = """
import sys, asyncwb
run = asyncwb.init(project="cli", id="cut", settings={"base_url": "http://127.0.0.1:9"})
for step in range(500):
    run.log({"loss": 1 / (step + 1)})
print("logged", flush=True)
sys.stdin.read()
"""


def test_an_interrupted_run_waits(cli: Cli, environ: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command,
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"logged\n"
        (run,) = json.loads(cli("status", "--json").stdout)
        process.kill()
    assert (run["run"], run["mode"], run["rows"], run["live"]) == ("cli/cut", "online", 500, True)
    (run,) = json.loads(cli("status", "--json").stdout)
    assert (run["rows"], run["live"], run["error"]) == (500, False, None)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (2048, "2.0 KiB"), (3 * 2**20, "3.0 MiB"), (2**40, "1024.0 GiB")],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (172800, "2 d ago")],
)
def test_ages_for_people(seconds: float, text: str) -> None:
    assert age(seconds) == text
