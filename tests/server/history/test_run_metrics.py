"""The names of what can be drawn of a run, in the order in which the page shows them."""

from __future__ import annotations

import pytest
from aiohttp import web
from sqlalchemy import update

from asyncwb.server.history.run_metrics import KEPT
from asyncwb.server.http.state import STATE
from asyncwb.server.store.schema import runs
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.values import dumps, loads
from tests.fix_server import ServerHandle, both_databases
from tests.server.history_lab import Row, table_of
from tests.server.ingest_client import connect, head, rows, start_event
from tests.wire.summary.test_fold import version_2

pytestmark = [pytest.mark.anyio, both_databases]

ROWS: list[Row] = [
    (0, {"loss": 1.5, "b/n10": 1, "flag": True, "note": "text", "": 2.0, "_own": 1}),
    (1, {"loss": 0.5, "b/n9": 2.5, "secret/a": 1, "both": 1}),
    (2, {"both": "text"}),
]


async def test_what_can_be_drawn_comes_in_order_the_first_of_it_alone_if_wanted(
    server: ServerHandle,
) -> None:
    async with connect(server) as client:
        hide = {"t": "metric", "name": "secret/*", "hidden": True}
        events = [(0, start_event()), (0, hide), (0, {"t": "summary", "set": {"by hand": 3}})]
        answer = await client.send(frames.encode(0, table_of(ROWS), events))
        run = f"runs/{answer['run']}"
        keys, counts = ["", "both", "flag", "loss", "b/n9", "b/n10"], [1, 2, 1, 2, 1, 1]
        for first in (1, 5, 6, 7):
            found = await client.get(f"{run}/metrics", first=first)
            assert found == {"key": keys[:first], "count": counts[:first], "total": 6}
        assert await client.get(f"{run}/metrics") == {"key": keys, "count": counts, "total": 6}
        assert await client.get(f"{run}/metrics", first=2) == {
            "key": keys[:2],
            "count": counts[:2],
            "total": 6,
        }

        whole = {metric["key"]: metric for metric in (await client.get(run))["metrics"]}
        assert [whole[key]["count"] for key in keys] == counts
        assert "metrics" not in await client.get(run, metrics="none")
        for address, status in ((f"{run}x/metrics", 404), (f"{run}/metrics?first=0", 400)):
            async with client.session.get(f"/api/v1/{address}") as refused:
                assert refused.status == status


async def test_a_run_without_rows_has_none(server: ServerHandle) -> None:
    async with connect(server) as client:
        answer = await client.send(frames.encode(0, table_of([]), [(0, start_event())]))
        found = await client.get(f"runs/{answer['run']}/metrics", first=3)
        assert found == {"key": [], "count": [], "total": 0}


async def test_they_are_read_once_a_version(server: ServerHandle) -> None:
    async with connect(server) as client:
        answer = await client.send(frames.encode(0, table_of(ROWS), [(0, start_event())]))
        run = f"runs/{answer['run']}/metrics"
        before = await client.get(run)
        with server.statements() as asked:
            assert await client.get(run) == before
        assert not [one for one in asked if "fold" in one]
        await client.post([(head(), [frames.encode(4, rows(3, 2), [])])])
        after = await client.get(run)
        assert after["key"] == before["key"], "of the same keys"
        assert after["count"][after["key"].index("loss")] == 4
        await client.post([(head(), [frames.encode(6, table_of([(9, {"a": 1})]), [])])])
        assert (await client.get(run))["total"] == 1 + before["total"]


async def test_a_fold_that_an_older_release_stored_is_read_and_gone_on_with(
    server: ServerHandle,
) -> None:
    async with connect(server) as client:
        answer = await client.send(frames.encode(0, table_of(ROWS), [(0, start_event())]))
        run = f"runs/{answer['run']}"
        state = loads((await client.get(run, fold="true"))["fold"])
        newer = await client.get(f"{run}/metrics")
        older = {"fold": dumps(version_2(state)).decode(), "version": runs.c.version + 1}

        async def go_back(app: web.Application) -> None:
            async with app[STATE].database.transaction() as connection:
                await connection.execute(update(runs).values(older))

        server.call(go_back)
        assert await client.get(f"{run}/metrics") == newer
        assert loads((await client.get(run, fold="true"))["fold"])["v"] == 2
        await client.post([(head(), [frames.encode(4, rows(3, 2), [])])])
        assert loads((await client.get(run, fold="true"))["fold"])["v"] == 3
        after = await client.get(f"{run}/metrics")
        assert after["count"][after["key"].index("loss")] == 4


async def test_what_is_kept_is_bounded(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwb.server.history.run_metrics._KEPT", 10)
    async with connect(server) as client:
        answer = await client.send(frames.encode(0, table_of(ROWS), [(0, start_event())]))
        entity = answer["run"].split("/")[0]
        for name in ("r2", "r3"):
            frame = frames.encode(0, table_of(ROWS), [(0, start_event())])
            await client.post([(head(run=name), [frame])])
        for name in ("r1", "r2", "r3"):
            assert (await client.get(f"runs/{entity}/p/{name}/metrics"))["total"] > 0
    assert len(server.app[KEPT].runs) == 1
