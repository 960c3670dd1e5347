"""Blobs: as many uses as rows that refer to them, and never collected while there is one."""

from __future__ import annotations

import asyncio
import io
import json
import random
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import func, select

from asyncwb.server.backups.verify import verify
from asyncwb.server.config import ServerConfig
from asyncwb.server.objects import garbage_collection
from asyncwb.server.store.blobs import Blobs, Content
from asyncwb.server.store.runs.files import Files
from asyncwb.server.store.runs.projects import Projects
from asyncwb.server.store.schema import blobs, dropped_objects, files
from tests.fix_server import ServerHandle, both_databases
from tests.server.history_lab import Lab

pytestmark = pytest.mark.anyio

BYTES = [f"bytes {number}".encode() for number in range(4)]


class Uploads:
    """Uploads to the files of some runs, each into an object of its own."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.files = Files(lab.database)
        self._objects = 0

    def store(self, data: bytes) -> Content:
        """Store bytes in a new object, as an upload does before it is committed."""
        self._objects += 1
        name = f"files/{self._objects:032x}"
        self.lab.objects.put(name, data)
        return Content(name, len(data), sha256(data).hexdigest(), "md5", b"")

    async def put(self, run_id: int, name: str, data: bytes) -> bool:
        (file,) = await self.files.announce(run_id, {name: None}, self.lab.now)
        return await self.files.put(file.id, self.store(data), self.lab.now)

    async def check(self) -> None:
        """Compare counts, references and objects with one another."""
        async with self.lab.database.connect() as connection:
            rows = (await connection.execute(select(blobs))).all()
            counted = select(files.c.blob_id, func.count()).group_by(files.c.blob_id)
            used = {row[0]: row[1] for row in await connection.execute(counted)}
            waiting = set(await connection.scalars(select(dropped_objects.c.name)))
        for row in rows:
            assert row.uses == used.get(row.id, 0)
            assert (row.unused_since is None) == (row.uses > 0)
        there = {found.name for found in self.lab.objects.list("files")}
        assert {row.object for row in rows} | waiting == there
        for row in rows:
            assert sha256(self.lab.objects.get(row.object)).hexdigest() == row.sha256


@both_databases
@pytest.mark.parametrize("seed", range(5))
async def test_uses_are_the_rows_that_refer(lab: Lab, seed: int) -> None:
    pick, uploads = random.Random(seed), Uploads(lab)
    run_ids = [(await lab.run()).id for _ in range(3)]
    for _ in range(30):
        lab.now += 1.0
        run_id, name = pick.choice(run_ids), pick.choice("abc")
        match pick.randrange(6):
            case 0 | 1 | 2:
                await uploads.put(run_id, name, pick.choice(BYTES))
            case 3:
                page = await uploads.files.page(run_id)
                await uploads.files.delete(run_id, [file.id for file in page[:2]], lab.now)
            case 4:
                await lab.collect(grace=pick.choice([0.0, 5.0]))
            case 5:
                await Projects(lab.database).delete_runs([run_id], lab.now)
                run_ids[run_ids.index(run_id)] = (await lab.run()).id
        await uploads.check()
    await Projects(lab.database).delete_runs(run_ids, lab.now)
    await lab.collect()
    await uploads.check()
    assert list(lab.objects.list("files")) == []


@both_databases
async def test_bytes_that_are_unused_wait_for_a_grace_and_may_be_used_again(lab: Lab) -> None:
    uploads, run_id = Uploads(lab), (await lab.run()).id
    await uploads.put(run_id, "a", BYTES[0])
    await uploads.put(run_id, "a", BYTES[1])
    lab.now += 10.0
    await lab.collect(grace=10.0)
    assert len(list(lab.objects.list("files"))) == 2
    await uploads.put(run_id, "b", BYTES[0])
    lab.now += 1000.0
    await lab.collect()
    await uploads.check()
    found = {file.name: file.object for file in await uploads.files.page(run_id)}
    assert [lab.objects.get(found[name] or "") for name in "ab"] == [BYTES[1], BYTES[0]]
    assert len(list(lab.objects.list("files"))) == 2


@both_databases
async def test_an_upload_and_a_collection_at_once_leave_no_file_without_bytes(lab: Lab) -> None:
    uploads, run_ids = Uploads(lab), [(await lab.run()).id for _ in range(4)]
    for _ in range(10):
        lab.now += 1.0
        for run_id in run_ids[:2]:
            await uploads.put(run_id, "a", BYTES[0])
            (file,) = await uploads.files.page(run_id)
            await uploads.files.delete(run_id, [file.id], lab.now)
        lab.now += 1.0
        await asyncio.gather(
            *(uploads.put(run_id, "a", BYTES[0]) for run_id in run_ids),
            *(Blobs(lab.database).let_go(lab.now) for _ in range(2)),
        )
        await garbage_collection.collect_dropped(lab.objects, lab.database, lab.now)
        await uploads.check()
        assert await uploads.files.count(run_ids[0]) == 1
        for run_id in run_ids:
            page = await uploads.files.page(run_id)
            await uploads.files.delete(run_id, [file.id for file in page], lab.now)


@both_databases
async def test_files_that_swap_their_bytes_do_not_wait_for_each_other(lab: Lab) -> None:
    uploads, run_ids = Uploads(lab), [(await lab.run()).id for _ in range(8)]
    made = [(await uploads.files.announce(id, {"a": None}, lab.now))[0].id for id in run_ids]
    for turn in range(12):
        puts = [
            uploads.files.put(file_id, uploads.store(BYTES[(turn + number) % 2]), lab.now)
            for number, file_id in enumerate(made)
        ]
        gone = run_ids[turn // 4 * 2 :][:2] if turn % 4 == 3 else []
        await asyncio.gather(Projects(lab.database).delete_runs(gone, lab.now), *puts)
    async with lab.database.connect() as connection:
        sums = (await connection.execute(select(func.sum(blobs.c.uses)))).scalar_one()
        used = select(func.count()).where(files.c.blob_id.is_not(None))
        assert sums == (await connection.execute(used)).scalar_one()


async def test_an_older_data_folder_is_whole(
    start_server: Callable[..., ServerHandle], tmp_path: Path
) -> None:
    """A server of schema 0009 left it: two runs, each with 2,000 rows and four files."""
    data = tmp_path / "old"
    with zipfile.ZipFile(Path(__file__).parent / "data" / "schema-0009.zip") as packed:
        packed.extractall(data)
    server = await asyncio.to_thread(start_server, data=data)
    long = bytes(range(256)) * 5000
    async with aiohttp.ClientSession(server.url, headers=server.headers) as session:
        for run in ("r1", "r2"):
            history = f"/api/v1/runs/root/p/{run}/history?format=jsonl&keys=loss"
            async with session.get(history) as answer:
                rows = [json.loads(line) for line in (await answer.text()).splitlines()]
            assert [row["loss"] for row in rows] == [1 / (step + 1) for step in range(2000)]
            wanted = {"own.txt": f"of {run}\n".encode(), "empty.txt": b"", "long.bin": long}
            for name, content in wanted.items():
                async with session.get(f"/files/root/p/{run}/{name}") as answer:
                    assert (answer.status, await answer.read()) == (200, content)
        verified = await verify(ServerConfig(data=data))
        assert (verified.problems, verified.counts["blob"], verified.unchecked) == ([], 8, 0)
        # Of those bytes no SHA-256 was known; from now on they are one blob.
        for run in ("r1", "r2"):
            async with session.put(
                f"/files/root/p/{run}/long.bin", data=io.BytesIO(long)
            ) as answer:
                assert answer.status == 200
        await asyncio.to_thread(server.collect)
        assert (await verify(ServerConfig(data=data))).counts["blob"] == 7
