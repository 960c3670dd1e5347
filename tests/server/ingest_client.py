"""A minimal client for tests: frames by hand, and one request a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from asyncwb.wire.ingest import CONTENT_TYPE, Presence, StreamHead, encode_batch
from asyncwb.wire.rows.columns import FLOAT, INT, Column, Table, empty
from asyncwb.wire.rows.frames import encode
from asyncwb.wire.rows.keys import STEP, TIME
from tests.fix_server import ServerHandle

EPOCH = 1_700_000_000.0


def start_event(**more: Any) -> dict[str, Any]:
    """Return the event that every writer begins with."""
    plain: dict[str, Any] = {"name": None, "config": {}, "tags": [], "notes": None, "group": None}
    origin = {"job_type": None, "host": "box", "program": "train.py", "python": "3.11"}
    return {"t": "start", "at": EPOCH, **plain, **origin, "client": "1", "resume": None, **more}


def rows(first_step: int, n: int, key: str = "loss") -> Table:
    """Return rows whose value at each step is the step itself."""
    steps = np.arange(first_step, first_step + n)
    return Table.from_columns(
        n,
        [
            Column(STEP, INT, steps),
            Column(TIME, FLOAT, EPOCH + steps),
            Column(key, FLOAT, steps.astype(np.float64)),
        ],
    )


def first_frame(n: int = 10, **start: Any) -> bytes:
    """Return a writer's first frame: the start event, then `n` rows from step 0."""
    return encode(0, rows(0, n), [(0, start_event(**start))])


def event_frame(seq: int, *events: Mapping[str, Any]) -> bytes:
    """Return a frame of events only."""
    return encode(seq, empty(), [(0, dict(event)) for event in events])


def head(
    run: str = "r1",
    writer: str = "w1",
    project: str = "p",
    entity: str | None = None,
    presence: Presence = Presence.HERE,
) -> StreamHead:
    """Return a stream's head."""
    return StreamHead(entity, project, run, writer, presence)


class Client:
    """Requests to one server with one key."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def post(self, streams: Sequence[tuple[StreamHead, Sequence[bytes]]]) -> list[Any]:
        """Send a batch that is expected to be taken; returns the answers of its streams."""
        status, answer = await self.post_raw(encode_batch(streams))
        assert status == 200, answer
        found: list[Any] = answer["streams"]
        return found

    async def send(self, *frames: bytes, **names: Any) -> Any:
        """Send frames of one stream; returns its answer."""
        return (await self.post([(head(**names), frames)]))[0]

    async def post_raw(self, body: bytes) -> tuple[int, Any]:
        """Send any bytes as a batch."""
        headers = {"Content-Type": CONTENT_TYPE}
        async with self.session.post("/api/v1/ingest", data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, **query: Any) -> Any:
        """Get JSON from a path below /api/v1."""
        async with self.session.get(f"/api/v1/{path}", params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def run(self, run: str = "r1", project: str = "p") -> Any:
        """Get a run of the key's own entity."""
        entity = (await self.get("viewer"))["entity"]
        return await self.get(f"runs/{entity}/{project}/{run}")


@asynccontextmanager
async def connect(server: ServerHandle, key: str | None = None) -> AsyncIterator[Client]:
    """Connect with the admin's key, or another."""
    headers = {"Authorization": f"Bearer {key or server.api_key}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        yield Client(session)
