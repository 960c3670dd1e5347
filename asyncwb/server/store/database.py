"""One engine for SQLite and PostgreSQL; the few places where they differ are here.

SQLite runs in WAL mode with synchronous=FULL: a commit has reached the disk when it returns.
Writers take turns before they reach the database: in one process by a lock of the loop (waiting on
it costs no thread and no retry), across processes by BEGIN IMMEDIATE and the busy timeout.
PostgreSQL locks rows (`with_for_update`).
"""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite
import anyio
from anyio import to_thread
from sqlalchemy import ColumnElement, Connection, Double, Table, cast, event, func, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, AdaptedConnection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from asyncwb.errors import UsageError
from asyncwb.server.store.texts import re2_search

__all__ = [
    "AsyncConnection",
    "Database",
    "DatabaseError",
    "UncertainCommitError",
    "UnreachableError",
]

DatabaseError = DBAPIError
"""What a statement raises when the database cannot do it: a full disk, a lost connection."""


class UnreachableError(DatabaseError):
    """No connection could be had: nothing was read or written."""


class UncertainCommitError(DatabaseError):
    """A commit failed, or its answer was lost: what it had to write may be there, or not."""


_BUSY_TIMEOUT: Final = 30.0
_WRITE: Final = "asyncwb_write"
_DRIVERS: Final = ("sqlite+aiosqlite", "postgresql+asyncpg")
_FORMS: Final = (
    "Nothing was started; write --database postgresql://user:password@host:5432/name, or "
    "sqlite:////folder/file.db, or leave it out: the database is then a file in the data folder."
)

T = TypeVar("T")


