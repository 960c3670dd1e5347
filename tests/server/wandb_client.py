"""A W&B client for tests: posts by hand, to a run that is made without GraphQL."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from asyncwb.server.http.state import STATE
from asyncwb.server.store.records import RunKey
from tests.fix_server import ServerHandle

HISTORY = "wandb-history.jsonl"
EVENTS = "wandb-events.jsonl"
SUMMARY = "wandb-summary.json"
OUTPUT = "output.log"
EPOCH = 1_700_000_000.0


def make_run(server: ServerHandle, run: str = "r1", project: str = "p") -> tuple[RunKey, int]:
    """Make a run of the admin's, as a client's GraphQL would; returns its path and inner id."""

    async def make(app: web.Application) -> tuple[RunKey, int]:
        state = app[STATE]
        admin = await state.users.first()
        assert admin is not None
        path = RunKey(admin.name, project, run)
        async with state.database.transaction() as connection:
            made = await state.ingest.create(connection, [path], state.clock(), admin.id)
        return path, made[path].id

    return server.call(make)


def row(step: int, **values: Any) -> dict[str, Any]:
    """Return a row as the client writes it."""
    own = {"_step": step, "_timestamp": EPOCH + step, "_runtime": float(step)}
    return {**values, **own}


def block(offset: int, rows: Sequence[Any]) -> dict[str, Any]:
    """Return lines of JSON, or of text, from line `offset` on."""
    lines = [line if isinstance(line, str) else json.dumps(line) for line in rows]
    return {"offset": offset, "content": lines}


class Wandb:
    """Posts to one run with one key."""

    def __init__(self, session: aiohttp.ClientSession, path: RunKey) -> None:
        self.session = session
        self.path = path

    async def post(self, body: Any, **headers: str) -> Any:
        """Post what is expected to be taken; returns the answer."""
        status, answer = await self.post_raw(json.dumps(body).encode(), **headers)
        assert status == 200, answer
        return answer

    async def history(self, offset: int, rows: Sequence[Any], **more: Any) -> Any:
        """Post rows of history."""
        return await self.post({"files": {HISTORY: block(offset, rows)}, **more})

    async def post_raw(self, body: Any, **headers: str) -> tuple[int, Any]:
        """Post any bytes."""
        url = f"/files/{self.path}/file_stream"
        data = io.BytesIO(body)  # aiohttp warns of large bodies that are plain bytes
        async with self.session.post(url, data=data, headers=headers) as answer:
            return answer.status, await answer.json()

    async def info(self) -> Any:
        """Get the run's account."""
        async with self.session.get(f"/api/v1/runs/{self.path}") as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def rows(self) -> list[dict[str, Any]]:
        """Get all rows as anybody reads them."""
        url = f"/api/v1/runs/{self.path}/history?format=jsonl"
        async with self.session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return [json.loads(line) for line in (await answer.text()).splitlines()]


@asynccontextmanager
async def wandb(server: ServerHandle, run: str = "r1") -> AsyncIterator[Wandb]:
    """Connect as the admin, to a new run."""
    path, _ = make_run(server, run)
    async with aiohttp.ClientSession(server.url, headers=server.headers) as session:
        yield Wandb(session, path)
