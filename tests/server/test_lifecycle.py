"""A server process: one a folder, announced once ready, and safe however it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from asyncwb.errors import UsageError
from asyncwb.server import AlreadyRunning
from asyncwb.server.http.state import STATE
from asyncwb.server.lifecycle import _stopping_when_idle
from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle, both_databases
from tests.server.ingest_client import Client, connect, event_frame, first_frame, rows

pytestmark = pytest.mark.anyio

SERVE = """
import sys
import tempfile
from pathlib import Path
from asyncwb.server import ServerConfig, serve
serve(
    ServerConfig(
        data=Path(sys.argv[1]),
        database=sys.argv[2] or None,
        embedded=sys.argv[3] == "embedded",
        idle_timeout=float(sys.argv[4]) if len(sys.argv) > 4 else None,
        objects=sys.argv[5] if len(sys.argv) > 5 else None,
    ),
    lambda url: print(url, flush=True),
)
"""

SIGNALLED_AT_ONCE = f"""
import os, signal
from asyncwb.server import app
migrate = app.migrate
async def signalled(database):
    os.kill(os.getpid(), signal.SIGTERM)
    await migrate(database)
app.migrate = signalled
{SERVE}
"""


class Process:
    """A server in a process of its own; `url` is None where it gave way."""

    def __init__(
        self, data: Path, database: str | None = None, *more: str, script: str = SERVE
    ) -> None:
        self.data = data
        arguments = [str(data), database or "", *(more or ("plain",))]
        self.child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> str | None:
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip() or None

    @property
    def api_key(self) -> str:
        return (self.data / "api_key").read_text().strip()

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal and wait; returns the exit status and what was said on stderr."""
        self.child.send_signal(number)
        _, said = self.child.communicate(timeout=30)
        return self.child.returncode, said


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start server processes; whatever still runs at the end is killed."""
    with ExitStack() as stack:

        def start(*arguments: str | None, data: Path | None = None) -> Process:
            database, *more = arguments or (None,)
            process = Process(data or tmp_path / "data", database, *(m for m in more if m))
            stack.enter_context(process.child)
            stack.callback(process.child.kill)
            return process

        yield start


async def send_until_refused(
    client: Client, acknowledged: list[int], enough: asyncio.Event
) -> None:
    """Send rows one frame after another, and note the number that each answer acknowledges."""
    try:
        acknowledged.append((await client.send(first_frame()))["next"])
        while True:
            seq = acknowledged[-1]
            acknowledged.append((await client.send(encode(seq, rows(seq - 1, 50))))["next"])
            if len(acknowledged) == 20:
                enough.set()
    except aiohttp.ClientError:
        return


class _Endpoint:
    """What `connect` needs of a server."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url, self.api_key = url, api_key


def endpoint(process: Process) -> ServerHandle:
    url = process.wait_until_ready()
    assert url is not None, process.child.communicate()
    return _Endpoint(url, process.api_key)  # type: ignore[return-value]


@both_databases
async def test_acknowledged_rows_survive_sigkill(
    spawn: Callable[..., Process], database_url: str | None
) -> None:
    process = spawn(database_url)
    acknowledged: list[int] = []
    enough = asyncio.Event()
    async with connect(endpoint(process)) as client, asyncio.TaskGroup() as tasks:
        sender = tasks.create_task(send_until_refused(client, acknowledged, enough))
        async with asyncio.timeout(30):
            await enough.wait()
        process.end(signal.SIGKILL)
        await sender
    assert (process.data / "server.json").exists()  # nobody was left to take it away
    async with connect(endpoint(spawn(database_url))) as client:
        info = await client.run()
        assert info["rows"] >= acknowledged[-1] - 1
        seq = info["rows"] + 1
        again = encode(seq - 40, rows(seq - 41, 50))  # the client does not know either
        assert (await client.send(again))["next"] == seq + 10
        assert (await client.run())["metrics"][0]["count"] == info["rows"] + 10


