"""Sweeps through the query API: what W&B's client made, both faces read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import asyncwb
from asyncwb.apis.public import Api, AsyncApi, AsyncSweep, Run, Sweep, Sweeps
from asyncwb.errors import CommError, FilterError, NotFoundError, UsageError
from tests.fix_server import ServerHandle, both_databases
from tests.server.graphql.asking import data

CONFIG: dict[str, Any] = {
    "method": "grid",
    "name": "search",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.1, 0.2]}, "seed": {"min": 1, "max": 2}},
}
UPSERT = """
mutation (
  $id: ID, $config: String, $project: String, $state: String, $title: String, $about: String
) {
  upsertSweep(
    input: {
      id: $id, config: $config, projectName: $project, state: $state, displayName: $title
      description: $about
    }
  ) { sweep { id name } }
}
"""
RUN = """
mutation ($name: String, $project: String, $sweep: String, $summary: JSONString) {
  upsertBucket(
    input: {
      name: $name, modelName: $project, sweep: $sweep, summaryMetrics: $summary
      host: "h", state: "finished"
    }
  ) { inserted }
}
"""


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWB_DATA_DIR", str(tmp_path / "client"))
    monkeypatch.setenv("ASYNCWB_CONFIG_DIR", str(tmp_path / "config"))


def make(server: ServerHandle, config: Any = CONFIG, **fields: Any) -> dict[str, str]:
    written = None if config is None else yaml.dump(config)
    fields = {"config": written, "project": "p", **fields}
    made: dict[str, str] = data(server, UPSERT, **fields)["upsertSweep"]["sweep"]
    return made


def add_runs(server: ServerHandle, sweep: str | None, **losses: str) -> None:
    for name, summary in losses.items():
        data(server, RUN, name=name, project="p", sweep=sweep, summary=summary)


def api_of(server: ServerHandle, **overrides: str) -> Api:
    return Api({"base_url": server.url, **overrides}, api_key=server.api_key)


def async_api_of(server: ServerHandle) -> AsyncApi:
    return AsyncApi({"base_url": server.url}, api_key=server.api_key)


def searched(server: ServerHandle) -> str:
    """Make a sweep with three runs, and one run without; return the sweep's id."""
    sweep = make(server, about="what we search")["name"]
    losses = {"a": '{"loss": 2}', "b": '{"loss": 1, "acc": 5}', "c": '{"acc": 7}'}
    add_runs(server, sweep, **losses)
    add_runs(server, None, alone='{"loss": 0}')
    return sweep


def check(sweep: Any, server: ServerHandle, entity: str) -> None:
    """See that a loaded sweep of either face says what was sent."""
    name = sweep.id
    assert sweep.path == [entity, "p", name]
    assert (sweep.entity, sweep.project, sweep.name) == (entity, "p", "search")
    assert sweep.url == f"{server.url}/{entity}/p/sweeps/{name}"
    assert sweep.config == CONFIG
    assert (sweep.state, sweep.method, sweep.description) == ("RUNNING", "grid", "what we search")
    assert (sweep.expected_run_count, sweep.run_count, sweep.best_loss) == (4, 3, 1.0)
    assert (sweep.order, sweep.displayName) == ("+summary_metrics.loss", None)
    assert sweep.created_at <= sweep.updated_at
    assert repr(sweep) == f"<Sweep {entity}/p/{name} (RUNNING)>"
    assert repr(sweep.runs) == f"<Runs {entity}/p>"
    assert f'src="{sweep.url}?jupyter=true"' in sweep.to_html(height=300)
    assert sweep._repr_html_() == sweep.to_html()
    assert sweep.display() is False
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = sweep.no_such_thing


@both_databases
def test_a_sweep_is_read(server: ServerHandle) -> None:
    name, api = searched(server), api_of(server, project="p")
    sweep = api.sweep(f"p/{name}")
    check(sweep, server, api.default_entity)
    assert [run.id for run in sweep.runs] == ["a", "b", "c"]
    assert len(sweep.runs) == 3
    assert sweep.runs is sweep.runs
    for path in (name, f"/p/sweeps/{name}", f"{sweep.entity}/p/{name}", f"p/{name}"):
        assert api.sweep(path) is api.sweep(path)
        assert api.sweep(path).path == sweep.path
    assert isinstance(api.from_path(f"{sweep.entity}/p/sweeps/{name}"), Sweep)


@pytest.mark.anyio
@both_databases
async def test_a_sweep_is_read_async(server: ServerHandle) -> None:
    name, api = searched(server), async_api_of(server)
    sweep = await api.sweep(f"p/{name}")
    check(sweep, server, await api.default_entity)
    assert [run.id async for run in sweep.runs] == ["a", "b", "c"]
    best = await sweep.best_run()
    assert best is not None
    assert (best.id, best.summary["loss"]) == ("b", 1)
    project = await api.project("p")
    assert [one.id async for one in project.sweeps()] == [name]
    found = await api.from_path("/".join([*sweep.path[:2], "sweeps", name]))
    assert isinstance(found, AsyncSweep)
    unloaded = AsyncSweep(api.client, sweep.entity, "p", name)
    assert (unloaded.id, unloaded.path) == (name, sweep.path)
    with pytest.raises(UsageError, match=r"await sweep\.load\(\)"):
        _ = unloaded.state
    assert (await unloaded.load())["state"] == unloaded.state == "RUNNING"
    again = await AsyncSweep.get(api, sweep.entity, "p", name)
    assert again is not None
    assert again.config == CONFIG


