"""The real `wandb` client, several releases of it, each in an environment of its own.

`.ci/wandb_environments.py` makes the environments (`.ci/test` calls it). A test that asks for
`wandb_client` runs once for each release; programs run as child processes, as a user's would.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fix_server import ServerHandle

ROOT = Path(__file__).resolve().parents[1]
RELEASES = ("interop", "interop-028")
"""extras of pyproject.toml, each with one release pinned; the newest first"""
newest_release = pytest.mark.parametrize("wandb_client", RELEASES[:1], indirect=True)
"""for tests of what does not differ: that each release's documents may be sent is tested apart"""
_TIMEOUT = 45.0
"""seconds; less than a test may take, so that what hangs is told with the client's own logs"""


@dataclass
class WandbClient:
    """One release of the client, pointed at one server. `environ` is what its programs see."""

    python: Path
    release: str
    server: ServerHandle
    folder: Path
    environ: dict[str, str]
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, code: str, *, exit_code: int = 0, **environ: str) -> Any:
        """Run a program to its end; return what it handed to `answer(value)`, None without.

        The program starts with `import wandb, math` and may call `answer(value)` once.
        """
        process = self.start(code, **environ)
        try:
            out, err = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{late}\n{self._logs()}") from None
        if process.returncode != exit_code:
            raise AssertionError(f"exit {process.returncode}, not {exit_code}\n{out}\n{err}")
        answers = [line for line in out.splitlines() if line.startswith(_MARK)]
        return json.loads(answers[-1].removeprefix(_MARK)) if answers else None

    def start(self, code: str, **environ: str) -> subprocess.Popen[str]:
        """Start a program; the end of the test ends it."""
        number = len(self._running)
        program = self.folder / f"program{number}.py"
        program.write_text(_HEAD + code)
        process = subprocess.Popen(
            [str(self.python), str(program)],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def command(self, *arguments: str) -> str:
        """Run `wandb ARGUMENTS` to its end; return what it printed."""
        done = subprocess.run(
            [str(self.python), "-m", "wandb", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise AssertionError(
                f"wandb {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr

    def failed_requests(self) -> list[str]:
        """Return what the client's own logs say went wrong between it and the server."""
        lines = self._logs().splitlines()
        wrong = (line for line in lines if any(mark in line for mark in _WRONG))
        return [line for line in wrong if "otel" not in line]

    def _logs(self) -> str:
        logs = self.folder.glob("wandb/*run-*/logs/debug-*.log")
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def stop(self) -> None:
        """Kill what is still running."""
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            process.communicate()


_MARK = "ANSWER "
_HEAD = f"""
import json, math, sys
import wandb

def answer(value):
    print({_MARK!r} + json.dumps(value, default=str), flush=True)

"""
_WRONG = ("retrying", "giving up", "fatal error", '"level":"ERROR"')


@pytest.fixture(params=RELEASES)
def wandb_client(
    request: pytest.FixtureRequest, server: ServerHandle, tmp_path: Path
) -> Iterator[WandbClient]:
    """Give one release of the client, logged in to the server under test."""
    release: str = request.param
    python = environment(release) / "bin" / "python"
    if not python.exists():
        pytest.fail(f"There is no {python}: python .ci/wandb_environments.py makes it.")
    folder = tmp_path / "wandb-client"
    folder.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    environ = {
        **kept,
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.api_key,
        "WANDB_DIR": str(folder),
        "WANDB_CONFIG_DIR": str(folder / "config"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_PROJECT": "p",
        "PYTHONUNBUFFERED": "1",
    }
    client = WandbClient(python, release, server, folder, environ)
    yield client
    client.stop()


def environment(release: str) -> Path:
    """Return the folder of a release's environment."""
    return ROOT / f".venv-{release}"
