"""Backups: one moment, taken while the server works, and all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from asyncwb.errors import Error, UsageError
from asyncwb.server import ServerConfig
from asyncwb.server.backups import backup, verify
from asyncwb.server.history.history import SOURCES
from asyncwb.server.history.seal import Sealer, SealPolicy
from asyncwb.server.objects.objects import OBJECTS, Objects
from asyncwb.wire.rows import frames
from tests.fix_server import ServerHandle, both_databases
from tests.server.history.test_history import decode_frames
from tests.server.history_lab import BEGAN, Row, table_of
from tests.server.ingest_client import Client, connect, start_event
from tests.server.wandb_client import OUTPUT, block, row, wandb

pytestmark = [pytest.mark.anyio, both_databases]

StartServer = Callable[..., ServerHandle]
EAGER = SealPolicy(rows=1, frames=1, full=10**9)


def some(first: int, n: int) -> list[Row]:
    return [(step, {"loss": step * 0.5}) for step in range(first, first + n)]


async def log(client: Client, first: int, n: int = 10) -> None:
    """Send rows; returns once they are acknowledged."""
    events = [(0, start_event() | {"at": BEGAN})] if not first else []
    seq = 0 if not first else first + 1
    answer = await client.send(frames.encode(seq, table_of(some(first, n)), events))
    assert "error" not in answer, answer


async def seal(server: ServerHandle) -> None:
    """Seal and merge all there is."""

    async def work(app: web.Application) -> None:
        sealer = Sealer(app[SOURCES].store, app[OBJECTS], EAGER)
        while await sealer.turn():
            pass

    await asyncio.to_thread(server.call, work)


async def address(client: Client) -> str:
    """Return what the addresses of the run's resources have in them."""
    return f"{(await client.get('viewer'))['entity']}/p/r1"


async def steps(server: ServerHandle) -> list[int]:
    """Return the steps of the run's history, and check its values."""
    async with (
        connect(server) as client,
        client.session.get(f"/api/v1/runs/{await address(client)}/history") as answer,
    ):
        assert answer.status == 200, await answer.text()
        rows = [row for t in decode_frames(await answer.read()) for row in t.iter_rows()]
    assert all(row["loss"] == row["_step"] * 0.5 for row in rows)
    return [row["_step"] for row in rows]


@pytest.fixture
def elsewhere(tmp_path: Path, request: pytest.FixtureRequest, database_url: str | None) -> Any:
    """Places for a second store, whose database is of the same kind and empty."""
    if database_url is None:
        yield {"data": tmp_path / "restored", "database": None}
        return
    cluster = request.getfixturevalue("postgres_cluster")
    name, url = cluster.create_database()
    yield {"data": tmp_path / "restored", "database": url}
    cluster.drop_database(name)


@asynccontextmanager
async def at_work(server: ServerHandle, client: Client, first: int) -> AsyncIterator[list[int]]:
    """Log, seal and merge all the time; gives how many rows are acknowledged."""
    acknowledged, stop = [first], asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            await log(client, acknowledged[0])
            acknowledged[0] += 10
            await seal(server)
            await asyncio.to_thread(server.collect)  # as if hours passed between two merges

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work())
        yield acknowledged
        stop.set()
        await task


