"""The way to SQLite: what its busy timeout does not cover."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncwb.server.config import ServerConfig
from asyncwb.server.store.database import Database

pytestmark = pytest.mark.anyio


async def test_many_open_a_new_database_at_once(tmp_path: Path) -> None:
    """SQLite refuses a change to WAL on the spot while another makes it: a race, so many rounds."""
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        databases = [Database(ServerConfig(data=folder).database_url) for _ in range(8)]
        await asyncio.gather(*(_open(database) for database in databases))
        for database in databases:
            await database.close()


async def _open(database: Database) -> None:
    async with database.connect():
        pass
