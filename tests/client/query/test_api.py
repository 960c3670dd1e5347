"""The query API against a real server: what was logged comes back, through both faces."""

from __future__ import annotations

import base64
import copy
import json
import math
import pickle
import socket
import urllib.request
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aiohttp import web
from sqlalchemy import update

import asyncwb
from asyncwb.apis.public import Api, Project, Run
from asyncwb.errors import (
    ArgumentError,
    AuthenticationError,
    CommError,
    FilterError,
    LogTypeError,
    NotFoundError,
    RunNotFoundError,
    UsageError,
)
from asyncwb.server.http.state import STATE
from asyncwb.server.store.schema import runs as runs_table
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from asyncwb.wire.query_documents import DOCUMENTS
from tests.fix_server import ServerHandle
from tests.server.ingest_client import event_frame, first_frame, head

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
    assert json.loads(logged.json_config)["lr"] == {"value": 0.1, "desc": None}
    assert logged.summary["train"] == {"loss": 0.5, "ok": True}
    assert logged.summary["n"] == logged.summary.n == logged.lastHistoryStep == 9
    assert logged.history_line_count == logged.historyLineCount == 10
    assert logged.history_keys["lastStep"] == 9
    assert "loss" in logged.history_keys["keys"]
    assert pd.Timestamp(logged.created_at) <= pd.Timestamp(logged.heartbeat_at)
    metadata = logged.metadata
    assert metadata is not None
    assert metadata["host"] == socket.gethostname()
    assert logged.user is not None
    assert logged.user.username == entity
    assert base64.b64decode(logged.storage_id).startswith(b"Run:")
    assert (logged.snake_to_camel("history_line_count"), logged.read_only) == (
        "historyLineCount",
        False,
    )
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = logged.no_such_thing
    with pytest.warns(DeprecationWarning, match="entity"):
        assert logged.username == entity
    logged.wait_until_finished()


def test_a_run_shows_itself_in_a_notebook_only(logged: Run) -> None:
    shown = logged.to_html(height=300)
    assert f'src="{logged.url}?jupyter=true"' in shown
    assert "height:300px" in shown
    assert "<button" not in shown
    assert logged.to_html(hidden=True).startswith("<button")
    assert logged.display() is False


def test_paths_and_their_defaults(server: ServerHandle, logged: Run) -> None:
    entity = logged.entity
    api = api_of(server, project="p")
    for path in (f"{entity}/p/r1", f"/{entity}/p/runs/r1", "p/r1", f"{entity}/p:r1", "r1"):
        assert api.run(path).path == logged.path
    assert api_of(server, entity=entity, project="p", run="r1").run().id == "r1"
    with pytest.raises(RunNotFoundError, match=f"Could not find run {entity}/p/none"):
        api.run("p/none")
    with pytest.raises(RunNotFoundError):
        Run(api.client, entity, "p", "none").load()
    assert Run(api.client, entity, "p", "r1").commit is None
    assert isinstance(RunNotFoundError(), ValueError)


def test_what_a_path_means(server: ServerHandle, logged: Run) -> None:
    api = api_of(server)
    entity = logged.entity
    for path in (f"{entity}/p/r1", f"{entity}/p/runs/r1"):
        assert isinstance(run := api.from_path(path), Run)
        assert run.id == "r1"
    for path in ("p", f"{entity}/p"):
        assert isinstance(project := api.from_path(path), Project)
        assert project.path == [entity, "p"]
    with pytest.raises(NotFoundError, match="no project"):
        api.from_path("nowhere")
    with pytest.raises(NotFoundError, match="no report"):
        api.from_path(f"{entity}/p/reports/None--Vm")
    with pytest.raises(NotFoundError, match="sweep"):
        api.from_path(f"{entity}/p/sweeps/s")
    with pytest.raises(UsageError, match="'entity/project'"):
        api.from_path("a/b/c/d/e")


def test_the_same_question_has_the_same_answer_until_a_flush(
    server: ServerHandle, logged: Run
) -> None:
    api = api_of(server)
    run, listed = api.run("p/r1"), api.runs("p", {"state": "finished"})
    assert api.run("p/r1") is run
    assert api.runs("p", {"state": "finished"}) is listed
    assert api.runs("p") is not listed
    assert api.runs("p", {"state": "finished"}, "-created_at") is not listed
    assert api.reports("p") is api.reports("p")
    api.flush()
    assert api.run("p/r1") is not run
    assert api.runs("p", {"state": "finished"}) is not listed


