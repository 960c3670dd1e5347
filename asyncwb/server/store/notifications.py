"""What the servers of one PostgreSQL tell each other, over PostgreSQL itself (LISTEN, NOTIFY).

Best effort: who is not listening at the moment is told nothing, so nothing may depend on it. A
SQLite database has one server, and nobody to tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, cast

import anyio
from sqlalchemy import func, select

from asyncwb.server.store.database import Database

MOST: Final = 7_900
"""bytes of a message; PostgreSQL takes less than 8,000"""
_CHANNEL: Final = "asyncwb"
_ALIVE: Final = 15.0
"""seconds of silence after which the connection is tried: of a host that is gone nothing comes"""
_PATIENCE: Final = 10.0


class _Connection(Protocol):
    """What of asyncpg's connection is used here."""

    async def add_listener(
        self, channel: str, callback: Callable[[object, int, str, str], None]
    ) -> None: ...

    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...

    async def execute(self, query: str, *, timeout: float) -> str: ...


class Notifications:
    """Tells and listens; `listening` has a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell(self, messages: Sequence[str]) -> None:
        """Tell all who listen; each message has `MOST` bytes at most."""
        async with self._database.transaction() as connection:
            for message in messages:
                await connection.execute(select(func.pg_notify(_CHANNEL, message)))

    @asynccontextmanager
    async def listening(
        self, take: Callable[[str], None]
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Listen for the length of the block; `take` is called with every message, on the loop.

        Gives a coroutine function that returns when the connection is lost.
        """
        lost = anyio.Event()

        def receive(_connection: object, _pid: int, _channel: str, message: str) -> None:
            take(message)

        async with self._database.own_connection() as connection:
            raw = await connection.get_raw_connection()
            driver = cast("_Connection", raw.driver_connection)
            driver.add_termination_listener(lambda _connection: lost.set())
            await driver.add_listener(_CHANNEL, receive)

            async def end() -> None:
                while not lost.is_set():
                    with anyio.move_on_after(_ALIVE):
                        await lost.wait()
                    if not lost.is_set():
                        await driver.execute("SELECT 1", timeout=_PATIENCE)

            yield end
