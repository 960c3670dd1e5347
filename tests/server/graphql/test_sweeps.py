"""Sweeps over GraphQL, as W&B's clients make, change and read them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from aiohttp import web

from asyncwb.server.graphql.execution import ids
from asyncwb.server.http.state import STATE
from asyncwb.server.runs.sweep_config import MAX_TEXT
from tests.fix_people import TEAM, People
from tests.fix_server import both_databases
from tests.server.graphql.asking import ask, codes, data

UPSERT = """
mutation (
  $id: ID, $config: String, $description: String, $displayName: String, $entity: String
  $project: String, $state: String, $prior: JSONString, $controller: JSONString
  $launchScheduler: JSONString, $templates: JSONString
) {
  upsertSweep(
    input: {
      id: $id, config: $config, description: $description, displayName: $displayName
      entityName: $entity, projectName: $project, state: $state, priorRunsFilters: $prior
      controller: $controller, launchScheduler: $launchScheduler
      templateVariableValues: $templates
    }
  ) {
    sweep { id name project { id name entity { id name } } }
    configValidationWarnings
  }
}
"""
READ = """
query ($project: String, $sweep: String!) {
  project(entityName: "lab", name: $project) {
    sweep(sweepName: $sweep) {
      __typename id name displayName title method state description bestLoss config
      metric varied
      createdAt updatedAt heartbeatAt runCount runCountExpected earlyStopJobRunning
      controller scheduler controllerRunName user { username }
      runs(order: "+summary_metrics.loss", first: 2) {
        edges { node { name sweepName } } pageInfo { hasNextPage } totalCount
      }
    }
  }
}
"""
LIST = """
query ($project: String, $first: Int = 2, $after: String, $order: String, $filters: JSONString) {
  project(entityName: "lab", name: $project) {
    totalSweeps
    sweeps(first: $first, after: $after, order: $order, filters: $filters) {
      edges { node { name } cursor } pageInfo { endCursor hasNextPage }
    }
  }
}
"""
RUN = """
mutation ($project: String, $name: String, $sweep: String, $summary: JSONString, $host: String) {
  upsertBucket(
    input: {
      entityName: "lab", modelName: $project, name: $name, sweep: $sweep, host: $host
      summaryMetrics: $summary
    }
  ) {
    inserted
    bucket { id sweepName sweep { name state runCount } }
  }
}
"""
GRID = {
    "method": "grid",
    "metric": {"name": "loss"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}, "depth": {"min": 2, "max": 5}},
}


def config_of(**more: Any) -> str:
    text: str = yaml.dump({**GRID, **more})
    return text


def make(people: People, role: str = "member", /, **fields: Any) -> dict[str, Any]:
    fields = {"entity": TEAM, "config": config_of(), **fields}
    made: dict[str, Any] = data(people.server, UPSERT, people.headers(role), **fields)
    sweep: dict[str, Any] = made["upsertSweep"]["sweep"]
    return {**sweep, "warnings": made["upsertSweep"]["configValidationWarnings"]}


def read(people: People, project: str, sweep: str) -> dict[str, Any] | None:
    found = data(people.server, READ, people.headers("viewer"), project=project, sweep=sweep)
    answer: dict[str, Any] | None = found["project"]["sweep"]
    return answer


def add_run(
    people: People, project: str, name: str, sweep: str | None, loss: float | None = None
) -> dict[str, Any]:
    summary = "{}" if loss is None else json.dumps({"loss": loss})
    variables = {"project": project, "name": name, "sweep": sweep, "summary": summary}
    found = data(people.server, RUN, people.headers("member"), host="h", **variables)
    bucket: dict[str, Any] = found["upsertBucket"]["bucket"]
    return bucket


@both_databases
def test_a_sweep_is_made_run_changed_and_read(people: People) -> None:
    project = people.project()
    made = make(people, project=project, description="d", templates="null")
    name = made["name"]
    assert len(name) == 8
    assert made["warnings"] == []
    assert made["project"]["name"] == project
    assert made["project"]["entity"]["name"] == TEAM
    assert base64.b64decode(made["id"]).decode() == f"Sweep:v1:{name}:{project}:{TEAM}"
    fresh = read(people, project, name)
    assert fresh is not None
    assert (fresh["state"], fresh["method"], fresh["description"]) == ("PENDING", "grid", "d")
    assert (fresh["runCount"], fresh["runCountExpected"]) == (0, 12)
    assert (fresh["bestLoss"], fresh["heartbeatAt"], fresh["displayName"]) == (None, None, None)
    assert (fresh["controller"], fresh["scheduler"], fresh["controllerRunName"]) == (None,) * 3
    assert (fresh["earlyStopJobRunning"], fresh["user"]) == (False, {"username": "member"})
    assert (fresh["config"], fresh["title"]) == (config_of(), name)
    assert (fresh["metric"], sorted(fresh["varied"])) == ("loss", ["depth", "lr"])

    for run, loss in (("a", 2.5), ("b", 0.5), ("c", None), ("d", 1.5)):
        bucket = add_run(people, project, run, name, loss)
        assert (bucket["sweepName"], bucket["sweep"]["state"]) == (name, "RUNNING")
    add_run(people, project, "alone", None, 0.1)
    full = read(people, project, name)
    assert full is not None
    assert (full["state"], full["runCount"], full["bestLoss"]) == ("RUNNING", 4, 0.5)
    assert full["heartbeatAt"] is not None
    assert [edge["node"]["name"] for edge in full["runs"]["edges"]] == ["b", "d"]
    assert (full["runs"]["totalCount"], full["runs"]["pageInfo"]["hasNextPage"]) == (4, True)

    worse = config_of(metric={"name": "loss", "goal": "maximize"}, run_cap=5, name="named")
    make(people, "manager", id=made["id"], config=worse)
    named = read(people, project, name)
    assert named is not None
    assert (named["title"], named["displayName"]) == ("named", None)
    make(people, id=made["id"], config=None, displayName="Second")
    changed = read(people, project, name)
    assert changed is not None
    assert (changed["bestLoss"], changed["runCountExpected"]) == (2.5, 5)
    assert (changed["title"], changed["displayName"]) == ("Second", "Second")
    assert changed["description"] == "d"
    assert changed["updatedAt"] > fresh["updatedAt"]
    assert changed["user"] == {"username": "member"}
    assert read(people, project, "nothing") is None


def test_how_a_sweep_goes_from_state_to_state(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)
    paused = ask(people.server, UPSERT, id=sweep["id"], state="PAUSED")
    assert codes(paused) == ["bad_state"]
    ways = ["RUNNING", "PAUSED", "PAUSED", "RUNNING", "CANCELED", "RUNNING", "FINISHED", "RUNNING"]
    for state in ways:
        make(people, id=sweep["id"], config=None, state=state)
        found = read(people, project, sweep["name"])
        assert found is not None
        assert found["state"] == state
    make(people, id=sweep["id"], config=None, state="CANCELED")
    for state in ("PAUSED", "FINISHED", "PENDING"):
        answer = ask(people.server, UPSERT, id=sweep["id"], state=state)
        assert codes(answer) == ["bad_state"]
    # A run that begins does not resume what was ended.
    assert add_run(people, project, "late", sweep["name"])["sweep"]["state"] == "CANCELED"


@both_databases
def test_runs_that_were_there_before_can_belong_to_a_sweep(people: People) -> None:
    project = people.project()
    for name in ("a", "b", "c"):
        add_run(people, project, name, None, 1.0)
    prior = json.dumps({"$or": [{"name": "a"}, {"name": "c"}]})
    sweep = make(people, project=project, prior=prior)
    found = read(people, project, sweep["name"])
    assert found is not None
    assert (found["runCount"], found["state"], found["bestLoss"]) == (2, "PENDING", 1.0)
    filtered = """query ($project: String, $filters: JSONString) {
      project(entityName: "lab", name: $project) { runCount(filters: $filters) }
    }"""
    for filters, count in (({"sweep": sweep["name"]}, 2), ({"sweep": None}, 2)):
        variables = {"project": project, "filters": json.dumps(filters)}
        answer = data(people.server, filtered, people.headers("viewer"), **variables)
        assert answer["project"]["runCount"] == count, filters
    add_run(people, project, "later", sweep["name"])
    older = """query ($project: String, $sweep: String!) {
      project(entityName: "lab", name: $project) {
        sweep(sweepName: $sweep) { runs { totalCount } priorRuns { edges { node { name } } } }
      }
    }"""
    answer = data(people.server, older, project=project, sweep=sweep["name"])
    prior_runs = answer["project"]["sweep"]["priorRuns"]["edges"]
    assert [edge["node"]["name"] for edge in prior_runs] == ["a", "c"]
    assert answer["project"]["sweep"]["runs"]["totalCount"] == 3


@both_databases
def test_sweeps_are_listed_in_pages(people: People) -> None:
    project = people.project()
    names = [make(people, project=project)["name"] for _ in range(3)]

    def page(**variables: Any) -> tuple[list[str], str | None]:
        variables = {"project": project, **variables}
        found = data(people.server, LIST, people.headers("viewer"), **variables)["project"]
        info = found["sweeps"]["pageInfo"]
        shown = [edge["node"]["name"] for edge in found["sweeps"]["edges"]]
        return shown, info["endCursor"] if info["hasNextPage"] else None

    first, cursor = page()
    assert first == [names[2], names[1]]
    new = make(people, project=project)["name"]
    assert page(after=cursor, filters="{}") == ([names[0]], None)
    assert page(order="+createdAt", first=4) == ([*names, new], None)
    for variables, code in (
        ({"after": ids.encode("View", 1)}, "bad_cursor"),
        ({"after": cursor, "order": "+created_at"}, "bad_cursor"),
        ({"order": "+name"}, "bad_filter"),
        ({"order": "+nothing"}, "bad_filter"),
        ({"filters": '{"state": "RUNNING"}'}, "bad_filter"),
    ):
        answer = ask(people.server, LIST, people.headers("viewer"), project=project, **variables)
        assert codes(answer) == [code], variables


def test_a_project_is_made_for_a_sweep(people: People) -> None:
    made = make(people, project=people.unique("fresh"))
    assert made["project"]["entity"]["name"] == TEAM
    own = make(people, entity=None)["project"]
    assert (own["name"], own["entity"]["name"]) == ("uncategorized", "member")


def test_a_project_takes_its_sweeps_along(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)

    async def left(app: web.Application) -> int:
        state = app[STATE]
        return sum([await state.sweeps.count(number) for number in range(1, 100)])

    assert people.server.call(left) == 1
    which = ids.encode("Project", project, TEAM)
    data(people.server, f'mutation {{ deleteModel(input: {{id: "{which}"}}) {{ success }} }}')
    assert people.server.call(left) == 0
    again = ask(people.server, UPSERT, id=sweep["id"], state="RUNNING")
    assert codes(again) == ["project_not_found"]


BOMB = "method: random\na: &a [x, x]\nb: [*a, *a]\n"


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"config": None}, "bad_sweep", "needs a `config`"),
        ({"config": "a: b: c"}, "bad_sweep", "no YAML"),
        ({"config": "- grid"}, "bad_sweep", "no mapping"),
        ({"config": "[" * 100_000}, "bad_sweep", "nested too deeply"),
        ({"config": BOMB}, "bad_sweep", "alias"),
        ({"config": "x" * (MAX_TEXT + 1)}, "bad_sweep", "characters"),
        ({"config": "method: !!python/name:os.system"}, "bad_sweep", "no YAML"),
        ({"config": "method: !!timestamp x"}, "bad_sweep", "no YAML"),
        ({"config": "method: grid\nsince: 2020-01-01"}, "bad_sweep", "JSON"),
        ({"config": "method: grid\n1: 2"}, "bad_sweep", "not text"),
        ({"config": "method: grid\nname: \a"}, "bad_sweep", "no YAML"),
        ({"config": config_of(method="guess")}, "bad_sweep", "method"),
        ({"config": config_of(parameters=[1])}, "bad_sweep", "parameters"),
        ({"config": config_of(metric="loss")}, "bad_sweep", "metric"),
        ({"config": config_of(metric={"name": "x", "goal": "up"})}, "bad_sweep", "goal"),
        ({"config": config_of(metric={"name": "x" * 10_001})}, "bad_sweep", "name"),
        ({"config": config_of(run_cap=0)}, "bad_sweep", "run_cap"),
        ({"config": config_of(name=7)}, "bad_sweep", "name"),
        ({"state": "DONE"}, "bad_sweep", "state"),
        ({"displayName": "x" * 1001}, "bad_request", "display name"),
        ({"project": "a/b"}, "bad_request", "a/b"),
        ({"entity": "no-such-user"}, "forbidden", "write"),
        ({"prior": '{"nothing": 1}'}, "bad_filter", "no field"),
        ({"controller": '{"type": "local"}'}, "not_yet", "controller"),
        ({"launchScheduler": "{}"}, "not_yet", "launch_scheduler"),
        ({"id": "x"}, "bad_id", "Sweep"),
        ({"id": ids.encode("Sweep", "nothing", "nowhere", TEAM)}, "project_not_found", "nowhere"),
    ],
)
def test_what_cannot_be_a_sweep(
    people: People, fields: Mapping[str, Any], code: str, said: str
) -> None:
    where = {"entity": TEAM, "project": "wanted", "config": config_of()}
    answer = ask(people.server, UPSERT, people.headers("member"), **{**where, **fields})
    assert codes(answer) == [code], answer
    assert said in answer["errors"][0]["message"]
    gone = 'query { project(entityName: "lab", name: "wanted") { id } }'
    assert data(people.server, gone, people.headers("member")) == {"project": None}


def test_a_sweep_that_is_not_there(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)["name"]
    elsewhere = people.project()
    for where, name in ((project, "nothing"), (elsewhere, sweep)):
        variables = {"project": where, "name": "new", "sweep": name}
        answer = ask(people.server, RUN, people.headers("member"), **variables)
        assert codes(answer) == ["sweep_not_found"]
        found = """query ($project: String) {
          project(entityName: "lab", name: $project) { run(name: "new") { id } }
        }"""
        assert data(people.server, found, project=where) == {"project": {"run": None}}
    for unknown in ("nothing", "no\0thing"):
        which = ids.encode("Sweep", unknown, project, TEAM)
        answer = ask(people.server, UPSERT, people.headers("member"), id=which, state="PAUSED")
        assert codes(answer) == ["sweep_not_found"]


def test_who_may_make_and_read_sweeps(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)
    for role, code in (("viewer", "forbidden"), ("stranger", "project_not_found")):
        answer = ask(people.server, UPSERT, people.headers(role), id=sweep["id"], state="PAUSED")
        assert codes(answer) == [code]
    hidden = data(
        people.server, READ, people.headers("stranger"), project=project, sweep=sweep["name"]
    )
    assert hidden == {"project": None}


def test_two_who_change_a_sweep_at_once(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)

    async def race(app: web.Application) -> list[str | None]:
        state = app[STATE]
        found = await state.projects.find(TEAM, project)
        assert found is not None
        seen = await state.sweeps.find(found.id, sweep["name"])
        assert seen is not None
        changed = [
            await state.sweeps.change(seen, state.clock(), wanted)
            for wanted in ({"state": "RUNNING"}, {"state": "CANCELED"}, {"description": "d"})
        ]
        return [None if one is None else one.state for one in changed]

    assert people.server.call(race) == ["RUNNING", None, "RUNNING"]


def test_a_summary_that_is_not_finite_is_not_the_best(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)["name"]
    for name, loss in (("a", float("-inf")), ("b", float("nan")), ("c", 3.0)):
        add_run(people, project, name, sweep, loss)
    found = read(people, project, sweep)
    assert found is not None
    assert found["bestLoss"] == 3.0


@both_databases
def test_the_best_run_may_have_a_config_of_very_many_keys(people: People) -> None:
    project = people.project()
    sweep = make(people, project=project)["name"]
    add_run(people, project, "a", sweep, 2.0)
    add_run(people, project, "b", sweep, 1.5)
    wide = json.dumps({f"key{n}": {"value": n} for n in range(21_000)})
    set_config = """
    mutation ($project: String, $config: JSONString) {
      upsertBucket(
        input: {entityName: "lab", modelName: $project, name: "b", config: $config}
      ) { inserted }
    }
    """
    data(people.server, set_config, people.headers("member"), project=project, config=wide)
    found = read(people, project, sweep)
    assert found is not None
    assert found["bestLoss"] == 1.5