def test_arguments_at_fault_are_said_at_the_call(server: ServerHandle, logged: Run) -> None:
    with pytest.raises(ValueError, match="list of strings"):
        logged.scan_history(keys="loss")
    with pytest.raises(ValueError, match="page_size"):
        logged.scan_history(page_size=0)
    with pytest.raises(ValueError, match="samples"):
        logged.history(samples=0)
    with pytest.raises(ValueError, match="stream"):
        logged.history(stream="other")
    with pytest.raises(ValueError, match="keys"):
        logged.history(stream="system", keys=["loss"])
    with pytest.raises(ValueError, match="not by both"):
        logged.files(["a"], pattern="%")
    api = api_of(server)
    for wrong in ("text", ["a"], {"x": object()}):
        with pytest.raises(ValueError, match="filters"):
            api.runs("p", wrong)  # type: ignore[arg-type]
    for filters in ({"config.lr": {"$near": 1}}, {"$and": 3}):
        with pytest.raises(FilterError):
            len(api.runs("p", filters))
    with pytest.raises(ValueError, match="per_page"):
        api.runs("p", per_page=0)
    for path in (None, 3):
        with pytest.raises(ValueError, match="a path is a text"):
            api.run(path)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="a path is a text"):
            api.from_path(path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="part of dots alone"):
        api.run("me/../r1")
    with pytest.raises(UsageError, match="is a dict"):
        Api(overrides="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_step"):
        logged.scan_history(max_step=2**63)
    with pytest.raises(ValueError, match="names"):
        logged.files([None])  # type: ignore[list-item]
    with pytest.raises(LogTypeError, match="a key of a summary"):
        logged.summary.update({1: 2})  # type: ignore[dict-item]
    with pytest.raises(FilterError) as caught:
        len(api.runs("p", {"config.lr": {"$near": 1}}))
    assert str(caught.value).count("$near") == 1


def test_runs_and_projects_are_lazy_lists(server: ServerHandle) -> None:
    names = [f"r{number}" for number in range(7)]
    for name in names:
        ingest(server, name, first_frame(2, config={"id": name}))
    api = api_of(server)
    runs = api.runs("p", per_page=3)
    assert runs.objects == []
    assert len(runs) == 7
    assert [run.id for run in runs.objects] == names[:3]
    assert [run.id for run in runs] == names
    assert [run.id for run in runs[1:3]] == ["r1", "r2"]
    assert runs[-1].config == {"id": "r6"}
    assert runs.next().id == "r0"
    assert not runs.more
    with pytest.raises(IndexError):
        runs[7]
    assert [run.id for run in api.runs("p", order="-created_at", per_page=3)] == names[::-1]
    (project,) = api.projects()
    assert (project.name, project.path) == ("p", [project.entity, "p"])
    assert project.url == f"{server.url}/{project.entity}/p"
    assert project.owner.username == project.entity
    assert pd.Timestamp(project.created_at) <= pd.Timestamp(runs[0].created_at)
    assert api.project("p").id == project.id
    with pytest.raises(NotFoundError, match="no project"):
        _ = api.project("unknown").id
    assert list(api.projects("no-such-user")) == []
    with pytest.raises(ValueError, match="no project"):
        len(api.runs("unknown"))


def test_runs_are_filtered_and_sorted_by_the_server(server: ServerHandle) -> None:
    for number in range(6):
        config = {"lr": number / 10, "kind": "even" if number % 2 == 0 else "odd"}
        ingest(server, f"r{number}", first_frame(number + 1, config=config, tags=[f"t{number}"]))
    api = api_of(server)

    def found(filters: dict[str, Any], order: str = "+created_at") -> list[str]:
        return [run.id for run in api.runs("p", filters, order, per_page=2)]

    assert found({"config.kind": "odd"}) == ["r1", "r3", "r5"]
    assert found({"config.lr": {"$gte": 0.3}, "config.kind": "odd"}) == ["r3", "r5"]
    assert found({"$or": [{"tags": "t0"}, {"summary_metrics.loss": {"$gt": 4}}]}) == ["r0", "r5"]
    assert found({"config.kind": {"$regex": "^ev"}}, "-summary_metrics.loss") == ["r4", "r2", "r0"]
    assert len(api.runs("p", {"config.kind": "odd"}, per_page=1)) == 3
    assert found({"config.kind": "odd"}, "created_at") == ["r5", "r3", "r1"]
    assert found({"config.kind": "odd"}, "config.lr") == ["r5", "r3", "r1"]


