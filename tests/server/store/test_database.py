"""The way to the database: how it opens, and what is known where a transaction fails."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import insert, select

from asyncwb.server.config import ServerConfig
from asyncwb.server.store.database import Database, UncertainCommitError, UnreachableError
from asyncwb.server.store.schema import secrets
from tests.fix_postgres import Cluster
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

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


@both_databases
async def test_whether_a_failed_transaction_was_written_is_told(lab: Lab) -> None:
    class OddError(Exception):
        pass

    rows = insert(secrets).values(value="x", created_at=0.0)
    with suppress(OddError):
        async with lab.database.transaction() as connection:
            await connection.execute(rows.values(name="before"))
            raise OddError
    dialect: Any = lab.database.engine.sync_engine.dialect
    commit = dialect.do_commit

    def lose_the_answer(connection: Any) -> None:
        commit(connection)
        raise ConnectionResetError

    dialect.do_commit = lose_the_answer
    with pytest.raises(UncertainCommitError):
        async with lab.database.transaction() as connection:
            await connection.execute(rows.values(name="behind"))
    del dialect.do_commit
    async with lab.database.connect() as connection:
        assert list(await connection.scalars(select(secrets.c.name))) == ["behind"]


@both_databases
@pytest.mark.parametrize("by", ["task", "scope"])
@pytest.mark.parametrize("at", ["do_execute", "do_commit", "do_rollback"])
async def test_who_is_cancelled_leaves_no_connection_half_used(lab: Lab, by: str, at: str) -> None:
    dialect: Any = lab.database.engine.sync_engine.dialect
    pool: Any = lab.database.engine.pool
    real = getattr(dialect, at)
    scope = anyio.CancelScope()

    async def write(name: str) -> None:
        async with lab.database.transaction() as connection:
            rows = insert(secrets).values(name=name, value="x", created_at=0.0)
            await connection.execute(rows)
            if name == "cancelled" and at == "do_rollback":
                raise OSError

    async def cancelled() -> None:
        with scope:
            await write("cancelled")

    task = asyncio.create_task(cancelled())  # cancelled as aiohttp does it, or by a scope

    def cancel(*arguments: Any, **more: Any) -> Any:
        if asyncio.current_task() is task:
            (task.cancel if by == "task" else scope.cancel)()
        return real(*arguments, **more)

    setattr(dialect, at, cancel)
    await asyncio.wait([task])
    delattr(dialect, at)
    assert task.cancelled() if by == "task" else scope.cancelled_caught
    many = 2 * (pool.size() + pool._max_overflow)
    async with asyncio.timeout(30):
        await asyncio.gather(*(write(str(number)) for number in range(many)))
    async with lab.database.connect() as connection:
        names = set(await connection.scalars(select(secrets.c.name)))
    assert names - {"cancelled"} == {str(number) for number in range(many)}
    assert ("cancelled" in names) <= (at == "do_commit")
    assert pool.checkedout() == 0


@both_databases
async def test_a_connection_that_cannot_be_had_is_an_error_of_the_database(lab: Lab) -> None:
    pool: Any = lab.database.engine.pool
    pool._timeout = 0.01
    async with AsyncExitStack() as held:
        for _ in range(pool.size() + pool._max_overflow):
            await held.enter_async_context(lab.database.connect())
        for way in (lab.database.connect, lab.database.transaction):
            with pytest.raises(UnreachableError):
                async with way():
                    pass


@pytest.mark.parametrize(("encoding", "seen"), [("UTF8", True), ("SQL_ASCII", False)])
async def test_it_is_known_whether_a_database_sees_characters(
    postgres_cluster: Cluster, encoding: str, seen: bool
) -> None:
    postgres_cluster.sql(
        f"CREATE DATABASE of_{encoding} ENCODING '{encoding}' TEMPLATE template0"
        " LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    url = f"postgresql+asyncpg://postgres@/of_{encoding.lower()}?host={postgres_cluster.folder}"
    database = Database(url)
    await database.open()
    assert database.is_utf8 is seen
    await database.close()
    postgres_cluster.drop_database(f"of_{encoding}")
