"""asyncwb as a user has it: a run against a server of its own process, over HTTP with a key."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

import asyncwb
from asyncwb.wire.rows import frames
from bench.rivals.base import (
    PROJECT,
    AsyncLog,
    Browsed,
    BrowsedFigures,
    Charts,
    Crowd,
    CrowdFigures,
    Log,
    Rival,
    Startup,
)
from bench.rivals.crowd_member import SENT
from bench.rivals.server import AsyncwbServer


class AsyncwbRival(Rival, Charts, Crowd, Browsed):
    """The client in this process, the server in another, every setting at its default."""

    package = "asyncwb"

    def prepare(self) -> None:
        """Start the server and keep the client's journal under the folder, too."""
        os.environ["ASYNCWB_DATA_DIR"] = str(self.folder / "client")
        self._server = AsyncwbServer(self.folder)
        self._server.start()
        self._url, self._key = self._server.url, self._server.key
        self._http = HTTPConnection(urlsplit(self._url).netloc, timeout=60)
        self._paths: list[str] = []

    def close(self) -> None:
        """Stop the server."""
        self._http.close()
        self._server.stop()

    def open(self) -> Log:
        """Begin a run and wait until the server knows it.

        `init` leaves that to the engine's thread. Others do it before their `init` returns, which
        is not timed either: the start is the case `startup`'s to measure.
        """
        self._run = asyncwb.init(project=PROJECT, settings=self._settings())
        self._remember(self._run)
        self._run.flush()
        return self._run.log

    def finish(self) -> None:
        """End the run: every row is acknowledged, or this raises."""
        self._run.finish()
        require_delivered(self._run)

    async def open_runs(self, count: int) -> list[AsyncLog]:
        """Begin `count` async runs and wait, as `open` does, until the server knows them."""
        self._runs = [
            await asyncwb.init_async(project=PROJECT, settings=self._settings())
            for _ in range(count)
        ]
        for run in self._runs:
            self._remember(run)
        await asyncio.gather(*(run.flush() for run in self._runs))
        return [run.log for run in self._runs]

    async def finish_runs(self) -> None:
        """End them all: every row is acknowledged, or this raises."""
        await asyncio.gather(*(run.finish() for run in self._runs))
        for run in self._runs:
            require_delivered(run)

    def stored(self) -> int:
        """Ask the server how many rows each run of this process has."""
        return sum(int(self._get(f"/api/v1/runs/{path}")["rows"]) for path in self._paths)

    def startup(self) -> Startup:
        """The two lines of the README, against a server that is running."""
        settings = f"asyncwb.Settings(base_url={self._url!r}, api_key={self._key!r})"
        return Startup(
            "import asyncwb",
            f"run = asyncwb.init(project='bench', settings={settings})",
            "run.finish()",
        )

    def crowd(
        self, processes: int, runs: int, rate: float, seconds: float, metrics: int
    ) -> CrowdFigures:
        """Start the processes, watch one run of the first, and wait until all have ended."""
        command = [sys.executable, "-m", "bench.rivals.crowd_member", self._url, self._key]
        command += [str(number) for number in (runs, rate, seconds, metrics)]
        members = [
            _start([*command, str(self.folder / f"member{number}")]) for number in range(processes)
        ]
        ready = [member.stdout.readline() for member in members if member.stdout is not None]
        before = self._server.cpu_seconds()
        _let_go(members)
        delays = self._watch(ready[0].strip(), rate, seconds)
        printed = _ends(members)
        used = self._server.cpu_seconds() - before
        found = [json.loads(each) for each in printed]
        rows = sum(each["rows"] for each in found)
        stored = self._count_rows()
        if stored != rows:
            raise RuntimeError(f"{rows} rows were logged, {stored} are in the store")
        cpu = sum(each["cpu_s"] for each in found)
        return CrowdFigures(rows, used, cpu, delays, max(each["wall_s"] for each in found))

    def browsed(
        self, pages: int, charts: int, every: float, seconds: float, metrics: int
    ) -> BrowsedFigures:
        """Start a process for each role, let them go at once, and wait until all have ended."""
        roles = [["writer", seconds, metrics], ["prober", seconds]]
        if pages:
            roles.append(["pages", seconds, pages, charts, every, *self._paths])
        command = [sys.executable, "-m", "bench.rivals.browsers_member"]
        folder = tempfile.mkdtemp(dir=self.folder)
        members = [
            _start([*command, str(role), self._url, self._key, folder, *map(str, sizes)])
            for role, *sizes in roles
        ]
        for member in members:
            assert member.stdout is not None
            member.stdout.readline()
        _let_go(members)
        found = [json.loads(each) for each in _ends(members)]
        writer, prober, *browsers = found
        return BrowsedFigures(
            writer["rows"] / writer["seconds"],
            prober["seconds"],
            sum(each["charts"] for each in browsers),
            [taken for each in browsers for taken in each["seconds"]],
        )

    def _watch(self, run: str, rate: float, seconds: float) -> list[float]:
        """Return how long after it was logged each row of a run was told to a page."""
        project, name = run.split("/")
        entity = self._get("/api/v1/viewer")["entity"]
        delays: list[float] = []
        known, until = -1, time.monotonic() + seconds
        http = HTTPConnection(urlsplit(self._url).netloc, timeout=60)
        http.request(
            "GET",
            f"/api/v1/runs/{entity}/{project}/{name}/live",
            headers={"Authorization": f"Bearer {self._key}"},
        )
        answer = http.getresponse()
        sent = 0.0
        while time.monotonic() < until:
            line = answer.readline()
            if not line.startswith(b"data: "):
                continue
            now, event = time.time(), json.loads(line[6:])
            sent = event["summary"].get(SENT, sent)
            step = event["last_step"]
            if step is not None and step > known:
                delays += [now - sent + (step - each) / rate for each in range(known + 1, step + 1)]
                known = step
        http.close()
        return delays

    def _count_rows(self) -> int:
        path = self._server.data / "asyncwb.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT sum(rows) FROM runs").fetchone()[0])

    def fill(self, rows: int, metrics: int, seed: int) -> None:
        """Log the run in a process of its own: this one is a reader's."""
        self._paths = [self._server.fill(rows, metrics, seed)]
        api = asyncwb.Api({"base_url": self._url}, api_key=self._key, timeout=60)
        self._reader = api.run(self._paths[0])

    def scan_history(self) -> int:
        """Iterate over `scan_history()`."""
        return sum(1 for _ in self._reader.scan_history())

    def sample_history(self, samples: int) -> int:
        """Ask for `history(samples=...)` as dicts."""
        return len(self._reader.history(samples=samples, pandas=False))

    def sample_at_server(self, samples: int) -> float:
        """Ask for the sample as the client does, and read the server's own account of its time."""
        query = urlencode({"samples": samples, "format": "frames"})
        _, headers = self._ask(f"/api/v1/runs/{self._paths[0]}/history?{query}")
        return seconds_at_server(headers)

    def series(self, key: str, buckets: int) -> tuple[int, float]:
        """Fetch the page's request for one chart, with the server's own account of its time."""
        query = urlencode({"key": key, "buckets": buckets})
        body, headers = self._ask(f"/api/v1/runs/{self._paths[0]}/series?{query}")
        (series,) = json.loads(body)["series"]
        return len(series["x"]), seconds_at_server(headers)

    def series_from_rows(self, key: str, buckets: int) -> int:
        """Read the metric's column of every sealed file and reduce it with the server's code."""
        # Not at the top: pyarrow would be in the memory and the start of every other measurement.
        from asyncwb.server.history import segment as sealed
        from asyncwb.server.history import series

        steps, values = [], []
        for path in self._segments():
            segment = sealed.Segment(path.open("rb"), str(path), path.stat().st_size, None)
            columns = segment.read(range(len(segment.groups)), (key,), ("_step",))
            segment.close()
            steps.append(columns["_step", "i"].values)
            values.append(columns[key, "f"].values)
        order = np.argsort([part[0] for part in steps])
        x = np.concatenate([steps[i] for i in order]).astype(np.float64)
        return len(series.bucketise(x, np.concatenate([values[i] for i in order]), buckets))

    def _segments(self) -> list[Path]:
        """Find the sealed files of today; those that were merged stay for an hour."""
        data = self._server.data
        with closing(sqlite3.connect(f"file:{data / 'asyncwb.db'}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT path FROM segments").fetchall()
        return [data / "objects" / path for (path,) in found]

    def scan(self, keys: list[str]) -> int:
        """Fetch all rows as frames and decode them to columns."""
        query = urlencode([*(("key", key) for key in keys), ("format", "frames")])
        body = memoryview(self._read(f"/api/v1/runs/{self._paths[0]}/history?{query}"))
        offset, rows = 0, 0
        while offset < len(body):
            size = int.from_bytes(body[offset : offset + 4], "little")
            rows += frames.decode(body[offset + 4 : offset + 4 + size]).table.n
            offset += 4 + size
        return rows

    def _settings(self) -> asyncwb.Settings:
        return asyncwb.Settings(base_url=self._url, api_key=self._key, silent=True)

    def _remember(self, run: asyncwb.Run | asyncwb.AsyncRun) -> None:
        entity = self._get("/api/v1/viewer")["entity"]
        self._paths.append(f"{entity}/{PROJECT}/{run.id}")

    def _get(self, target: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._read(target))
        return answer

    def _read(self, target: str) -> bytes:
        return self._ask(target)[0]

    def _ask(self, target: str) -> tuple[bytes, HTTPMessage]:
        self._http.request("GET", target, headers={"Authorization": f"Bearer {self._key}"})
        answer = self._http.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"GET {target}: {answer.status} {body[:500]!r}")
        return body, answer.headers


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _let_go(members: Sequence[subprocess.Popen[str]]) -> None:
    for member in members:
        assert member.stdin is not None
        member.stdin.write("\n")
        member.stdin.flush()


def _ends(members: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Return what processes print when they have ended; RuntimeError where one failed."""
    printed = [member.communicate(timeout=120)[0] for member in members]
    if any(member.returncode for member in members):
        raise RuntimeError("a process that logs, or reads, failed")
    return printed


def seconds_at_server(headers: HTTPMessage) -> float:
    """Return what `Server-Timing` says."""
    _, _, milliseconds = headers["Server-Timing"].partition("dur=")
    return float(milliseconds) / 1e3


def require_delivered(run: asyncwb.Run | asyncwb.AsyncRun) -> None:
    """Raise RuntimeError unless every row that was accepted was acknowledged and none dropped."""
    status = run.status()
    if status.lost or status.acknowledged != status.accepted:
        raise RuntimeError(f"not everything arrived: {status}")