def test_runs_of_sweeps_are_left_out_where_nobody_wants_them(server: ServerHandle) -> None:
    for name in ("alone", "swept"):
        ingest(server, name, first_frame(1))

    async def sweep(app: web.Application) -> None:
        async with app[STATE].database.transaction() as connection:
            swept = update(runs_table).where(runs_table.c.run == "swept").values(sweep="s1")
            await connection.execute(swept)

    server.call(sweep)
    api = api_of(server)
    assert [run.id for run in api.runs("p")] == ["alone", "swept"]
    assert [run.id for run in api.runs("p", include_sweeps=False)] == ["alone"]
    assert len(api.runs("p", {"state": "running"}, include_sweeps=False)) == 1
    run = api.run("p/swept")
    assert run.sweep_name == "s1"
    plain = Run(api.client, run.entity, "p", "swept", include_sweeps=False)
    assert "sweepName" not in plain.load()


@pytest.mark.parametrize("format", ["default", "pandas", "polars"])
def test_the_histories_of_runs_come_together(server: ServerHandle, format: str) -> None:
    for name in ("a", "b"):
        ingest(server, name, first_frame(3))
    runs = api_of(server).runs("p")
    found = runs.histories(samples=2, keys=["loss"], format=format)
    if format == "default":
        assert found == [
            {"_step": step, "loss": step, "run_id": name} for name in "ab" for step in (0, 2)
        ]
    else:
        assert list(found.columns) == ["_step", "loss", "run_id"]
        assert list(found["run_id"]) == ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="format"):
        runs.histories(format="csv")


def test_projects_runs_users_and_teams_are_made(server: ServerHandle) -> None:
    api = api_of(server)
    entity = api.default_entity
    api.create_project("fresh", entity)
    assert [project.name for project in api.projects()] == ["fresh"]
    run = api.create_run(run_id="made", project="fresh")
    assert (run.id, run.project, run.entity) == ("made", "fresh", entity)
    assert api.run("fresh/made").state in ("running", "pending")
    assert len(api.create_run(project="fresh").id) == 8

    user = api.create_user("ann@example.org")
    assert user.email == "ann@example.org"
    found = api.user("ann@example.org")
    assert found is not None
    assert found.username == user.username
    assert api.user("nobody@example.org") is None
    assert [u.username for u in api.users(user.username)] == [user.username]

    team = api.create_team("crew")
    assert [member.username for member in team.members] == [api.viewer.username]
    assert team.invite(user.username)
    assert not team.invite("nobody-at-all")
    machine = team.create_service_account("nightly")
    assert machine is not None
    assert machine.account_type == "SERVICE"
    assert machine.delete()
    assert len(api.team("crew").members) == len(team.members) - 1
    with pytest.raises(NotFoundError, match="team"):
        api.team("none")


def test_the_keys_owner_makes_and_revokes_keys(server: ServerHandle) -> None:
    viewer = api_of(server).viewer
    before = viewer.api_keys
    key = viewer.generate_api_key("for a test")
    assert key is not None
    assert len(key) >= 40
    again = Api({"base_url": server.url}, api_key=key).viewer
    assert again.username == viewer.username
    (name,) = set(again.api_keys) - set(before)
    assert again.delete_api_key(name)
    with pytest.raises(AuthenticationError):
        _ = Api({"base_url": server.url}, api_key=key).viewer
    with pytest.raises(ValueError, match="no API key"):
        again.delete_api_key("none")


def test_what_an_api_says_of_itself(server: ServerHandle) -> None:
    api = api_of(server, project="p")
    assert api.api_key == server.api_key
    assert api.settings == {"entity": None, "project": "p", "run": None, "base_url": server.url}
    assert api.user_agent == f"asyncwb/{asyncwb.__version__}"
    assert api.default_entity == api.viewer.entity
    assert api.viewer.user_api is not None
    for document in (
        Api.CREATE_PROJECT,
        Api.DEFAULT_ENTITY_QUERY,
        Api.USERS_QUERY,
        Api.VIEWER_QUERY,
    ):
        assert document in DOCUMENTS.values()


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
    async with aclosing(aiter(run.scan_history())) as rows:
        async for row in rows:
            assert row["loss"] == 0
            break
    runs = api.runs("p", per_page=1)
    assert await runs.len() == 2
    assert [listed.id async for listed in runs] == ["a", "b"]
    listed = await runs.get(0)
    assert listed.config == {}
    with pytest.raises(UsageError, match="load"):
        _ = listed.history_keys
    await listed.load()
    assert listed.lastHistoryStep == 4
    assert [project.name async for project in api.projects()] == ["p"]
    assert len(await runs.histories(keys=["loss"])) == 7
    project = await api.project("p")
    with pytest.raises(UsageError, match="load"):
        _ = project.created_at
    listed.notes = "changed"
    listed.summary["best"] = 1
    await listed.update()
    api.flush()
    again = await api.run("p/a")
    assert (again.notes, again.summary["best"]) == ("changed", 1)
    assert (await again.metadata or {})["host"] == socket.gethostname()


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
    with pytest.raises(AuthenticationError, match="key") as caught:
        _ = Api({"base_url": server.url}, api_key="x" * 40).viewer
    assert str(caught.value).count("asyncwb login") == 1
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


