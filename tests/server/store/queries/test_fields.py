"""The values that queries read: made from what ingest left, once, by whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import delete, func, insert, select, update

from asyncwb.server.http.errors import refusal_of
from asyncwb.server.http.state import STATE
from asyncwb.server.queries.document import Values
from asyncwb.server.queries.filters import parse
from asyncwb.server.runs.index import Indexer, IndexPolicy
from asyncwb.server.store.database import Database
from asyncwb.server.store.queries.fields import CHUNK, Fields, IndexBehindError, document
from asyncwb.server.store.queries.query import RunQuery
from asyncwb.server.store.schema import field_values, fields, projects, runs
from asyncwb.wire.rows.values import dumps
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.history_lab import Lab
from tests.server.ingest_client import Client, connect, event_frame, first_frame

pytestmark = [pytest.mark.anyio, both_databases]


def _stored(columns: dict[str, Any]) -> dict[str, Any]:
    written = {"config": dumps(columns["config"]).decode()} if "config" in columns else {}
    return {**columns, **written}


async def new_runs(database: Database, count: int, **columns: Any) -> int:
    async with database.transaction() as connection:
        project = {"entity": "lab", "name": "p", "created_at": 0.0}
        made = await connection.execute(insert(projects).values(project).returning(projects.c.id))
        project_id = int(made.scalar_one())
        row = {
            "project_id": project_id,
            "name": "n",
            "state": "finished",
            "created_at": 0.0,
            "heartbeat_at": 0.0,
            "rows": 0,
            "lost": 0,
            "tags": ["t"],
            "version": 1,
            "config": '{"lr": 0.1}',
            "summary": '{"loss": 1.5}',
            "fold": "{}",
            **_stored(columns),
        }
        await connection.execute(insert(runs), [{**row, "run": f"r{n}"} for n in range(count)])
    return project_id


async def change(database: Database, **columns: Any) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            update(runs).values(version=runs.c.version + 1, **_stored(columns))
        )


async def stored(database: Database) -> dict[tuple[str, str, int], Any]:
    """Return everything in the index: (run, path, position) -> (kind, number, text, logged)."""
    value = field_values.c
    statement = (
        select(runs.c.run, fields.c.path, value.position)
        .add_columns(value.kind, value.number, value.text, value.logged)
        .join(fields, fields.c.id == value.field_id)
        .join(runs, runs.c.id == value.run_id)
    )
    async with database.connect() as connection:
        return {tuple(row[:3]): tuple(row[3:]) for row in await connection.execute(statement)}


async def wanted(database: Database) -> dict[tuple[str, str, int], Any]:
    async with database.connect() as connection:
        found = (await connection.execute(select(runs))).mappings().all()
    return {
        (row["run"], path, position): (int(value.kind), value.number, value.text, logged)
        for row in found
        for path, position, value, logged in Values(_document(row)).rows()
    }


def _document(row: Mapping[Any, Any]) -> dict[str, Any]:
    return document({**row, "username": None})


async def test_values_follow_every_change(lab: Lab) -> None:
    index = Fields(lab.database)
    project_id = await new_runs(lab.database, 3)
    for columns in (
        {},
        {"config": {"lr": "high", "layers": [1, 2, 3], "deep": {"a": {"b": None}}}, "tags": []},
        {"config": {"layers": [4]}, "summary": '{"loss": NaN, "new": Infinity}'},
        {"config": {"many": list(range(2000)), "deep": [[[[1]]]]}},
        {"config": {}, "state": "crashed", "notes": "n" * 5000},
    ):
        await change(lab.database, **columns)
        assert await index.catch_up(project_id) == 3
        assert await stored(lab.database) == await wanted(lab.database)
        assert await index.catch_up(project_id) == 0


async def test_many_may_index_the_same_runs_at_once(lab: Lab) -> None:
    project_id = await new_runs(lab.database, CHUNK)
    for number in range(5):
        await change(lab.database, config={"lr": number, f"key{number}": list(range(number))})
        stale = await Fields(lab.database).stale(project_id)
        assert len(stale) == CHUNK
        await asyncio.gather(*(Fields(lab.database).update(stale) for _ in range(4)))
        assert await stored(lab.database) == await wanted(lab.database)
        assert await Fields(lab.database).stale(project_id) == []


async def test_a_deleted_run_takes_its_values_along(lab: Lab) -> None:
    project_id = await new_runs(lab.database, 2)
    await Fields(lab.database).catch_up(project_id)
    async with lab.database.transaction() as connection:
        await connection.execute(delete(runs).where(runs.c.run == "r0"))
        left = select(func.count(func.distinct(field_values.c.run_id)))
        assert (await connection.execute(left)).scalar_one() == 1
        await connection.execute(delete(runs))
        await connection.execute(delete(projects))
        assert (await connection.execute(select(func.count()).select_from(fields))).scalar() == 0


async def test_a_run_deleted_while_it_is_indexed_is_left(lab: Lab) -> None:
    project_id = await new_runs(lab.database, 2)
    stale = await Fields(lab.database).stale(project_id)
    async with lab.database.transaction() as connection:
        await connection.execute(delete(runs).where(runs.c.run == "r0"))
    await Fields(lab.database).update(stale)
    assert {run for run, _, _ in await stored(lab.database)} == {"r1"}


async def test_a_project_deleted_while_it_is_indexed_is_left(lab: Lab) -> None:
    class Late(Fields):
        async def _numbers(self, project_id: int, paths: Collection[str]) -> dict[str, int]:
            async with lab.database.transaction() as connection:
                await connection.execute(delete(runs))
                await connection.execute(delete(projects))
            return await super()._numbers(project_id, paths)

    project_id = await new_runs(lab.database, 2)
    await Late(lab.database).update(await Fields(lab.database).stale(project_id))
    assert await stored(lab.database) == {}


async def test_too_much_to_do_is_said_and_what_is_done_stays(lab: Lab) -> None:
    project_id = await new_runs(lab.database, 3 * CHUNK)
    index = Fields(lab.database)
    with pytest.raises(IndexBehindError, match="not ready") as caught:
        await index.catch_up(project_id, patience=-1)
    refusal = refusal_of(caught.value)
    assert refusal is not None
    assert refusal.status == 503
    await index.update((await index.stale(project_id))[:CHUNK])
    assert await index.catch_up(project_id) == 2 * CHUNK


async def test_running_runs_are_indexed_now_and_then_and_ended_ones_at_once(lab: Lab) -> None:
    clock = FakeTime()
    project_id = await new_runs(lab.database, 2, state="running")
    policy = IndexPolicy(every=10)
    indexer = Indexer(Fields(lab.database), policy, clock=clock)
    assert await indexer.turn() == 2
    assert await indexer.turn() == 0
    await change(lab.database, config={"lr": 0.2})
    assert await indexer.turn() == 0
    clock.now += 9
    assert await indexer.turn() == 0
    async with lab.database.transaction() as connection:
        await connection.execute(update(runs).where(runs.c.run == "r0").values(state="finished"))
    assert await indexer.turn() == 1
    assert len(await Fields(lab.database).stale(project_id)) == 1
    clock.now += 1
    assert await indexer.turn() == 1
    assert await Fields(lab.database).stale(project_id) == []


@pytest.fixture
async def client(server: ServerHandle) -> AsyncIterator[Client]:
    async with connect(server) as client:
        yield client


async def test_what_was_acknowledged_is_found(client: Client) -> None:
    await client.send(first_frame(5, config={"lr": 0.1, "net": {"depth": 3}}, tags=["x"]), run="a")
    await client.send(first_frame(9, config={"lr": 0.2}, name="The Second"), run="b")
    await client.send(event_frame(10, {"t": "finish", "exit_code": 0, "at": 1.0}), run="b")

    entity = (await client.get("viewer"))["entity"]

    async def ask(filters: str = "", **query: str) -> list[str]:
        answer = await client.get(f"projects/{entity}/p/runs", filters=filters, **query)
        return [run["id"] for run in answer["runs"]]

    assert await ask('{"config.lr.value": 0.1}') == ["a"]
    assert await ask('{"config.net.depth": {"$lte": 3}, "tags": "x"}') == ["a"]
    assert await ask('{"keys_info.keys.loss": {"$exists": true}}', order="+created_at") == [
        "a",
        "b",
    ]
    assert await ask(order="-summary_metrics.loss") == ["b", "a"]
    assert await ask('{"state": "finished"}') == ["b"]
    assert await ask(order="+created_at", state="running") == ["a"]
    assert await ask(order="+created_at", q="SECOND") == ["b"]
    await client.send(event_frame(6, {"t": "config", "set": {"lr": 5}}), run="a")
    assert await ask('{"config.lr": {"$gt": 1}}') == ["a"]


async def test_pages_and_refusals_over_http(client: Client) -> None:
    for name in ("a", "b", "c"):
        await client.send(first_frame(1, config={"n": name}), run=name)
    path = f"projects/{(await client.get('viewer'))['entity']}/p/runs"
    query = {"order": "-config.n", "limit": "2"}
    page = await client.get(path, **query)
    assert [run["id"] for run in page["runs"]] == ["c", "b"]
    rest = await client.get(path, **query, cursor=page["next"])
    assert ([run["id"] for run in rest["runs"]], rest["next"]) == (["a"], None)
    for bad in ({"filters": "{"}, {"order": "loss"}, {**query, "cursor": "x"}, {"filters": "[]"}):
        async with client.session.get(f"/api/v1/{path}", params=bad) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["code"] == "bad_filter"


async def test_the_server_indexes_by_itself(server: ServerHandle, client: Client) -> None:
    await client.send(first_frame(3, config={"lr": 1}), run="a")

    async def wait(app: web.Application) -> int:
        database = app[STATE].database
        async with asyncio.timeout(20):
            while await Fields(database).stale():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
            return await RunQuery(database).count(1, parse({"config.lr": 1}))

    assert await asyncio.to_thread(server.call, wait) == 1
