"""The command line as users have it: a process of its own, and a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
"""`cli("status", "--json", stdin="...")` runs a command to its end."""

OFFLINE_RUN = """
import sys, asyncwb
with asyncwb.init(project="cli", id=sys.argv[1], mode="offline") as run:
    for step in range(int(sys.argv[2])):
        run.log({"loss": 1 / (step + 1)})
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The machine's environment without its settings, and with folders of this test alone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASYNCWB_", "WANDB_"))}
    return kept | {
        "ASYNCWB_DATA_DIR": str(tmp_path / "data"),
        "ASYNCWB_CONFIG_DIR": str(tmp_path / "config"),
        "ASYNCWB_SERVER_IDLE_TIMEOUT": "30",
        "COLUMNS": "200",
    }


@pytest.fixture
def cli(environ: dict[str, str], tmp_path: Path) -> Cli:
    """Run a command of asyncwb in a process of its own."""

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "asyncwb", *arguments]
        return subprocess.run(
            command, env=environ, cwd=tmp_path, input=stdin, capture_output=True, text=True,
            timeout=50,
        )  # fmt: skip

    return run


@pytest.fixture
def log_offline(environ: dict[str, str], tmp_path: Path) -> Callable[[str, int], Path]:
    """Log rows offline in a process of its own; gives the run's folder."""

    def run(name: str, rows: int) -> Path:
        command = [sys.executable, "-c", OFFLINE_RUN, name, str(rows)]
        subprocess.run(
            command, env=environ, cwd=tmp_path, check=True, timeout=50, capture_output=True
        )
        (folder,) = (tmp_path / "data" / "runs").glob(f"*-{name}-*")
        return folder

    return run


@pytest.fixture
def stop_server(tmp_path: Path) -> Iterator[None]:
    """Stop the server that a command may have started in this test's data folder."""
    yield
    announced = tmp_path / "data" / "server" / "server.json"
    if announced.exists():
        os.kill(json.loads(announced.read_text())["pid"], signal.SIGTERM)
        _wait_until(lambda: not announced.exists())


@pytest.fixture
def served(environ: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Run `asyncwb server` in a process of its own; gives its URL and the admin's key."""
    folder = tmp_path / "served"
    command = [sys.executable, "-m", "asyncwb", "server", "--port", "0", "--data", str(folder)]
    with subprocess.Popen(command, env=environ, cwd=tmp_path) as process:
        try:
            url = _announced(folder, process)["url"]
            yield url, (folder / "api_key").read_text().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, "SIGTERM is a clean stop"


def _announced(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    file = folder / "server.json"
    _wait_until(lambda: file.exists() or process.poll() is not None)
    announced: dict[str, Any] = json.loads(file.read_text())
    return announced


def _wait_until(holds: Callable[[], object], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the server took too long"
        time.sleep(0.05)
