from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from asyncwb.engine.uplink.http import Http, Reply
from asyncwb.errors import AuthenticationError, NotFoundError
from asyncwb.importers import wandb_server
from asyncwb.importers.importing import ImportResult, import_runs
from asyncwb.importers.items import Row
from asyncwb.importers.target import Target, until_answered
from asyncwb.importers.wandb_logs import find_runs
from asyncwb.importers.wandb_server import WandbServer
from asyncwb.wire.paths import RunPath
from tests.fix_server import ServerHandle
from tests.importers import lab as lab

pytestmark = pytest.mark.anyio


def write_runs(folder: Path) -> None:
    """Two runs: one of dense rows, one whose steps lie far apart."""
    dense = [
        lab.history_record(step, {"loss": step / 2, "n|a": step, "d.k": 1}) for step in range(300)
    ]
    sparse = [lab.history_record(step, {"x": step}) for step in (0, 5, 70_000, 10**9)]
    first = [
        lab.run_record("one", name="first", tags=["t"], notes="n", config={"lr": 0.1}),
        lab.metric_record("loss", 2),
        *dense,
        lab.history_record(300, {"nan": math.nan}),
        lab.summary_record(
            {"loss": {"max": 149.5}, "n|a": 299, "d.k": 1, "hand": "set", "nan": math.nan}
        ),
        lab.exit_record(0),
    ]
    second = [lab.run_record("two", at=lab.START + 9), *sparse, lab.exit_record(2)]
    for name, records in (("one", first), ("two", second)):
        path = lab.write_log(folder / f"run-{name}", records)
        (path.parent / "files" / f"{name}.txt").write_text(f"of {name}")


@asynccontextmanager
async def origin_of(server: ServerHandle, key: str | None = None) -> AsyncIterator[WandbServer]:
    """Connect to a server as one to import from."""
    http = Http(20.0)
    try:
        yield WandbServer(http, server.url, key or server.api_key, patience=5.0)
    finally:
        await http.close()


async def copy(
    origin: WandbServer, target: Target, filters: str | None = None, into: str = "copies"
) -> list[ImportResult]:
    owner = await target.owner(None)
    runs = origin.runs(owner, "mnist", filters, into=(None, into))
    return await import_runs(runs, target, jobs=2, report=lambda _: None)


async def test_runs_of_a_server_come_over_whole_and_once(
    server: ServerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_server, "_ROWS", 64)
    monkeypatch.setattr(wandb_server, "_RUNS_A_PAGE", 1)
    write_runs(tmp_path / "logs")
    async with lab.target_of(server) as target, origin_of(server) as origin:
        sources, _ = find_runs([tmp_path / "logs"], entity=None, project=None)
        assert not [r.error for r in await lab.bring(target, *sources) if r.error]
        results = await copy(origin, target)
        again = await copy(origin, target)
        assert [r.error for r in results] == [None, None]
        assert sorted(r.rows for r in results) == [4, 301]
        assert [(r.rows, r.files) for r in again] == [(0, 0), (0, 0)]
        owner = await target.owner(None)
        for name in ("one", "two"):
            there = RunPath(owner, "mnist", name)
            here = RunPath(owner, "copies", name)
            await _compare(target, there, here)


async def _compare(target: Target, there: RunPath, here: RunPath) -> None:
    one, other = await target.info(there), await target.info(here)
    assert one is not None
    assert other is not None
    for name in ("name", "tags", "notes", "state", "rows", "last_step"):
        assert other[name] == one[name], name
    assert _plain(other["config"]) == _plain(one["config"])
    assert _plain(other["summary"]) == _plain(one["summary"])
    rows, expected = await lab.history_of(target, here), await lab.history_of(target, there)
    assert [json.dumps(row, sort_keys=True) for row in rows] == [
        json.dumps(row, sort_keys=True) for row in expected
    ]
    http = Http(20.0)
    try:
        url = f"{target.address.url}/files/{here}/{here.run}.txt"
        reply = await http.request("GET", url, key=target.address.key)
    finally:
        await http.close()
    assert reply.body.decode() == f"of {here.run}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}


async def test_filters_choose_runs(server: ServerHandle, tmp_path: Path) -> None:
    write_runs(tmp_path / "logs")
    async with lab.target_of(server) as target, origin_of(server) as origin:
        sources, _ = find_runs([tmp_path / "logs"], entity=None, project=None)
        await lab.bring(target, *sources)
        results = await copy(origin, target, json.dumps({"config.lr": 0.1}))
    assert [result.label.rpartition("/")[2] for result in results] == ["one"]


async def test_what_is_not_there_or_not_allowed_is_said(server: ServerHandle) -> None:
    async with lab.target_of(server) as target:
        async with origin_of(server) as origin:
            with pytest.raises(NotFoundError, match="no project"):
                await copy(origin, target)
        async with origin_of(server, key="x" * 40) as stranger:
            with pytest.raises(AuthenticationError):
                await copy(stranger, target)


async def test_a_busy_server_is_asked_again_when_it_says() -> None:
    answers = [Reply(429, {"Retry-After": "0"}, b""), Reply(503, {}, b""), Reply(200, {}, b"{}")]

    async def ask() -> Reply:
        return answers.pop(0)

    assert (await until_answered(ask, 10.0)).status == 200
    answers = [Reply(429, {"Retry-After": "30"}, b"")]
    assert (await until_answered(ask, 1.0)).status == 429


async def test_a_window_whose_rows_are_a_sample_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that gives no more rows than it is asked for, as W&B's does."""
    monkeypatch.setattr(wandb_server, "_ROWS", 8)
    steps = [*range(40), *range(5_000, 5_200), 10**7]
    asked: list[int] = []

    async def graphql(request: web.Request) -> web.Response:
        asking = await request.json()
        said = asking["variables"]
        if "minStep" not in said:
            return web.json_response({"data": {"project": {"run": {"rows": []}}}})
        found = [step for step in steps if said["minStep"] <= step < said["maxStep"]]
        every = max(1, -(-len(found) // said["samples"]))
        rows = [json.dumps({"_step": s, "_timestamp": 1.0, "x": "NaN"}) for s in found[::every]]
        asked.append(len(rows))
        return web.json_response({"data": {"project": {"run": {"rows": rows}}}})

    app = web.Application()
    app.router.add_post("/graphql", graphql)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    http = Http(20.0)
    try:
        server = WandbServer(http, f"http://127.0.0.1:{port}", "k", patience=1.0)
        node = {"name": "r", "historyKeys": {"lastStep": 10**7}}
        run = wandb_server.RemoteRun(server, "e", "p", node, (None, "p"))
        part = wandb_server.RemoteHistory(run, server.url, "e/p/r", node)
        found = [item async for _, items in part.chunks(0, None) for item in items]
    finally:
        await http.close()
        await runner.cleanup()
    rows = [item for item in found if isinstance(item, Row)]
    assert [row.step for row in rows] == steps
    assert all(math.isnan(row.values["x"]) for row in rows)
    assert len(asked) < 120
