"""Who reads cannot keep who writes waiting for a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from aiohttp import web

from asyncwb.server.history.history import SOURCES
from asyncwb.server.history.seal import Sealer, SealPolicy
from asyncwb.server.objects.objects import OBJECTS, Objects
from asyncwb.server.process.threads import READERS
from asyncwb.settings import default_entity
from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, first_frame, rows

pytestmark = pytest.mark.anyio

MANY = 5 * READERS


class SlowObjects:
    """An object store that answers no reader before it is told to."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def reader(self, name: str, size: int) -> Any:
        self.asked.release()
        assert self.go_on.wait(60)
        return self._objects.reader(name, size)


async def test_rows_come_in_while_every_reader_waits_for_the_store(server: ServerHandle) -> None:
    slow = server.call(_seal_slowly)
    slow.go_on.set()
    async with connect(server) as client:
        await client.send(first_frame(5000))
        server.call(_seal)
        slow.go_on.clear()
        readers = [asyncio.create_task(_read(client.session)) for _ in range(MANY)]
        for _ in range(READERS):
            assert await asyncio.to_thread(slow.asked.acquire, timeout=30)
        async with asyncio.timeout(30):
            answer = await client.send(encode(5001, rows(5000, 5000)))
            assert answer["next"] == 10_001
        slow.go_on.set()
        assert set(await asyncio.gather(*readers)) == {200}


async def _seal_slowly(app: web.Application) -> SlowObjects:
    slow = SlowObjects(app[OBJECTS])
    sources: Any = app[SOURCES]
    sources._objects = slow
    return slow


async def _seal(app: web.Application) -> None:
    policy = SealPolicy(rows=1, frames=1)
    assert await Sealer(app[SOURCES].store, app[OBJECTS], policy).turn()


async def _read(session: Any) -> int:
    async with session.get(f"/api/v1/runs/{default_entity()}/p/r1/history") as answer:
        await answer.read()
        status: int = answer.status
        return status
