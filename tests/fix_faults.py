"""What breaks things: processes to be killed, a network that fails, disks that are small.

Also the count of what was broken: every test adds to `tally`, and a line at the end of the test
run says how many kills, cuts and rows there were.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.faults.trainee import Counters, Plan

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = int(os.environ.get("ASYNCWB_TEST_ROUNDS", "1"))
KEY = "k" * 40
_TALLY = "tally:"


def seeds(count: int) -> pytest.MarkDecorator:
    """Run a test with so many seeds, times `ASYNCWB_TEST_ROUNDS`."""
    return pytest.mark.parametrize("seed", range(count * ROUNDS))


Tally: TypeAlias = Callable[..., None]


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Count what a test broke and what it read back: `tally(kills=1, rows=500)`."""

    def add(**counts: int) -> None:
        request.node.user_properties += [(_TALLY + name, n) for name, n in counts.items()]

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was broken, over all tests (and all workers)."""
    total: Counter[str] = Counter()
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, count in report.user_properties:
            if name.startswith(_TALLY):
                total[name.removeprefix(_TALLY)] += count
    if total:
        shown = ", ".join(f"{count:,} {name}" for name, count in sorted(total.items()))
        terminalreporter.write_line(f"faults: {shown.replace('_', ' ')}")


def wait_for(
    condition: Callable[[], Any], seconds: float = 60.0, what: str = "", every: float = 0.0005
) -> Any:
    """Return what `condition()` gives once that is true; fails at the deadline.

    `every`: seconds between two looks; what costs more than a look at memory is asked less often.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what or condition}"
        time.sleep(every)
    return value


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send to, or to read from."""

    url: str
    key: str = KEY


class ServerProcess:
    """`python -m asyncwb server`, which can be killed and started again on the same port."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.log = data.parent / f"{data.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> Target:
        """Where it listens, or will listen again."""
        return Target(f"http://127.0.0.1:{self.port}")

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait` return once it answers."""
        command = [sys.executable, "-m", "asyncwb", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--data", str(self.data)]
        env = {**_environment(), "ASYNCWB_API_KEY": KEY}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=ROOT)
        if wait:
            wait_for(self._answers, what="the server to answer", every=0.02)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            with _direct.open(f"{self.target.url}/ready", timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL; returns once it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)

    def stop(self) -> None:
        """End it however it is; nothing where it is gone."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


_direct = build_opener(ProxyHandler({}))


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own, started."""
    server = ServerProcess(tmp_path / "server")
    server.start()
    yield server
    server.stop()


@dataclass
class Trainee:
    """A training process in a group of its own, and how many of its `log()` calls returned."""

    plan: Plan
    process: subprocess.Popen[bytes]
    counters: Counters
    errors: Path

    def returned(self, slot: int = 0) -> int:
        """How many `log()` calls have returned."""
        return self.counters[slot]

    def wait_rows(self, count: int, slot: int = 0) -> None:
        """Wait until so many rows were logged, or the process has ended."""
        wait_for(
            lambda: self.returned(slot) >= count or self.process.poll() is not None,
            what=f"{count} rows; {self.stderr()}",
        )

    def kill(self) -> None:
        """SIGKILL the whole process group; returns once the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def heard(self) -> dict[str, Any]:
        """Wait for the next thing that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it said nothing more: {self.stderr()}"
        said: dict[str, Any] = json.loads(line)
        return said

    def end(self, seconds: float = 60.0) -> None:
        """Wait until it has ended by itself."""
        assert self.process.wait(seconds) == 0, self.stderr()

    def stderr(self) -> str:
        """What it has said on stderr so far."""
        return self.errors.read_text()

    def close(self) -> None:
        """Leave nothing of it running."""
        self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _environment(**settings: object) -> dict[str, str]:
    """The environment of a process under test: none of the caller's settings, and ours."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("ASYNCWB_", "WANDB_"))}
    return {**mine, **{f"ASYNCWB_{name.upper()}": str(value) for name, value in settings.items()}}


class Lab:
    """Starts trainees and syncs, all with one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._trainees: list[Trainee] = []

    def environment(self, target: Target, **settings: object) -> dict[str, str]:
        """The environment that points at a server and at the data folder."""
        given = {
            "base_url": target.url,
            "api_key": target.key,
            "data_dir": self.data,
            "config_dir": self.folder / "config",
            "detach_uploader": "false",
            "flush_interval": 0.02,
            **settings,
        }
        return _environment(**given)

    def train(self, target: Target, run: str, *, settings: Any = None, **plan: Any) -> Trainee:
        """Start a trainee; `plan` as in `Plan`, `settings` as in asyncwb's Settings."""
        number = len(self._trainees)
        counter = plan.pop("counter", self.folder / f"counter{number}")
        made = Plan(counter=str(counter), run=run, **plan)
        counters = Counters(Path(counter))
        errors = self.folder / f"stderr{number}"
        with errors.open("wb") as file:
            process = subprocess.Popen(
                made.command(),
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=ROOT,
                env=self.environment(target, **(settings or {})),
                start_new_session=True,
            )
        self._trainees.append(Trainee(made, process, counters, errors))
        return self._trainees[-1]

    def sync(
        self, target: Target, *folders: Path, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """Run `asyncwb sync`, wait for its end."""
        return subprocess.run(
            [sys.executable, "-m", "asyncwb", "sync", *map(str, folders)],
            env={**self.environment(target, **settings), "COLUMNS": "500"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sync_all(self, target: Target, **settings: object) -> None:
        """Run `asyncwb sync`, which must succeed."""
        done = self.sync(target, **settings)
        assert done.returncode == 0, done.stdout + done.stderr

    def run_folders(self) -> list[Path]:
        """The folders of runs, oldest first."""
        return sorted((self.data / "runs").iterdir())

    def close(self) -> None:
        """End every trainee."""
        for trainee in self._trainees:
            trainee.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Trainees and syncs with a data folder of their own."""
    made = Lab(tmp_path)
    yield made
    made.close()


# The network.


class Network:
    """An event loop in a thread, for what stands between client and server."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._held: set[object] = set()

    def listen(self, handler: Handler) -> Target:
        """Listen on a free port."""

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # A stream's task is the loop's by weak reference only: once the client has hung up,
            # one that still waits for its upstream could be collected.
            task = asyncio.current_task()
            self._held.add(task)
            try:
                await handler(reader, writer)
            finally:
                self._held.discard(task)

        async def start() -> int:
            server = await asyncio.start_server(hold, "127.0.0.1", 0, limit=2**26)
            self._servers.append(server)
            port: int = server.sockets[0].getsockname()[1]
            return port

        port = asyncio.run_coroutine_threadsafe(start(), self.loop).result(60)
        return Target(f"http://127.0.0.1:{port}")

    def close(self) -> None:
        """Cut everything and end the thread."""

        async def stop() -> None:
            for server in self._servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()


Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def network() -> Iterator[Network]:
    """Where proxies live."""
    made = Network()
    yield made
    made.close()


@dataclass(frozen=True, slots=True)
class Line:
    """How one connection behaves.

    `cut_after`: bytes from client to server after which both ends are reset; `delay`: seconds
    that every piece waits on its way, in either direction; `dead`: it is accepted, what is sent
    is read, and nothing ever comes back (half open).
    """

    cut_after: int | None = None
    delay: float = 0.0
    dead: bool = False


@dataclass
class TcpProxy:
    """Passes bytes on, connection by connection as `plan(number)` says; knows nothing of HTTP."""

    upstream: Target
    plan: Callable[[int], Line]
    connections: int = 0
    cuts: int = 0
    _open: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = self.plan(self.connections)
        self.connections += 1
        writers = [writer]
        try:
            if line.dead:
                while await reader.read(2**16):
                    pass
                return
            port = int(self.upstream.url.rpartition(":")[2])
            back, forth = await asyncio.open_connection("127.0.0.1", port)
            writers.append(forth)
            up = asyncio.ensure_future(self._pump(reader, forth, line.delay, line.cut_after))
            down = asyncio.ensure_future(self._pump(back, writer, line.delay, None))
            _, rest = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            return  # the server is away: the client sees a connection that ends
        finally:
            for each in writers:
                each.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        delay: float,
        left: int | None,
    ) -> None:
        while data := await reader.read(2**14):
            if delay:
                await asyncio.sleep(delay)
            if left is not None:
                data, left = data[:left], left - len(data)
            writer.write(data)
            await writer.drain()
            if left is not None and left <= 0:
                self.cuts += 1
                return


@dataclass(frozen=True, slots=True)
class Answer:
    """What the front says instead of the server."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


DROP = "drop"
"""pass the request on, and the answer not."""
PASS = "pass"


@dataclass
class HttpFront:
    """Takes one request a connection; `plan(number)` says what becomes of each POST, of which no
    body may have more than `most` bytes."""

    upstream: Target
    plan: Callable[[int], str | Answer] = lambda _: PASS
    most: int = 2**30
    requests: int = 0
    dropped: int = 0
    refused: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            what: str | Answer = PASS
            if head.startswith(b"POST"):
                what = self.plan(self.requests) if len(body) <= self.most else Answer(413)
                self.requests += 1
            if isinstance(what, Answer):
                self.refused += 1
                writer.write(_answer(what))
            else:
                answer = await self._ask(head, body)
                if what == PASS:
                    writer.write(answer)
                else:
                    self.dropped += 1
            await writer.drain()
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:  # also where the test ends while an answer is held back
            if not writer.is_closing():
                writer.transport.abort()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        port = int(self.upstream.url.rpartition(":")[2])
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        try:
            start, _, rest = head.partition(b"\r\n")
            forth.write(start + b"\r\nConnection: close\r\n" + rest + body)
            await forth.drain()
            return await back.read(-1)
        finally:
            forth.transport.abort()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _answer(what: Answer) -> bytes:
    body = b'{"error":{"code":"busy","message":"come back later"}}'
    headers = [("Content-Length", str(len(body))), ("Connection", "close"), *what.headers]
    lines = [f"HTTP/1.1 {what.status} Busy", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# Disks.


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of a few megabytes."""

    path: Path

    def resize(self, megabytes: int) -> None:
        """Make it larger or smaller."""
        _mount("-o", f"remount,size={megabytes}m", str(self.path))

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, timeout=10)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Make file systems of so many megabytes; skips the test where mounting is not allowed."""
    made: list[SmallDisk] = []

    def make(megabytes: int) -> SmallDisk:
        path = tmp_path / f"disk{len(made)}"
        path.mkdir()
        try:
            _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a tmpfs cannot be mounted here (it takes root)")
        made.append(SmallDisk(path))
        return made[-1]

    yield make
    for disk in made:
        disk.unmount()
