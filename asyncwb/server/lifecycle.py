"""The life of a server process: one a data folder, announced once ready, gone without a trace.

    lock the folder -> listen -> open the database, run migrations -> /ready -> server.json
    SIGTERM, SIGINT or long idle -> server.json removed, /ready 503 -> requests in progress
    finish -> tasks end -> checkpoint -> lock released

The lock is the operating system's: it goes with the process, however that dies. `server.json`
may be left behind by SIGKILL; who reads it asks `/ready` before believing it.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import anyio
import orjson
from aiohttp import web
from anyio import to_thread

from asyncwb.errors import UsageError
from asyncwb.printable import printable
from asyncwb.private import close_to_others, make_private_folder, write_private
from asyncwb.server.app import READY, SECRET, create_app
from asyncwb.server.backups.stores import LOCK
from asyncwb.server.config import ServerConfig
from asyncwb.server.http.auth import ensure_secret
from asyncwb.server.http.connection import allow_many, connections
from asyncwb.server.http.errors import log
from asyncwb.server.http.state import STATE
from asyncwb.server.process import reserve
from asyncwb.server.process.activity import ACTIVITY
from asyncwb.server.process.background import TASKS, shielded
from asyncwb.server.process.threads import OTHERS
from asyncwb.server.store.database import DatabaseError
from asyncwb.version import __version__
from asyncwb.wire.proof import SECRET_FILE

_SHUTDOWN_SECONDS: Final = 15.0
_BACKLOG: Final = 512
_LOCK_TRIES: Final = 5
_LOCK_PAUSE: Final = 0.02
"""seconds between them: a client that asks for the lock holds it for some microseconds"""
# Objects between two collections: with the usual 700 they take five sixths of the time in which
# JSON of 100,000 metrics is decoded; with very many one of them stops the loop for 0.1 s.
_GARBAGE: Final = (20_000, 5, 200)
_SWITCH_INTERVAL: Final = 0.001
"""seconds after which a thread that computes gives way to the event loop; CPython's 5 ms add up
where several draw charts"""
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class AlreadyRunning(UsageError):  # noqa: N818 - a state of the folder, not a fault of the caller
    """Another server process holds the data folder."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers: its address, settings and application."""

    url: str
    config: ServerConfig
    app: web.Application


def serve(config: ServerConfig, announce: Callable[[str], None] | None = None) -> None:
    """Run a server in this process until SIGTERM, SIGINT or its idle timeout; blocks.

    Args:
        config: what the server is told.
        announce: called once with the server's URL when it answers.

    Raises:
        AlreadyRunning: another process serves this data folder (an embedded server just returns,
            since whoever started it can use the other one).
        UsageError: the address is taken, or not one of this machine's.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    allow_many()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    os.umask(0o077)  # for files outside the data folder too: a database or objects elsewhere
    try:
        anyio.run(_serve, config, announce, backend_options={"use_uvloop": True})
    except AlreadyRunning:
        if not config.embedded:
            raise
        log.info("another server has %s; this one is not needed", config.data)


async def _serve(config: ServerConfig, announce: Callable[[str], None] | None) -> None:
    # From the first moment to the last: a signal during the start stops a server that is whole, and
    # a second one changes nothing.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with run_server(config) as server:
            tune_garbage_collection()
            log.info("ready at %s, data in %s", server.url, config.data)
            if announce is not None:
                announce(server.url)
            with anyio.CancelScope() as serving:
                async with _stopping_when_idle(server, serving.cancel):
                    await anext(signals)
            log.info("stopping")
        log.info("stopped")


class _Plain(logging.Formatter):
    """Writes paths and names of requests so that a terminal only shows them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return printable(super().formatException(ei), lines=True)


