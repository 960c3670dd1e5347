"""Fixtures of the server's own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncwb.server.config import ServerConfig
from asyncwb.server.store.database import Database
from asyncwb.server.store.migrate import migrate
from tests.fix_server import put_database
from tests.server.history_lab import Lab


@asynccontextmanager
async def open_lab(
    folder: Path, database_url: str | None, empty_database: bytes
) -> AsyncIterator[Lab]:
    config = ServerConfig(data=folder, database=database_url)
    if database_url is None:
        put_database(folder, empty_database)
    database = Database(config.database_url)
    await migrate(database)
    yield Lab(database, folder / "objects")
    await database.close()


@pytest.fixture
async def lab(
    tmp_path: Path, database_url: str | None, empty_database: bytes
) -> AsyncIterator[Lab]:
    """A migrated database and an object store, without a server around them."""
    async with open_lab(tmp_path, database_url, empty_database) as lab:
        yield lab


@pytest.fixture
def in_lab(
    tmp_path: Path, database_url: str | None, empty_database: bytes
) -> Iterator[Callable[[Callable[[Lab], Coroutine[Any, Any, None]]], None]]:
    """The same for tests that hypothesis calls again and again: runs a coroutine in one lab."""
    with asyncio.Runner() as runner:
        opened = open_lab(tmp_path, database_url, empty_database)
        lab = runner.run(opened.__aenter__())
        yield lambda check: runner.run(check(lab))
        runner.run(opened.__aexit__(None, None, None))
