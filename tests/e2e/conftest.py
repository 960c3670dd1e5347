"""Programs as users run them: a process each, against a server under test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import ask, rows_of  # noqa: F401 - fixtures
from tests.fix_server import ServerHandle

Script = Callable[..., subprocess.Popen[str]]
"""`script("code", name=value)` starts a program; its environment has ASYNCWB_<NAME>=value too."""


@pytest.fixture
def script(server: ServerHandle, tmp_path: Path) -> Iterator[Script]:
    """Start programs that log to the server under test; none of them outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, **settings: Any) -> subprocess.Popen[str]:
        given = {
            "base_url": server.url,
            "api_key": server.api_key,
            "project": "p",
            "run_id": "r",
            "flush_interval": 0.01,
            "detach_uploader": "false",
            **settings,
        }
        env = {f"ASYNCWB_{name.upper()}": str(value) for name, value in given.items()}
        program = tmp_path / "program.py"
        program.write_text(code)
        process = subprocess.Popen(
            [sys.executable, str(program)],
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **env},
            cwd=tmp_path,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its children
        process.communicate(timeout=10)


def end(process: subprocess.Popen[str], code: int | None = 0) -> tuple[str, str]:
    """Wait for a program's end; return what it said."""
    try:
        out, err = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # says what each thread is at
        out, err = process.communicate(timeout=10)
        pytest.fail(f"the program does not end:\n{out}\n{err}")
    assert code is None or process.returncode == code, err
    return out, err