def test_a_pickle_has_no_key_and_finds_one_again(
    server: ServerHandle, logged: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = api_of(server)
    run, listed = api.run("p/r1"), api.runs("p")
    assert len(listed) == 1
    run.config["seen"] = True
    written = pickle.dumps((api, run))
    assert server.api_key.encode() not in written
    assert copy.deepcopy(run).summary == run.summary

    bare, _ = pickle.loads(written)
    with pytest.raises(UsageError, match="pickled without it"):
        bare.run("p/r1")
    monkeypatch.setenv("ASYNCWB_API_KEY", server.api_key)
    again, same = pickle.loads(written)
    assert same.config == run.config
    assert same.summary == run.summary
    assert len(same.history(pandas=False)) == len(run.history(pandas=False))
    assert again.run("p/r1").path == run.path


def test_a_list_can_be_loaded_whole(server: ServerHandle) -> None:
    for name in ("a", "b", "c"):
        ingest(server, name, first_frame(3))
    api = api_of(server)
    eager = api.runs("p", lazy=False)
    assert [run.lastHistoryStep for run in eager] == [2, 2, 2]
    runs = api.runs("p", per_page=2)
    assert runs is not eager
    first = runs[0]
    runs.upgrade_to_full()
    ingest(server, "a", event_frame(4, {"t": "finish", "exit_code": 3, "at": 1.0}))
    with server.statements() as server_asked:
        assert [run.lastHistoryStep for run in runs.objects] == [2, 2]
        assert first.exit_code is None
    assert not server_asked, "all of it was loaded"
    assert [run.lastHistoryStep for run in runs] == [2, 2, 2]
    assert first.load_full_data(force=True)["state"] == "failed"
    assert first.exit_code == 3


def test_a_run_object_has_a_folder_and_another_id(server: ServerHandle) -> None:
    for name in ("a", "b"):
        ingest(server, name, first_frame(1, config={"which": name}))
    run = api_of(server).run("p/a")
    assert run.sweep_name is None
    assert Path(run.dir).is_dir()
    assert run.dir == run.dir
    run.id = "b"
    assert (run.path[-1], run.config) == ("b", {"which": "b"})
    with pytest.raises(ValueError, match="no run's id"):
        run.id = "a/b"
    run.id = "none"
    with pytest.raises(RunNotFoundError):
        _ = run.state
    Path(run.dir).rmdir()


@pytest.mark.anyio
async def test_the_async_list_can_be_loaded_whole(server: ServerHandle) -> None:
    for name in ("a", "b"):
        ingest(server, name, first_frame(3))
    api = asyncwb.AsyncApi({"base_url": server.url}, api_key=server.api_key)
    runs = api.runs("p", per_page=1)
    run = await runs.get(0)
    with pytest.raises(UsageError, match="was not loaded whole"):
        _ = run.lastHistoryStep
    await runs.upgrade_to_full()
    assert [run.lastHistoryStep async for run in runs] == [2, 2]


def test_an_argument_at_fault_is_an_error_of_ours_and_a_value_error(server: ServerHandle) -> None:
    api = api_of(server)
    odd: Any = 5
    for call in (
        *(partial(api.from_path, path) for path in ("a//b", "..", odd, "a/b/c/d/e", "a/b/odd/c")),
        *(partial(of, "a//b") for of in (api.run, api.runs, api.sweep, api.reports)),
        lambda: api.runs("p", odd),
        lambda: api.runs("p", per_page=0),
        lambda: asyncwb.Api(odd),
        lambda: asyncwb.init(tags=[""], mode="disabled"),
        lambda: asyncwb.init(reinit="odd", mode="disabled"),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert isinstance(caught.value, asyncwb.Error)
        assert isinstance(caught.value, ValueError)