async def test_a_backup_of_a_run_that_is_live_and_sealed_has_all_that_was_acknowledged(
    server: ServerHandle, start_server: StartServer, elsewhere: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    async with connect(server) as client:
        await log(client, 0)
        url = f"/files/{await address(client)}/notes.txt"
        async with client.session.put(url, data=b"kept") as answer:
            assert answer.status == 200
        async with at_work(server, client, 10) as acknowledged:
            for _ in range(3):
                before = acknowledged[0]
                made = await backup.backup(server.config, folder)
                assert made.problems == []
    assert (await backup.verify_backup(folder)).problems == []
    restored = await backup.restore(ServerConfig(**elsewhere), folder)
    assert restored.problems == []
    assert restored.copied == made.copied + made.kept
    assert (await verify.verify(ServerConfig(**elsewhere))).problems == []
    again = await backup.backup(ServerConfig(**elsewhere), folder)
    assert (again.copied, again.problems) == (0, []), "it is the same store"
    other = start_server(**elsewhere)
    assert other.api_key == server.api_key
    there = await steps(other)
    assert len(there) >= before, "what was acknowledged before the backup began"
    assert there == list(range(len(there)))
    async with connect(other) as client:
        async with client.session.get(url) as answer:
            assert await answer.read() == b"kept"
        # Numbers go on where they were: what comes now stands behind what is sealed.
        await seal(other)
        await log(client, len(there))
        assert await steps(other) == list(range(len(there) + 10))


async def test_a_further_backup_copies_what_is_new_and_drops_what_is_not_needed(
    server: ServerHandle, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    async with connect(server) as client:
        await log(client, 0)
        await seal(server)
        first = await backup.backup(server.config, folder)
        again = await backup.backup(server.config, folder)
        await log(client, 10)
        await seal(server)  # merged: one segment in place of the other
        third = await backup.backup(server.config, folder)
    found = [(m.copied, m.kept, m.removed) for m in (first, again, third)]
    assert found == [(1, 0, 0), (0, 1, 0), (1, 0, 1)]
    assert len(list((folder / "objects").rglob("*.parquet"))) == 1
    assert len(list(folder.glob("database-*"))) == 1
    assert (folder / "backup.json").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("database-*/*"))


async def test_a_backup_that_fails_leaves_the_former_one(
    server: ServerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    async with connect(server) as client:
        await log(client, 0)
        await seal(server)
        await backup.backup(server.config, folder)
        await log(client, 10)
        await seal(server)

    async def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put_stream", full)
        with pytest.raises(Error, match="No space left"):
            await backup.backup(server.config, folder)
    assert (await backup.verify_backup(folder)).problems == []
    await backup.backup(server.config, folder)
    assert len(list(folder.glob("database-*"))) == 1


async def test_nothing_of_a_wandb_clients_run_is_called_damaged(server: ServerHandle) -> None:
    async with wandb(server) as run:
        await run.history(0, [row(step, loss=1.0) for step in range(3)])
        await run.post({"files": {OUTPUT: block(0, ["a line"])}})
    found = await verify.verify(server.config)
    assert (found.problems, found.unchecked, found.counts["lines"]) == ([], 0, 1)


async def test_damage_is_named_wherever_it_is(
    server: ServerHandle, elsewhere: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    async with connect(server) as client:
        await log(client, 0)
        await seal(server)
        assert (await verify.verify(server.config)).problems == []
        assert (await backup.backup(server.config, folder)).problems == []
        (path,) = (server.data / "objects").rglob("*.parquet")
        whole = path.read_bytes()
        for place in range(0, len(whole), 97):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            (problem,) = (await verify.verify(server.config)).problems
            assert str(path.relative_to(server.data / "objects")) in problem
        # A backup that has it whole keeps that.
        made = await backup.backup(server.config, folder)
        assert (made.copied, made.kept, made.problems) == (0, 1, [])
        fresh = await backup.backup(server.config, tmp_path / "fresh")
        assert len(fresh.problems) == 1
        assert len((await backup.backup(server.config, tmp_path / "fresh")).problems) == 1
        path.unlink()
        assert "is not there" in (await verify.verify(server.config)).problems[0]

    (copy,) = (folder / "objects").rglob("*.parquet")
    copy.write_bytes(whole[:-1])
    assert len((await backup.verify_backup(folder)).problems) == 1
    restored = await backup.restore(ServerConfig(**elsewhere), folder)
    assert len(restored.problems) == 1
    (database, *_) = folder.glob("database-*/*")
    database.write_bytes(database.read_bytes() + b"x")
    assert len((await backup.verify_backup(folder)).problems) == 2
    with pytest.raises(UsageError, match="Nothing was restored"):
        await backup.restore(ServerConfig(data=tmp_path / "third"), folder)
    assert not (tmp_path / "third").exists()


async def test_restoring_never_touches_what_is_there(
    server: ServerHandle, elsewhere: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    async with connect(server) as client:
        await log(client, 0)
        await seal(server)
    await backup.backup(server.config, folder)
    with pytest.raises(UsageError, match="is not empty"):
        await backup.restore(server.config, folder)
    place = {**elsewhere, "objects": str(server.data / "objects")}
    with pytest.raises(UsageError, match="are there already"):
        await backup.restore(ServerConfig(**place), folder)
    taken = server.config.database or f"sqlite:///{server.data / 'asyncwb.db'}"
    with pytest.raises(UsageError, match=r"(is there|tables) already"):
        await backup.restore(ServerConfig(data=tmp_path / "x", database=taken), folder)
    with pytest.raises(UsageError, match="holds no backup"):
        await backup.restore(ServerConfig(**elsewhere), tmp_path)
    assert await steps(server) == list(range(10))


async def test_there_must_be_a_store(server: ServerHandle, tmp_path: Path) -> None:
    nowhere = ServerConfig(data=tmp_path / "nowhere")
    for work in (backup.backup(nowhere, tmp_path / "backup"), verify.verify(nowhere)):
        with pytest.raises(UsageError, match="no database"):
            await work
    assert not (tmp_path / "backup").exists()
    assert not (tmp_path / "nowhere").exists()
    wrong = ServerConfig(
        data=server.data, database=server.config.database, objects=str(tmp_path / "other")
    )
    with pytest.raises(UsageError, match="not those of this database"):
        await backup.backup(wrong, tmp_path / "backup")
