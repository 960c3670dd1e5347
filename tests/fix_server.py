"""A real server on a real socket, in a thread of the test process, with its own data folder.

`server` runs on SQLite. A test (or module) marked `both_databases` runs twice, the second time
on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import io
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from aiohttp import web
from sqlalchemy import event

from asyncwb.private import make_private_folder
from asyncwb.server import RunningServer, ServerConfig, run_server
from asyncwb.server.http.state import STATE
from asyncwb.server.objects import garbage_collection
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.store.database import Database
from asyncwb.server.store.migrate import migrate

T = TypeVar("T")

_STATEMENT = "before_cursor_execute"
both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@dataclass
class FakeTime:
    """Unix seconds that pass when the test says so."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ServerHandle:
    """A server under test. `clock` None is the real one."""

    config: ServerConfig
    clock: Callable[[], float] | None = None
    _running: RunningServer | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _thread: threading.Thread | None = None
    _started: Future[None] = field(default_factory=Future)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        assert self._running is not None
        return self._running.url

    @property
    def app(self) -> web.Application:
        """The application; touch it through `call` only."""
        assert self._running is not None
        return self._running.app

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.config.data

    @property
    def api_key(self) -> str:
        """The first admin's key, as the server wrote it down."""
        return (self.data / "api_key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that let a request in."""
        return {"Authorization": f"Bearer {self.api_key}"}

    def start(self) -> None:
        """Start the server; raises what its start raises."""
        self._started = Future()
        self._thread = threading.Thread(target=self._run, name="server under test", daemon=True)
        self._thread.start()
        self._started.result(timeout=30)

    def stop(self) -> None:
        """Stop the server as SIGTERM would; nothing where it is stopped."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=90)  # a run of 100,000 metrics may be sealed just now
        assert not self._thread.is_alive(), f"the server does not stop:\n{self._doing()}"
        self._thread = self._loop = self._stop = None

    def _doing(self) -> str:
        """Say what a server that does not stop is at: its thread, and the tasks of its loop."""
        assert self._thread is not None
        told = io.StringIO()
        frame = sys._current_frames().get(self._thread.ident or 0)
        traceback.print_stack(frame, file=told)
        for task in asyncio.all_tasks(self._loop) if self._loop else ():
            task.print_stack(file=told)
        return told.getvalue()

    def call(self, function: Callable[[web.Application], Awaitable[T]]) -> T:
        """Run a coroutine function on the server's loop, with its application."""
        assert self._loop is not None

        async def run() -> T:
            return await function(self.app)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=30)

    def collect(self) -> int:
        """Delete the objects that nothing names any more, as if their grace were over."""

        async def work(app: web.Application) -> int:
            return await garbage_collection.collect_dropped(
                app[OBJECTS], app[STATE].database, app[STATE].clock() + 1
            )

        return self.call(work)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the SQL statements that requests cause; background tasks have their own names."""
        seen: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            task = asyncio.current_task()
            by_request = task is not None and task.get_name().startswith("Task-")
            if by_request and not statement.startswith("BEGIN"):
                seen.append(statement)

        async def switch(app: web.Application) -> None:
            engine = app[STATE].database.engine.sync_engine
            change = event.remove if event.contains(engine, _STATEMENT, note) else event.listen
            change(engine, _STATEMENT, note)

        self.call(switch)
        try:
            yield seen
        finally:
            self.call(switch)

    @contextmanager
    def lost_commits(self) -> Iterator[None]:
        """Let the answers of commits be lost that requests cause: they are done and raise."""

        async def switch(app: web.Application) -> None:
            dialect: Any = app[STATE].database.engine.sync_engine.dialect
            if "do_commit" in vars(dialect):
                del dialect.do_commit
            else:
                dialect.do_commit = partial(_commit_and_fail, dialect.do_commit)

        self.call(switch)
        try:
            yield
        finally:
            self.call(switch)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        options: dict[str, Any] = {} if self.clock is None else {"clock": self.clock}
        async with AsyncExitStack() as stack:
            try:
                self._running = await stack.enter_async_context(run_server(self.config, **options))
            except BaseException as error:
                self._started.set_exception(error)
                return
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._started.set_result(None)
            await self._stop.wait()


def _commit_and_fail(commit: Callable[[Any], None], connection: Any) -> None:
    commit(connection)
    task = asyncio.current_task()
    if task is not None and task.get_name().startswith("Task-"):  # others have names of their own
        raise ConnectionResetError("the answer to COMMIT was lost")


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The database under test: None is SQLite in the data folder."""
    if getattr(request, "param", "sqlite") == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return None


@pytest.fixture
def start_server(tmp_path: Path, database_url: str | None) -> Iterator[Callable[..., ServerHandle]]:
    """Start servers with other settings than the default; all are stopped at the end."""
    handles: list[ServerHandle] = []

    def start(*, clock: Callable[[], float] | None = None, **settings: Any) -> ServerHandle:
        settings.setdefault("data", tmp_path / "server")
        settings.setdefault("database", database_url)
        handle = ServerHandle(ServerConfig(**settings), clock)
        handle.start()
        handles.append(handle)
        return handle

    yield start
    for handle in handles:
        handle.stop()


@pytest.fixture(scope="session")
def empty_database() -> bytes:
    """The file of a SQLite database that has its tables and no rows, as a first start makes it."""

    async def make(folder: Path) -> bytes:
        database = Database(ServerConfig(data=folder).database_url)
        await migrate(database)
        await database.close()
        assert database.file is not None
        return database.file.read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(make(Path(folder)))


@pytest.fixture
def server(
    start_server: Callable[..., ServerHandle],
    database_url: str | None,
    empty_database: bytes,
    tmp_path: Path,
) -> ServerHandle:
    """A running server with default settings.

    On SQLite it finds its tables: to make them is two thirds of a first start, and `start_server`
    sees to that.
    """
    if database_url is None:
        put_database(tmp_path / "server", empty_database)
    return start_server()


def put_database(data: Path, content: bytes) -> None:
    """Make a server's data folder that has a database in it."""
    make_private_folder(data)
    file = data / "asyncwb.db"
    file.touch(0o600)
    file.write_bytes(content)
