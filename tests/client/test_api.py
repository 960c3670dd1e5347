"""The query API against a real server: what was logged comes back, through both faces."""

from __future__ import annotations

import json
import math
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import asyncwb
from asyncwb.apis.public import Api, Run
from asyncwb.errors import (
    AuthenticationError,
    CommError,
    RunNotFoundError,
    UnsupportedError,
    UsageError,
)
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from tests.fix_server import ServerHandle
from tests.server.ingest_client import event_frame, first_frame, head

pd = pytest.importorskip("pandas")

NESTED = {"train": {"loss": 0.5, "ok": True}, "lr.base": 1}


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWB_DATA_DIR", str(tmp_path / "client"))
    monkeypatch.setenv("ASYNCWB_CONFIG_DIR", str(tmp_path / "config"))


def ingest(server: ServerHandle, run: str, *frames: bytes) -> None:
    request = urllib.request.Request(
        f"{server.url}/api/v1/ingest",
        data=encode_batch([(head(run=run), frames)]),
        headers={**server.headers, "Content-Type": CONTENT_TYPE},
    )
    with urllib.request.urlopen(request) as answer:
        assert "error" not in json.loads(answer.read())["streams"][0]


def settings_of(server: ServerHandle) -> dict[str, Any]:
    return {"base_url": server.url, "api_key": server.api_key}


def api_of(server: ServerHandle, **overrides: str) -> Api:
    return Api({"base_url": server.url, **overrides}, api_key=server.api_key)


@pytest.fixture
def logged(server: ServerHandle) -> Run:
    """A finished run of ten rows, of which every other one has `val`."""
    arguments: dict[str, Any] = {"tags": ["x"], "notes": "n", "group": "g", "job_type": "train"}
    with asyncwb.init(
        project="p", id="r1", config={"lr": 0.1}, settings=settings_of(server), **arguments
    ) as run:
        for step in range(10):
            row: dict[str, Any] = {"loss": 1.0 / (step + 1), "n": step, **NESTED}
            if step % 2:
                row["val"] = math.nan if step == 3 else step
            run.log(row)
    return api_of(server).run("p/r1")


def test_a_run_has_its_attributes(server: ServerHandle, logged: Run) -> None:
    entity = logged.entity
    assert logged.path == [entity, "p", "r1"]
    assert logged.url == f"{server.url}/{entity}/p/runs/r1"
    assert (logged.state, logged.exit_code, logged.lost) == ("finished", 0, 0)
    assert (logged.tags, logged.notes) == (["x"], "n")
    assert (logged.group, logged.job_type) == ("g", "train")
    assert logged.config == {"lr": 0.1}
    assert logged.summary["train"] == {"loss": 0.5, "ok": True}
    assert logged.summary["n"] == logged.lastHistoryStep == 9
    assert logged.history_keys["keys"]["lr.base"] == {
        "typeCounts": [{"type": "number", "count": 10}]
    }
    assert pd.Timestamp(logged.created_at) <= pd.Timestamp(logged.heartbeat_at)
    assert logged.metadata["host"] == socket.gethostname()
    logged.wait_until_finished()


def test_paths_and_their_defaults(server: ServerHandle, logged: Run) -> None:
    entity = logged.entity
    api = api_of(server, project="p")
    for path in (f"{entity}/p/r1", f"/{entity}/p/runs/r1", "p/r1", f"{entity}/p:r1", "r1"):
        assert api.run(path).path == logged.path
    assert api_of(server, entity=entity, project="p", run="r1").run().id == "r1"
    with pytest.raises(RunNotFoundError, match="Could not find run p/none"):
        api.run("p/none")
    assert isinstance(RunNotFoundError(), ValueError)


def test_history_is_a_data_frame_or_rows(logged: Run) -> None:
    frame = logged.history()
    assert isinstance(frame, pd.DataFrame)
    assert frame["_step"].tolist() == list(range(10))
    assert frame["loss"].tolist() == [1.0 / (step + 1) for step in range(10)]
    assert {str(frame[key].dtype) for key in ("n", "lr.base")} == {"int64"}
    assert str(frame["train.ok"].dtype) == "bool"
    assert list(frame.columns) == [
        *("_step", "_timestamp", "_runtime"),
        *("loss", "lr.base", "n", "train.loss", "train.ok", "val"),
    ]
    assert frame["val"].isna().sum() == 6

    rows = logged.history(pandas=False, keys=["val", "train.loss"])
    assert [row["_step"] for row in rows] == [1, 3, 5, 7, 9]
    assert rows[0] == {"_step": 1, "val": 1, "train.loss": 0.5}
    assert math.isnan(rows[1]["val"])
    assert [row["_step"] for row in logged.history(3, pandas=False)] == [0, 4, 9]
    assert logged.history(2, keys=["n", "val"], x_axis="loss")["n"].tolist() == [1, 9]
    assert logged.history(keys=["absent"]).empty