def test_a_signal_during_the_start_stops_a_server_that_is_whole(tmp_path: Path) -> None:
    process = Process(tmp_path / "data", script=SIGNALLED_AT_ONCE)
    said, log = process.child.communicate(timeout=30)
    assert process.child.returncode == 0, log
    assert said.startswith("http://")
    assert "Traceback" not in log
    names = {path.name for path in process.data.iterdir()}
    assert "asyncwb.db" in names
    assert not names & {"server.json", "asyncwb.db-wal", "asyncwb.db-shm"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_a_clean_stop(spawn: Callable[..., Process], number: signal.Signals) -> None:
    process = spawn()
    url = process.wait_until_ready()
    about = process.data / "server.json"
    assert stat.S_IMODE(about.stat().st_mode) == 0o600
    said = orjson.loads(about.read_bytes())
    assert (said["url"], said["pid"]) == (url, process.child.pid)
    assert {"version", "started_at", "entity"} <= said.keys()
    assert stat.S_IMODE((process.data / "secret").stat().st_mode) == 0o600
    status, log = process.end(number)
    assert status == 0, log
    assert "Traceback" not in log
    assert not about.exists()
    names = {path.name for path in process.data.iterdir()}
    assert "asyncwb.db" in names
    assert not names & {"asyncwb.db-wal", "asyncwb.db-shm"}  # the log is in the file


async def test_of_many_embedded_servers_one_stays(spawn: Callable[..., Process]) -> None:
    processes = [spawn(None, "embedded") for _ in range(4)]
    urls = await asyncio.gather(*(asyncio.to_thread(p.wait_until_ready) for p in processes))
    winners = [process for process, url in zip(processes, urls, strict=True) if url]
    assert len(winners) == 1
    for process in processes:
        if process not in winners:
            assert process.child.wait(timeout=30) == 0
    async with connect(_Endpoint(str(next(filter(None, urls))), winners[0].api_key)) as client:  # type: ignore[arg-type]
        assert (await client.get("viewer"))["admin"] is True


async def test_parallel_first_boots_on_one_database(
    spawn: Callable[..., Process], postgres_url: str, tmp_path: Path
) -> None:
    more = (postgres_url, "plain", "3600", str(tmp_path / "objects"))
    processes = [spawn(*more, data=tmp_path / str(i)) for i in range(3)]
    urls = await asyncio.gather(*(asyncio.to_thread(p.wait_until_ready) for p in processes))
    assert all(urls)
    keys = [p.api_key for p in processes if (p.data / "api_key").exists()]
    assert len(keys) == 1  # one made the account; the others let it in too
    for url in urls:
        async with connect(_Endpoint(str(url), keys[0])) as client:  # type: ignore[arg-type]
            assert (await client.get("viewer"))["admin"] is True


async def test_a_second_server_and_a_taken_port_are_refused(
    start_server: Callable[..., ServerHandle], tmp_path: Path
) -> None:
    start_server()
    with pytest.raises(AlreadyRunning, match="a server runs already on"):
        start_server()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="cannot listen on"),
    ):
        start_server(data=tmp_path / "other", port=taken.getsockname()[1])


async def test_an_idle_server_stops_but_not_under_a_run(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server(idle_timeout=0.2)
    async with connect(server) as client:
        await client.send(first_frame())
        stop = asyncio.Event()

        async def watch(_app: web.Application) -> bool:
            try:
                async with asyncio.timeout(1.0):
                    assert server._running is not None
                    async with _stopping_when_idle(server._running, stop.set):
                        await stop.wait()
            except TimeoutError:
                return False
            return True

        assert await asyncio.to_thread(server.call, watch) is False
        await client.send(event_frame(11, {"t": "finish", "exit_code": 0, "at": 1.0}))
        assert await asyncio.to_thread(server.call, watch) is True


async def test_requests_end_then_tasks_then_the_database(
    start_server: Callable[..., ServerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(crash_after=0.3)
    state, order = server.app[STATE], list[str]()
    turning, stopping, committing, may_commit, turn_may_end = (threading.Event() for _ in range(5))
    carry_out, close, close_hub = state.changes.carry_out, state.database.close, state.hub.close

    async def slowly(change: Any) -> Any:
        committing.set()
        await asyncio.to_thread(may_commit.wait, 30)
        done = await carry_out(change)
        order.append("request")
        return done

    async def running() -> int:
        turning.set()
        await asyncio.to_thread(turn_may_end.wait, 30)
        order.append("turn")
        return 0

    async def closing() -> None:
        order.append("database")
        await close()

    def closing_hub() -> None:
        stopping.set()
        close_hub()

    monkeypatch.setattr(state.changes, "carry_out", slowly)
    monkeypatch.setattr(state.runs, "running", running)
    monkeypatch.setattr(state.database, "close", closing)
    monkeypatch.setattr(state.hub, "close", closing_hub)
    assert await asyncio.to_thread(turning.wait, 30)
    async with connect(server) as client, asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(client.send(first_frame()))
        assert await asyncio.to_thread(committing.wait, 30)
        stop = tasks.create_task(asyncio.to_thread(server.stop))
        assert await asyncio.to_thread(stopping.wait, 30)
        may_commit.set()
        assert (await answer)["next"] == 11
        turn_may_end.set()
        await stop
    assert order == ["request", "turn", "database"]


async def test_ready_is_refused_while_stopping(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
        entity = (await client.get("viewer"))["entity"]
        live = await client.session.get(f"/api/v1/runs/{entity}/p/r1/live")
        await live.content.readline()

        async def close(app: web.Application) -> None:
            await app.shutdown()

        await asyncio.to_thread(server.call, close)
        async with client.session.get("/ready") as answer:
            assert answer.status == 503
        assert await live.content.read() is not None
        live.close()


async def test_a_start_that_fails_leaves_nothing_announced(
    start_server: Callable[..., ServerHandle], tmp_path: Path
) -> None:
    data = tmp_path / "server"
    data.mkdir()
    (data / "asyncwb.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Exception, match="not a database"):
        start_server()
    assert not (data / "server.json").exists()


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Give a folder that every user of the machine can reach and read."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


def test_nobody_else_reads_the_data_folder(spawn: Callable[..., Process], open_place: Path) -> None:
    process = spawn(data=open_place)
    assert process.wait_until_ready()
    assert stat.S_IMODE(open_place.stat().st_mode) == 0o700
    process.end(signal.SIGTERM)
    assert not [path for path in open_place.rglob("*") if path.stat().st_mode & 0o077]


def test_a_folder_of_other_things_is_no_data_folder(
    spawn: Callable[..., Process], open_place: Path
) -> None:
    (open_place / "letter").touch()
    _, said = spawn(data=open_place).child.communicate(timeout=30)
    assert f"chmod 700 {open_place}" in said
    assert [path.name for path in open_place.iterdir()] == ["letter"]
