"""Our server in a process of its own, whichever client it is that the measurement drives.

The worker may run in a rival's environment, where asyncwb is not installed: the server and
`filler` run with the interpreter of the harness, which it names in `ASYNCWB_BENCH_PYTHON`.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from bench.rivals.process import ServerProcess

_SEAL_SECONDS = 120.0
_FILL_SECONDS = 120.0


class AsyncwbServer:
    """One server with its data under `folder`; `module` is what Python runs with `-m`."""

    def __init__(self, folder: Path, module: str = "asyncwb") -> None:
        self.data = folder / "server"
        self._python = os.environ.get("ASYNCWB_BENCH_PYTHON", sys.executable)
        arguments = ["-m", module, "server", "--host", "127.0.0.1", "--port", "0"]
        self._process = ServerProcess(
            [self._python, *arguments, "--data", str(self.data)],
            self.data / "server.json",
            folder / "server.log",
        )

    def start(self) -> None:
        """Start it; its address and its admin's key are there then."""
        self.url: str = self._process.start()["url"]
        self.key = (self.data / "api_key").read_text().strip()

    def stop(self) -> None:
        """Stop it."""
        self._process.stop()

    def cpu_seconds(self) -> float:
        """Return the CPU that it has used so far, user and system."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def fill(self, rows: int, metrics: int, seed: int) -> str:
        """Log a run of `rows` rows and wait until it is sealed; return `entity/project/id`."""
        sizes = [str(number) for number in (rows, metrics, seed)]
        done = subprocess.run(
            [self._python, "-m", "bench.rivals.filler", self.url, self.key, *sizes],
            check=True,
            capture_output=True,
            text=True,
            timeout=_FILL_SECONDS,
        )
        self.wait_until_sealed()
        return done.stdout.split()[-1]

    def wait_until_sealed(self) -> None:
        """Wait until every row has left the live tail for the object store."""
        database = f"file:{self.data / 'asyncwb.db'}?mode=ro"
        deadline = time.monotonic() + _SEAL_SECONDS
        with closing(sqlite3.connect(database, uri=True)) as connection:
            while time.monotonic() < deadline:
                (rows,) = connection.execute("SELECT sum(rows) FROM frames").fetchone()
                if not rows:
                    return
                time.sleep(0.1)
        raise RuntimeError(f"the server left {rows} rows of the finished run unsealed")