def test_a_scan_gives_every_row_of_a_range(logged: Run) -> None:
    scan = logged.scan_history(page_size=3)
    rows = list(scan)
    assert [row["_step"] for row in rows] == list(range(10)) == [row["n"] for row in scan]
    assert "val" not in rows[0]
    assert rows[1]["val"] == 1
    assert type(rows[1]["val"]) is int
    assert rows[0]["lr.base"] == 1
    assert rows[0]["train.ok"] is True
    assert list(logged.scan_history(keys=["val", "n"], min_step=3, max_step=7))[1:] == [
        {"val": 5, "n": 5}
    ]
    assert list(logged.scan_history(keys=["_step"], max_step=2)) == [{"_step": 0}, {"_step": 1}]
    many = ["n", *(f"{number:0200}" for number in range(200))]
    assert logged.history(keys=many, pandas=False) == []
    assert next(scan) == rows[0]
    assert next(scan) == rows[1]


def test_arguments_at_fault_are_said_at_the_call(logged: Run) -> None:
    with pytest.raises(ValueError, match="list of strings"):
        logged.scan_history(keys="loss")
    with pytest.raises(ValueError, match="page_size"):
        logged.scan_history(page_size=0)
    with pytest.raises(ValueError, match="samples"):
        logged.history(samples=0)
    with pytest.raises(UnsupportedError, match="system"):
        logged.history(stream="system")


def test_runs_and_projects_are_lazy_lists(server: ServerHandle) -> None:
    names = [f"r{number}" for number in range(7)]
    for name in names:
        ingest(server, name, first_frame(2, config={"id": name}))
    runs = api_of(server).runs("p", per_page=3)
    assert runs.objects == []
    assert runs[0].id == "r6"
    assert len(runs.objects) == 3
    assert [run.id for run in runs] == names[::-1]
    assert len(runs) == 7
    assert [run.id for run in runs[1:3]] == ["r5", "r4"]
    assert runs[-1].config == {"id": "r0"}
    assert runs.next().id == "r6"
    with pytest.raises(IndexError):
        runs[7]
    (project,) = api_of(server).projects()
    assert (project.name, project.run_count, project.running) == ("p", 7, 7)
    assert project.url == f"{server.url}/{project.entity}/p"
    assert list(api_of(server).projects("nobody")) == []
    with pytest.raises(ValueError, match="no project"):
        len(api_of(server).runs("unknown"))


@pytest.mark.anyio
async def test_the_async_face_does_the_same(server: ServerHandle) -> None:
    async with asyncwb.init_async(project="p", id="a", settings=settings_of(server)) as live:
        for step in range(5):
            await live.log({"loss": step / 2})
    ingest(server, "b", first_frame(2))
    api = asyncwb.AsyncApi({"base_url": server.url}, api_key=server.api_key)
    assert (await api.viewer).admin
    run = await api.run("p/a")
    assert (await run.history(keys=["loss"]))["loss"].tolist() == [0, 0.5, 1, 1.5, 2]
    assert [row["_step"] async for row in run.scan_history(min_step=1)] == [1, 2, 3, 4]
    async for row in run.scan_history():
        assert row["loss"] == 0
        break
    runs = api.runs("p", per_page=1)
    assert [listed.id async for listed in runs] == ["b", "a"]
    assert await runs.len() == 2
    listed = await runs.get(0)
    with pytest.raises(UsageError, match="load"):
        _ = listed.config
    await listed.load()
    assert listed.config == {}
    assert [project.name async for project in api.projects()] == ["p"]


@pytest.mark.anyio
async def test_waiting_ends_with_the_run(server: ServerHandle) -> None:
    ingest(server, "r1", first_frame(2))
    api = asyncwb.AsyncApi({"base_url": server.url}, api_key=server.api_key)
    run = await api.run("p/r1")
    assert run.state == "running"
    ingest(server, "r1", event_frame(3, {"t": "finish", "exit_code": 3, "at": 1.0}))
    await run.wait_until_finished()
    assert (run.state, run.exit_code) == ("failed", 3)


def test_what_is_wrong_is_said(server: ServerHandle) -> None:
    with pytest.raises(UsageError, match="No API key configured"):
        Api({"base_url": "http://example.invalid"})
    with pytest.raises(UsageError, match="takes base_url, entity, project, run"):
        Api({"projct": "p"})
    with pytest.raises(AuthenticationError, match="key"):
        _ = Api({"base_url": server.url}, api_key="x" * 40).viewer
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CommError, match=r"within 0\.2 s"):
            _ = Api({"base_url": url}, timeout=0.2, api_key="k").viewer
    with pytest.raises(CommError, match="no answer"):
        _ = Api({"base_url": url}, api_key="k").viewer


def test_a_server_that_moved_is_found_again(
    start_server: Callable[..., ServerHandle], tmp_path: Path
) -> None:
    """As the embedded server does when it stops idle and is started again on another port."""
    folder = tmp_path / "client" / "server"
    server = start_server(data=folder)

    def announce() -> None:
        announced = {"url": server.url, "pid": 1, "version": "0", "started_at": 0.0}
        (folder / "server.json").write_text(json.dumps(announced))

    announce()
    ingest(server, "r1", first_frame(5))
    run = Api().run("p/r1")
    server.stop()
    server.start()
    announce()
    assert [row["loss"] for row in run.scan_history()] == [0, 1, 2, 3, 4]