def tune_garbage_collection() -> None:
    """Let the collector of cycles stop this process's loop less often, and for less long.

    What is there now stays: to look through it for garbage took 0.1 s each time. And a page of
    1,000 runs under way is 200,000 objects more, so a full look is taken more rarely.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


@asynccontextmanager
async def run_server(
    config: ServerConfig, *, clock: Callable[[], float] | None = None
) -> AsyncIterator[RunningServer]:
    """Run a server on the current loop for the length of the block.

    Raises:
        AlreadyRunning, UsageError: as `serve`.
    """
    to_thread.current_default_thread_limiter().total_tokens = OTHERS
    start = _Start(config.data)
    _make_folder(config.data)
    with _folder_lock(config.data / LOCK, start), _listen(config) as listener:
        reserve.give_back(config.data)
        app = create_app(config, clock=clock)
        app[SECRET] = ensure_secret(config.data)
        runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS, handle_signals=False)
        url = _url(config, listener)
        about = config.data / "server.json"
        accepting: asyncio.Server | None = None
        try:
            about.unlink(missing_ok=True)  # of one that was killed
            with _in_words(config.data):
                await runner.setup()
            assert runner.server is not None
            accepting = await asyncio.get_running_loop().create_server(
                connections(runner.server, config.patience), sock=listener, backlog=_BACKLOG
            )
            app[READY].set()
            await _announce(about, url, app)
            reserve.keep(config.data)
            start.refused = False
            yield RunningServer(url, config, app)
        finally:
            app[READY].clear()
            about.unlink(missing_ok=True)
            if accepting is not None:
                accepting.close()
            await runner.cleanup()
            reserve.keep(config.data)  # what closing the database has freed


@contextmanager
def _in_words(data: Path) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, OSError, UsageError) as error:
        if not reserve.is_full(error):
            raise
        raise UsageError(
            f"the disk of {data} is full: the server cannot be started. What is in the folder is "
            "untouched, and can be read again once there is some room; free a few megabytes and "
            "start it once more."
        ) from error


class _Start:
    """A start, which leaves a folder that is no data folder yet as it was where it is refused.

    Once there is a store (a database, objects, a key) it is one, and the next start goes on.
    Mutable state: `refused`, until the server answers.
    """

    def __init__(self, folder: Path) -> None:
        self.refused = True
        self._folder = folder
        self._missing = [path for path in (folder, *folder.parents) if not path.exists()]
        self._had = {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def end(self) -> None:
        """Take back what was made where the start was refused; the lock is held."""
        if not self.refused or LOCK in self._had:
            return
        made = [path for path in self._folder.iterdir() if path.name not in self._had]
        empty = [path for path in made if path.is_dir() and not any(path.iterdir())]
        files = [path for path in made if path not in empty]
        if {path.name for path in files} <= {LOCK, reserve.NAME, SECRET_FILE}:
            with suppress(OSError):  # what cannot be taken back does no harm
                for path in files:
                    path.unlink(missing_ok=True)
                for path in (*empty, *self._missing):
                    path.rmdir()


def _make_folder(path: Path) -> None:
    try:
        make_private_folder(path)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("it may not be written")
        close_to_others(path, LOCK)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be the server's data folder: {error.strerror or error}. Nothing was "
            "started; give another one with --data, or set ASYNCWB_DATA_DIR to a place with room "
            "that can be written."
        ) from error


@contextmanager
def _folder_lock(path: Path, start: _Start) -> Iterator[None]:
    with _in_words(path.parent), _locked(path):
        try:
            yield
        finally:
            start.end()


def _locked(path: Path) -> IO[str]:
    """Return the lock's file, which holds it until it is closed."""
    for left in reversed(range(_LOCK_TRIES)):
        make_private_folder(path.parent)  # another start that was refused may have taken it back
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()
        except BlockingIOError as error:
            file.close()
            if not left:
                raise _already_running(path.parent) from error
            time.sleep(_LOCK_PAUSE)
        except OSError:
            file.close()
            raise
    raise _already_running(path.parent)


def _already_running(data: Path) -> AlreadyRunning:
    return AlreadyRunning(
        f"a server runs already on {data}. Its data is untouched; use that one (its address is in "
        f"{data / 'server.json'}), stop it, or give another --data."
    )


@contextmanager
def _listen(config: ServerConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {config.host}:{config.port}: {error.strerror or error}. "
                "Nothing was started; choose another --host or --port."
            ) from error
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        yield listener


def _url(config: ServerConfig, listener: socket.socket) -> str:
    host = _ANY_HOST.get(config.host, config.host)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


async def _announce(path: Path, url: str, app: web.Application) -> None:
    state = app[STATE]
    admin = await state.users.first()
    about = {
        "url": url,
        "pid": os.getpid(),
        "version": __version__,
        "started_at": state.clock(),
        "entity": admin.name if admin else None,
    }
    try:
        write_private(path, orjson.dumps(about))
    except OSError as error:
        log.error(
            "%s cannot be written: %s. The server works and shows what it has, at %s; it takes no "
            "rows where the disk is full, and clients that look for it in this folder do not find "
            "it. Make room, and start it again.",
            path,
            error.strerror or error,
            url,
        )


@asynccontextmanager
async def _stopping_when_idle(
    server: RunningServer, stop: Callable[[], None]
) -> AsyncIterator[None]:
    timeout = server.config.idle_timeout
    if timeout is None:
        yield
        return
    activity, runs = server.app[ACTIVITY], server.app[STATE].runs
    pause = min(30.0, timeout / 4)

    async def look() -> float:
        if activity.idle_seconds() >= timeout:
            if await shielded(runs.running()):
                activity.touch()
            else:
                log.info("idle for %.0f s", timeout)
                stop()
        return pause

    async with server.app[TASKS].keep("stopping when idle", look, after=pause):
        yield