@both_databases
def test_the_best_run(server: ServerHandle) -> None:
    sweep = api_of(server).sweep(f"p/{searched(server)}")

    def best(order: str | None = None) -> str | None:
        run = sweep.best_run(order)
        return None if run is None else run.id

    assert best() == "b"
    assert best("-summary_metrics.loss") == "a"
    assert best("acc") == best("-acc") == "c"
    assert best("+acc") == "b"
    assert best("-created_at") == "c"
    with pytest.raises(FilterError):
        best("+config.")
    plain = {"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
    other = make(server, plain)
    empty = api_of(server).sweep(f"p/{other['name']}")
    assert (empty.order, empty.best_run(), empty.expected_run_count) == (None, None, None)
    assert (empty.name, empty.state, empty.best_loss) == (empty.id, "PENDING", None)
    add_runs(server, empty.id, first="{}", second="{}")
    newest = empty.best_run()
    assert newest is not None
    assert newest.id == "second"


def test_a_sweep_is_loaded_anew(server: ServerHandle) -> None:
    made = make(server)
    api = api_of(server)
    sweep = api.sweep(f"p/{made['name']}")
    maximize = {**CONFIG, "metric": {"name": "val.acc", "goal": "maximize"}}
    make(server, maximize, id=made["id"], state="CANCELED", title="Renamed")
    assert (sweep.state, sweep.name) == ("PENDING", "search")
    assert sweep.load()["state"] == "PENDING"
    assert sweep.load(force=True)["state"] == "CANCELED"
    assert (sweep.name, sweep.order) == ("Renamed", "-summary_metrics.val.acc")
    add_runs(server, sweep.id, late="{}")
    assert len(sweep.runs) == 1
    assert api.sweep(f"p/{sweep.id}") is sweep
    api.flush()
    assert api.sweep(f"p/{sweep.id}") is not sweep


def test_a_sweep_is_got_by_its_names(server: ServerHandle) -> None:
    name, api = searched(server), api_of(server, project="p")
    sweep = Sweep.get(api, sid=name, order="-created_at")
    assert sweep is not None
    assert [run.id for run in sweep.runs] == ["c", "b", "a"]
    assert Sweep.get(api, project="elsewhere", sid=name) is None
    assert Sweep.get(api, "no-such-user", "p", name) is None
    with pytest.raises(UsageError, match="sid"):
        Sweep.get(api)


def test_sweeps_are_a_lazy_list(server: ServerHandle) -> None:
    names = [make(server)["name"] for _ in range(3)]
    sweeps = api_of(server).project("p").sweeps(per_page=2)
    assert isinstance(sweeps, Sweeps)
    assert len(sweeps) == 3
    assert len(sweeps.objects) == 2
    assert [sweep.id for sweep in sweeps] == names[::-1]
    assert sweeps[0].config == CONFIG
    for order, found in (("+created_at", names), ("created_at", names[::-1])):
        assert [s.id for s in api_of(server).project("p").sweeps(order=order)] == found
    assert repr(sweeps).startswith("<Sweeps ")
    with pytest.raises(ValueError, match="per_page"):
        api_of(server).project("p").sweeps(per_page=0)
    with pytest.raises(FilterError, match="does not filter sweeps"):
        len(api_of(server).project("p").sweeps(filters={"state": "RUNNING"}))
    with pytest.raises(NotFoundError, match="nothing"):
        len(api_of(server).project("nothing").sweeps())


def test_a_run_knows_its_sweep(server: ServerHandle) -> None:
    name, api = searched(server), api_of(server)
    run = api.run("p/a")
    assert run.sweep_name == run.sweep.id == name
    assert run.sweep is run.sweep
    assert run.sweep.config == CONFIG
    assert api.run("p/alone").sweep is None
    assert [run.sweep and run.sweep.id for run in api.runs("p")] == [name, name, name, None]
    assert Run(api.client, run.entity, "p", "a", include_sweeps=False).sweep is None
    assert [run.id for run in api.runs("p", include_sweeps=False)] == ["alone"]
    assert len(api.runs("p", {"sweep": name})) == 3


@pytest.mark.anyio
async def test_a_run_knows_its_sweep_async(server: ServerHandle) -> None:
    name = searched(server)
    run = await async_api_of(server).run("p/a")
    assert isinstance(run.sweep, AsyncSweep)
    assert (await run.sweep.load())["name"] == name


def test_what_is_wrong_is_said(server: ServerHandle) -> None:
    api = api_of(server)
    name = make(server)["name"]
    for path in ("", "/", "a/b/c/d", "e/p/runs/x", "e/p/sweeps/x/y"):
        with pytest.raises(ValueError, match="path"):
            api.sweep(path)
    for path in ("p/nothing", f"elsewhere/{name}", f"no-such-user/p/{name}"):
        with pytest.raises(NotFoundError, match="Could not find sweep") as caught:
            api.sweep(path)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, CommError)
    sweep = api.sweep(f"p/{name}")
    for missing in ("agents", "agent", "enqueue_run"):
        assert not hasattr(sweep, missing)
    assert asyncwb.apis.public.Sweep is Sweep
