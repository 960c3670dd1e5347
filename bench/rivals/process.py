"""A server in a process of its own: started, waited for until it says where it listens, stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

_READY_SECONDS = 30.0
_STOP_SECONDS = 10.0


class ServerProcess:
    """One child process that writes a JSON file once it is ready.

    Args:
        arguments: its command line, the interpreter first.
        announcement: the file that it writes.
        output: where its standard output and error go.
    """

    def __init__(self, arguments: list[str], announcement: Path, output: Path) -> None:
        self._arguments = arguments
        self._announcement = announcement
        self._output = output

    def start(self) -> dict[str, Any]:
        """Start the process and return what it announces; RuntimeError if it never does."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._arguments, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._announcement.exists():
                announced: dict[str, Any] = json.loads(self._announcement.read_text())
                return announced
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the server did not start:\n{self._output.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def stop(self) -> None:
        """Ask the server to stop (SIGTERM) and end it if it has not within ten seconds."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