def batches(items: Collection[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items, `size` at a time: a statement takes a bounded number of parameters."""
    listed = items if isinstance(items, Sequence) else list(items)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]


class Database:
    """The way to the database: `connect` to read, `transaction` to write.

    Args:
        url: SQLAlchemy URL with an async driver (`sqlite+aiosqlite://`, `postgresql+asyncpg://`).

    Raises:
        UsageError: the URL is none, or one of another database.
    """

    def __init__(self, url: str) -> None:
        self.url = _read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self.is_utf8 = True
        """whether it holds text as UTF-8, so that it sees characters where we see them"""
        self._turn = anyio.Lock(fast_acquire=True)

    @property
    def file(self) -> Path | None:
        """The file that a SQLite database is; None for PostgreSQL, and for one in memory."""
        name = self.url.database
        return Path(name) if self.is_sqlite and name and name != ":memory:" else None

    async def open(self) -> None:
        """Make the first connection, to see that there is a database.

        Raises:
            UsageError: it cannot be reached, lets nobody in, or is a file of another kind.
        """
        try:
            if self.is_sqlite:
                await to_thread.run_sync(_try_file, self.url.database)
            async with self.connect() as connection:
                encoding = "'UTF8'" if self.is_sqlite else "current_setting('server_encoding')"
                found = await connection.scalar(text(f"SELECT {encoding}"))
                self.is_utf8 = found == "UTF8"
        except self._refusals() as error:
            place = self.url.set(drivername=self.url.get_backend_name())
            why = str(getattr(error, "orig", None) or error) or type(error).__name__
            raise UsageError(
                f"cannot open the database {place.render_as_string()}: {why.rstrip('.')}. "
                "What is in it is untouched, and nothing was started; check that it is up and "
                "that the address, the name and the password are right, or give another --database."
            ) from error

    def _refusals(self) -> tuple[type[Exception], ...]:
        """Return what connecting may raise; of asyncpg SQLAlchemy passes some on as they are."""
        known = (DBAPIError, PoolTimeoutError, OSError, sqlite3.Error)
        if self.is_sqlite:
            return known
        asyncpg = importlib.import_module("asyncpg")
        return (*known, asyncpg.PostgresError, asyncpg.InterfaceError)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection whose reads all see one moment; nothing may be written on it."""
        async with self._connected() as connection:
            if not self.is_sqlite:  # where a transaction is one snapshot anyway
                await connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that is none of the pool's, for who keeps it as long as it lives."""
        engine = create_async_engine(self.url, poolclass=NullPool)
        async with engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that commits at the end of the block, or rolls back on any error.

        On SQLite only one such block runs at a time; keep everything slow outside of it.

        Raises:
            UncertainCommitError: the block has ended, and whether it was written is not known.
                Whatever else is raised, nothing of the block was written.
        """
        done = False
        async with self._one_at_a_time(), self._connected() as connection:
            await connection.execution_options(**{_WRITE: True})
            try:
                async with connection.begin():
                    yield connection
                    done = True
            except Exception as error:
                if done:
                    raise _as(UncertainCommitError, error) from error
                raise

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self.engine.connect())
            except self._refusals() as error:
                raise _as(UnreachableError, error) from error
            yield connection

    def _one_at_a_time(self) -> AbstractAsyncContextManager[None]:
        return self._turn if self.is_sqlite else nullcontext()

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def now(self) -> ColumnElement[float]:
        """Return the time by the database's clock, unix seconds, at the moment it is asked."""
        if self.is_sqlite:
            return (func.julianday("now") - literal(2440587.5)) * literal(86400.0)
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Make other processes wait until this transaction ends before they touch the schema.

        On SQLite every write transaction already excludes the others.
        """
        if not self.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(4710233102)"))

    async def close(self) -> None:
        """Checkpoint SQLite's log into its file and close every connection."""
        try:
            if self.is_sqlite:
                await self.checkpoint()
        finally:
            await self.engine.dispose()

    async def leave(self) -> None:
        """Close every connection of a process that is not the server: its log is left to it."""
        await self.engine.dispose()

    async def checkpoint(self) -> None:
        """Write what SQLite's log has into its file and empty the log, unless that fails."""
        # On the driver: a transaction, which SQLAlchemy would begin, forbids it. Where it fails
        # (a full disk, a damaged file) nothing is lost: the log is read at the next start.
        with suppress(sqlite3.Error, DBAPIError):
            async with self._turn, self.engine.connect() as connection:
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                async with raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"):
                    pass


_E = TypeVar("_E", bound=DBAPIError)


def _as(kind: type[_E], error: Exception) -> _E:
    return kind(None, None, getattr(error, "orig", None) or error)


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Not what was written: it may have a password in it.
        raise UsageError(f"The address of the database is no URL. {_FORMS}") from None
    if url.drivername not in _DRIVERS:
        raise UsageError(f"{url.drivername!r} is no database that a server runs on. {_FORMS}")
    return url


def _sqlite_engine(url: str) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": _BUSY_TIMEOUT}, pool_size=8)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _postgres_engine(url: str) -> AsyncEngine:
    return create_async_engine(url, pool_size=8, max_overflow=8, pool_pre_ping=True)


def _try_file(path: str | None) -> None:
    """Open a file as SQLite does; raises sqlite3.Error where that is impossible.

    The driver's thread of a connection that could not be opened speaks to the loop once more, which
    may be closed by then: its traceback would hide what is said of the file.
    """
    if path and not path.startswith("file:"):
        sqlite3.connect(path).close()


def _prepare_sqlite(connection: AdaptedConnection, _record: object) -> None:
    connection.run_async(_set_up_sqlite)


async def _set_up_sqlite(connection: aiosqlite.Connection) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    await _pragma(connection, "page_size=16384")  # frames are large: fewer pages each, if it is new
    await _enter_wal(connection)
    for pragma in (
        "wal_autocheckpoint=4096",  # 64 MiB: not a second write and sync with every commit
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-16384",
        "journal_size_limit=67108864",
    ):
        await _pragma(connection, pragma)
    await connection.create_function("re2_search", 2, re2_search, deterministic=True)


async def _enter_wal(connection: aiosqlite.Connection) -> None:
    # Where several open a new file at once, SQLite refuses all but one of them on the spot: its
    # busy timeout does not cover the change of the journal.
    deadline = anyio.current_time() + _BUSY_TIMEOUT
    while True:
        try:
            await _pragma(connection, "journal_mode=WAL")
        except sqlite3.OperationalError as error:
            late = anyio.current_time() > deadline
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or late:
                raise
            await anyio.sleep(0.005)
        else:
            return


async def _pragma(connection: aiosqlite.Connection, setting: str) -> None:
    async with connection.execute(f"PRAGMA {setting}"):
        pass


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
