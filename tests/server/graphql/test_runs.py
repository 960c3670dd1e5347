"""Runs over GraphQL: begun, resumed, edited, listed, rewound, stopped, deleted."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select

from asyncwb.server.graphql import ids
from asyncwb.server.objects import OBJECTS
from asyncwb.server.state import STATE
from asyncwb.server.store.schema import alerts
from tests.fix_people import TEAM, People
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.graphql.asking import ask, codes, data
from tests.server.graphql.wandb_client import UPSERT, WandbClient, seal

RUNS = """
query Runs($project: String!, $cursor: String, $first: Int, $order: String, $filters: JSONString) {
  project(name: $project) {
    internalId readOnly runCount(filters: $filters)
    runs(filters: $filters, after: $cursor, first: $first, order: $order) {
      edges {
        node {
          projectId id tags name displayName sweepName state group jobType commit readOnly createdAt
          heartbeatAt description notes historyLineCount user { name username } config
          summaryMetrics systemMetrics historyKeys project { name } sweep { name }
        }
        cursor
      }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""


def test_the_first_upsert_makes_the_project_and_names_the_run(server: ServerHandle) -> None:
    client = WandbClient(server)
    config = {"lr": {"value": 0.1, "desc": None}}
    made = client.upsert(config=config, tags=["a"], notes="n", groupName="g", jobType="j")
    assert made["inserted"] is True
    bucket = made["bucket"]
    assert bucket["displayName"].split("-")[2] == "1"
    assert json.loads(bucket["config"]) == config
    assert bucket["project"]["entity"]["name"] == "root"
    assert (bucket["historyLineCount"], bucket["sweepName"]) == (0, None)
    again = client.upsert(displayName="mine", config={"b": {"value": 2}})
    assert (again["inserted"], again["bucket"]["displayName"]) == (False, "mine")
    found = client.ask("config tags notes group jobType state")
    assert json.loads(found.pop("config")) == {"b": {"value": 2, "desc": None}}
    expected = {"tags": ["a"], "notes": "n", "group": "g", "jobType": "j", "state": "running"}
    assert found == expected
    assert WandbClient(server, "r2").upsert()["bucket"]["displayName"].endswith("-2")


def test_an_edit_by_id_changes_what_it_names(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    client.log(0, [{"_step": 0, "loss": 1.5}], complete=True, exitcode=0)
    edited = client.upsert(id=run_id, displayName="new", tags=[], summaryMetrics={"best": math.nan})
    assert edited["inserted"] is False
    found = client.ask("displayName tags state summaryMetrics")
    summary = json.loads(found.pop("summaryMetrics"))
    assert summary.pop("best") != summary.get("best")  # NaN
    # The whole summary was given, without loss; what follows from the rows stays.
    assert set(summary) == {"_step", "_timestamp", "_runtime"}
    assert found == {"displayName": "new", "tags": [], "state": "finished"}
    assert codes(ask(server, UPSERT, input={"id": "bm9uZQ==", "notes": "x"})) == ["bad_id"]


def test_only_a_client_that_begins_brings_a_run_back_to_life(server: ServerHandle) -> None:
    client = WandbClient(server)
    client.begin()
    client.log(0, [{"_step": 0, "v": 1}], complete=True, exitcode=1)
    client.upsert(config={"late": {"value": 1}})
    assert client.ask("state") == {"state": "failed"}
    run_id = client.begin()
    assert client.ask("state") == {"state": "running"}
    assert client.do("updateRunState", id=run_id, state="pending")["data"]
    client.upsert(id=run_id, host="box", jobProgram="train.py")
    assert client.ask("state") == {"state": "running"}


def test_who_begins_counts_lines_from_0_and_who_goes_on_from_the_end(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    client.log(0, [{"_step": i, "v": i} for i in range(3)])
    counts = [
        client.upsert(**named, **where)["bucket"]["historyLineCount"]
        for named in ({}, {"id": run_id})
        for where in ({}, {"host": "box"})
    ]
    assert counts == [3, 0, 3, 3]
    assert client.ask("historyLineCount") == {"historyLineCount": 3}


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a#b", "x" * 129, "a\nb", ".\\."])
def test_a_name_that_an_address_cannot_hold_is_refused(server: ServerHandle, name: str) -> None:
    for input in ({"name": name, "modelName": "p"}, {"name": "r", "modelName": name or "a/"}):
        assert ask(server, UPSERT, input=input)["data"]["upsertBucket"] is None
    assert data(server, "{ models { edges { node { name } } } }")["models"]["edges"] == []


def test_states_set_by_hand(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.upsert(state="pending")["bucket"]["id"]
    assert client.ask("state") == {"state": "pending"}
    assert codes(client.do("updateRunState", id=run_id, state="finished")) == ["bad_state"]
    assert client.do("updateRunState", id=run_id, state="failed")["data"]
    assert client.ask("state failed") == {"state": "failed", "failed": True}
    bad = ask(server, UPSERT, input={"id": run_id, "state": "lost"})
    assert codes(bad) == ["bad_edit"]


def test_who_resumes_is_told_where_to_go_on(server: ServerHandle) -> None:
    client = WandbClient(server)
    client.begin()
    assert WandbClient(server, "none").resume() is None
    client.log(0, [{"_step": i, "x": {"y": i}} for i in range(3)])
    events = {"offset": 0, "content": ['{"system.cpu":1,"_timestamp":5,"_runtime":2}']}
    output = {"offset": 0, "content": ["one", "two"]}
    client.post(files={"wandb-events.jsonl": events, "output.log": output})
    found = client.resume()
    counts = ("historyLineCount", "eventsLineCount", "logLineCount")
    assert [found[name] for name in counts] == [3, 1, 2]
    (tail,) = json.loads(found["historyTail"])
    assert (json.loads(tail)["_step"], json.loads(tail)["x.y"]) == (2, 2)
    assert json.loads(json.loads(found["eventsTail"])[0])["system.cpu"] == 1
    assert json.loads(found["wandbConfig"]) == {"t": {"1": [1]}}
    assert json.loads(found["summaryMetrics"])["x"] == {"y": 2}


def test_a_run_that_never_began_has_empty_tails(server: ServerHandle) -> None:
    client = WandbClient(server)
    client.upsert(state="pending")
    found = client.resume()
    assert (found["historyTail"], found["eventsTail"], found["wandbConfig"]) == ("[]", "[]", "{}")


@both_databases
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rewound_rows_never_come_back(server: ServerHandle, seed: int) -> None:
    chance, client = random.Random(seed), WandbClient(server)
    client.begin()
    model: dict[int, Any] = {}
    line, step = 0, 0
    for turn in range(6):
        rows = [{"_step": step + i, "v": turn * 1000 + i} for i in range(chance.randint(1, 60))]
        client.log(line, rows)
        model |= {row["_step"]: row["v"] for row in rows}
        line, step = line + len(rows), step + len(rows)
        if chance.random() < 0.6:
            seal(server)
        if chance.random() < 0.7:
            back = chance.randint(-1, step)
            model = {at: value for at, value in model.items() if at <= back}
            line, step = client.rewind(back), back + 1 if back < step else step
            assert line == len(model)
            last = max(model, default=None)
            tail = json.loads(client.resume()["historyTail"])
            assert [json.loads(text)["_step"] for text in tail] == ([] if last is None else [last])
            summary = json.loads(client.ask("summaryMetrics")["summaryMetrics"])
            assert summary.get("v") == (None if last is None else model[last])
            step = 0 if last is None else last + 1
        found = client.history(min=0, max=10_000, samples=10_000)
        assert {row["_step"]: row["v"] for row in found} == model
        assert client.ask("historyLineCount")["historyLineCount"] == line == len(model)


def test_only_steps_can_be_rewound_to(server: ServerHandle) -> None:
    client = WandbClient(server)
    client.begin()
    query = "mutation W($input: RewindRunInput!) { rewindRun(input: $input) { clientMutationId } }"
    plain = {"runName": "r1", "projectName": "p", "metricValue": 1.0}
    assert codes(ask(server, query, input={**plain, "metricName": "loss"})) == ["bad_metric"]
    missing = {**plain, "runName": "r2", "metricName": "_step"}
    assert codes(ask(server, query, input=missing)) == ["run_not_found"]


def test_values_set_by_hand_survive_a_rewind(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    client.log(0, [{"_step": i, "v": i} for i in range(5)])
    client.upsert(id=run_id, summaryMetrics={"v": 4, "hand": "kept"})
    client.rewind(2)
    summary = json.loads(client.ask("summaryMetrics")["summaryMetrics"])
    assert {key: summary[key] for key in ("v", "hand", "_step")} == {
        "v": 2,
        "hand": "kept",
        "_step": 2,
    }


@both_databases
def test_pages_follow_their_cursors_while_runs_are_added(server: ServerHandle) -> None:
    for i in range(7):
        WandbClient(server, f"r{i}").upsert(config={"i": {"value": i}})
    seen: list[str] = []
    cursor = None
    for turn in range(10):
        page = data(server, RUNS, project="p", first=3, cursor=cursor, order="-config.i.value")
        runs = page["project"]["runs"]
        seen += [edge["node"]["name"] for edge in runs["edges"]]
        cursor = runs["edges"][-1]["cursor"]
        assert cursor == runs["pageInfo"]["endCursor"]
        if not runs["pageInfo"]["hasNextPage"]:
            break
        WandbClient(server, f"new{turn}").upsert(config={"i": {"value": 100 + turn}})
    assert seen == [f"r{i}" for i in range(6, -1, -1)]
    assert codes(ask(server, RUNS, project="p", first=3, cursor="nonsense")) == ["bad_filter"]


def test_runs_are_filtered_and_counted(server: ServerHandle) -> None:
    for i in range(4):
        WandbClient(server, f"r{i}").upsert(config={"i": {"value": i}})
    filters = json.dumps({"config.i": {"$gte": 2}})
    found = data(server, RUNS, project="p", filters=filters)["project"]
    assert (found["runCount"], len(found["runs"]["edges"])) == (2, 2)
    for bad in ({"config.i": {"$foo": 1}}, [1], 3):
        assert "bad_filter" in codes(ask(server, RUNS, project="p", filters=json.dumps(bad)))
    assert data(server, RUNS, project="none")["project"] is None


def test_a_page_costs_the_same_statements_however_many_runs(server: ServerHandle) -> None:
    def statements(first: int) -> int:
        with server.statements() as seen:
            found = data(server, RUNS, project="p", first=first)["project"]["runs"]["edges"]
        assert len(found) == first
        return len([sql for sql in seen if sql.startswith(("SELECT", "WITH"))])

    for i in range(12):
        WandbClient(server, f"r{i}").begin()
    data(server, RUNS, project="p", first=1)
    assert statements(1) == statements(12)
    # Who asks, the project, the count, the ids and the rows of the page; once for all nodes their
    # users (with roles), their lines, configs, metric keys and project.
    assert statements(12) <= 11


def test_a_stop_reaches_the_client_once_it_is_asked(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    assert client.log(0, [{"_step": 0}]) == {}
    assert client.do("stopRun", id=run_id)["data"]["stopRun"]["success"] is True
    assert client.post() == {"stopped": True}
    assert client.ask("stopped shouldStop") == {"stopped": True, "shouldStop": True}


def test_a_deleted_run_leaves_nothing(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    client.log(0, [{"_step": i, "v": i} for i in range(100)])
    seal(server)

    async def stored(app: web.Application) -> list[str]:
        return [found.name for found in app[OBJECTS].list("segments")]

    assert server.call(stored)
    assert client.do("deleteRun", id=run_id, deleteArtifacts=True)["data"]["deleteRun"]["success"]
    assert client.resume() is None
    assert server.call(stored) == []
    assert codes(client.do("deleteRun", id=run_id)) == ["run_not_found"]
    assert data(server, "query Q($id: ID!) { run(id: $id) { id } }", id=run_id)["run"] is None


def test_an_alert_waits_for_others_of_its_title(start_server: Any) -> None:
    time = FakeTime()
    server: ServerHandle = start_server(clock=time)
    client = WandbClient(server)
    client.begin()

    def raise_alert(title: str) -> None:
        named = {"runName": "r1", "projectName": "p", "severity": "WARN", "text": "t"}
        answer = client.do("notifyScriptableRunAlert", **named, title=title, waitDuration=10_000)
        assert answer["data"]["notifyScriptableRunAlert"]["success"] is True

    for wait, title in ((0, "a"), (9, "a"), (0, "b"), (1, "a")):
        time.now += wait
        raise_alert(title)

    async def titles(app: web.Application) -> list[str]:
        async with app[STATE].database.connect() as connection:
            return list(await connection.scalars(select(alerts.c.title).order_by(alerts.c.id)))

    assert server.call(titles) == ["a", "b", "a"]


@pytest.mark.parametrize("role", ["stranger", "viewer", "member"])
def test_only_who_may_write_edits(people: People, role: str) -> None:
    project, headers = people.project(), people.headers(role)
    run_id = ids.encode("Run", "r1", project, TEAM)
    asked = {"input": {"id": run_id, "notes": "mine"}}
    made = {"input": {"entityName": TEAM, "modelName": project, "name": "new"}}
    delete = "mutation D($input: DeleteRunInput!) { deleteRun(input: $input) { success } }"
    found = [
        codes(ask(people.server, UPSERT, headers, **asked)),
        codes(ask(people.server, UPSERT, headers, **made)),
        codes(ask(people.server, delete, headers, input={"id": run_id})),
    ]
    denied = {"stranger": "run_not_found", "viewer": "forbidden"}.get(role)
    assert found == ([[denied], ["forbidden"], [denied]] if denied else [[], [], []])
