"""Lists that stay right while runs are added, and live events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle, both_databases
from tests.server.ingest_client import Client, connect, event_frame, first_frame, head, rows

pytestmark = [pytest.mark.anyio, both_databases]


async def create(client: Client, *names: str) -> str:
    """Create runs, one after another; returns their entity."""
    answers = [await client.send(first_frame(1, name=f"Name {n}"), run=n) for n in names]
    return str(answers[0]["run"].split("/")[0])


async def page(client: Client, entity: str, **query: Any) -> tuple[list[str], str | None]:
    answer = await client.get(f"projects/{entity}/p/runs", **query)
    return [run["id"] for run in answer["runs"]], answer["next"]


async def test_pages_stay_right_while_runs_are_added(server: ServerHandle) -> None:
    async with connect(server) as client:
        entity = await create(client, "a", "b", "c", "d", "e")
        assert await page(client, entity) == (["e", "d", "c", "b", "a"], None)
        first, cursor = await page(client, entity, limit=2)
        await create(client, "f", "g")
        second, cursor = await page(client, entity, limit=2, cursor=cursor or "")
        third, end = await page(client, entity, limit=2, cursor=cursor or "")
        assert (first, second, third, end) == (["e", "d"], ["c", "b"], ["a"], None)


async def test_a_list_has_the_first_keys_of_a_wide_summary(server: ServerHandle) -> None:
    wide = {f"key{n}": {"a": n, "b": "x" * 2000} for n in range(800)}
    async with connect(server) as client:
        entity = await create(client, "r1", "r2")
        await client.send(event_frame(2, {"t": "summary", "set": wide, "delete": []}), run="r1")
        for query in ({}, {"order": "+created_at"}):
            found = (await client.get(f"projects/{entity}/p/runs", **query))["runs"]
            narrow, cut = sorted(found, key=lambda run: str(run["id"]), reverse=True)
            assert (narrow["summary_left_out"], narrow["summary"]["loss"]) == (0, 0.0)
            assert 300 < len(cut["summary"]) < 400
            assert len(cut["summary"]) + cut["summary_left_out"] == 800 + len(narrow["summary"])
            assert cut["summary"]["key1"]["b"]["_type"] == "cut"
        assert len((await client.run("r1"))["summary"]) > 800


async def test_lists_can_be_searched(server: ServerHandle) -> None:
    async with connect(server) as client:
        entity = await create(client, "alpha", "beta_")
        await client.send(event_frame(2, {"t": "finish", "exit_code": 0, "at": 1.0}), run="alpha")
        assert await page(client, entity, q="NAME AL") == (["alpha"], None)
        assert await page(client, entity, q="%") == ([], None)
        assert await page(client, entity, q="_") == (["beta_"], None)
        assert await page(client, entity, state="running") == (["beta_"], None)
        for query in ({"state": "odd"}, {"limit": "0"}, {"limit": "x"}, {"cursor": "-1"}):
            async with client.session.get(
                f"/api/v1/projects/{entity}/p/runs", params=query
            ) as answer:
                assert answer.status == 400
        times = {"updated_at": 0, "created_at": 0}
        assert (await client.get("projects"))["projects"][0] | times == {
            "entity": entity,
            "name": "p",
            "visibility": "private",
            "description": None,
            "created_at": 0,
            "runs": 2,
            "running": 1,
            "updated_at": 0,
        }


async def events(response: Any) -> Any:
    """Yield the data of server-sent events."""
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def test_a_page_hears_of_every_change_and_of_the_stop(server: ServerHandle) -> None:
    async with connect(server) as client:
        entity = await create(client, "r1")
        async with client.session.get(f"/api/v1/runs/{entity}/p/r1/live") as response:
            assert response.content_type == "text/event-stream"
            told = events(response)
            assert (await anext(told))["rows"] == 1
            async with asyncio.timeout(1.5):  # sooner than a poll
                await client.post([(head(), [encode(2, rows(1, 4))])])
                change = await anext(told)
            assert (change["rows"], change["last_step"], change["summary"]["loss"]) == (5, 4, 4.0)
            await asyncio.to_thread(server.stop)
            assert [rest async for rest in told] == []
