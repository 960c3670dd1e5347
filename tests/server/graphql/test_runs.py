"""Runs over GraphQL: begun, resumed, edited, listed, rewound, stopped, deleted."""

from __future__ import annotations

import json
import math
import random
import threading
import urllib.request
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from asyncwb.errors import CommError
from asyncwb.server.graphql import runs as graphql_runs
from asyncwb.server.graphql.execution import execute, ids
from asyncwb.server.http.state import STATE
from asyncwb.server.intake import file_stream
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.schema import alerts, runs
from asyncwb.settings import default_entity
from asyncwb.wire.rows.value_count import MAX_VALUES
from asyncwb.wire.rows.values import dumps
from tests.client.query.test_api import api_of
from tests.fix_people import TEAM, People
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.graphql.asking import ask, codes, data, post
from tests.server.graphql.wandb_client import REWIND, UPSERT, WandbClient, seal

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
    assert bucket["project"]["entity"]["name"] == default_entity()
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


BAD_NAMES = ["", "a/b", "a:b", "a#b", "x" * 129, "a\nb", ".\\.", "..", ".", " ", " a", "a?b", "%2e"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_an_address_cannot_hold_is_refused(server: ServerHandle, name: str) -> None:
    model = "mutation M($input: UpsertModelInput!) { upsertModel(input: $input) { inserted } }"
    entity = {"entityName": name or "login"}
    for input in (
        {"name": name, "modelName": "p"},
        {"name": "r", "modelName": name or "a/"},
        {"name": "r", "modelName": "p", **entity},
    ):
        answer = ask(server, UPSERT, input=input)
        assert answer["data"]["upsertBucket"] is None
        assert "1 to " in answer["errors"][0]["message"] or not input["name"]
    for input in ({"name": name}, {"name": "p", **entity}):
        assert codes(ask(server, model, input=input)) == ["bad_request"]
    assert data(server, "{ models { edges { node { name } } } }")["models"]["edges"] == []
    assert server.call(lambda app: app[STATE].teams.page()) == []


def test_a_run_under_a_name_of_old_is_read_and_deleted(server: ServerHandle) -> None:
    async def make(app: web.Application) -> None:
        state = app[STATE]
        async with state.database.transaction() as connection:
            path = RunKey(default_entity(), "a#b", "x?y")
            await state.ingest.create(connection, [path], state.clock(), 1)

    server.call(make)
    client = WandbClient(server, "x?y", "a#b")
    run_id = client.ask("id displayName")["id"]
    assert client.do("deleteRun", id=run_id)["data"]["deleteRun"]["success"] is True
    project = data(server, '{ project(name: "a#b") { id } }')["project"]["id"]
    assert client.do("deleteModel", id=project)["data"]["deleteModel"]["success"] is True


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_what_is_too_deep_or_too_long_is_refused_and_nothing_is_written(
    server: ServerHandle,
) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    client.upsert(config={"a": {"value": nested(99)}}, summaryMetrics=nested(100))
    before = client.ask("config summaryMetrics tags notes displayName")
    bad: list[dict[str, Any]] = [
        *({"config": json.dumps(nested(levels))} for levels in (101, 254, 260, 900)),
        *({"summaryMetrics": json.dumps({"a": [nested(n)]})} for n in (99, 254, 260, 900)),
        {"displayName": "x" * 1_025},
        {"groupName": "x" * 1_025},
        {"jobType": "x" * 1_025},
        {"notes": "x" * 100_001},
        {"tags": ["x" * 65]},
        {"tags": [""]},
        {"tags": [str(number) for number in range(1_001)]},
    ]
    for input in bad:
        for named in ({"id": run_id}, {"name": "new", "modelName": "other", "entityName": "team"}):
            assert codes(ask(server, UPSERT, input=named | input)) == ["bad_edit"], input
    assert client.ask("config summaryMetrics tags notes displayName") == before
    assert server.call(lambda app: app[STATE].teams.page()) == []


def dense(values: int) -> dict[str, Any]:
    """Return a document of so many values."""
    return {"a": [0] * (values - 3)}  # a mapping, a name and a list


def test_what_has_too_many_values_is_refused_and_nothing_is_written(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    text, wide = 'a,"b",[{' * 500_000, {f"k{i}": 0.5 for i in range(100_000)}
    client.upsert(config={"text": text}, summaryMetrics={"text": text})
    client.upsert(config={k: {"value": v, "desc": None} for k, v in list(wide.items())[:40_000]})
    client.upsert(config=dense(MAX_VALUES), summaryMetrics=wide)
    before = client.ask("config summaryMetrics displayName")
    assert len(json.loads(before["config"])["a"]["value"]) == MAX_VALUES - 3
    over = json.dumps(dense(MAX_VALUES + 1))
    change = json.dumps({"set": {"b": [0] * 200_000}})
    bad: list[tuple[dict[str, Any], str]] = [
        *(({name: over}, "JSONString") for name in ("config", "summaryMetrics", "configChanges")),
        ({"configChanges": change}, f"the config would have more than {MAX_VALUES:,} values"),
        (
            {"summaryMetrics": json.dumps({"a": [0] * 100_000}), "summaryChanges": over},
            "JSONString",
        ),
    ]
    for input, message in bad:
        answer = ask(server, UPSERT, input={"id": run_id, "displayName": "new"} | input)
        (error,) = answer["errors"]
        assert message in error["message"]
        assert f"{MAX_VALUES:,} values and names. Nothing was" in error["message"]
    body = {"query": "{ viewer { id } }", "variables": dense(MAX_VALUES)}
    status, answer = post(server, json.dumps(body).encode(), server.headers)
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    assert client.ask("config summaryMetrics displayName") == before
    run = api_of(server).run("p/r1")
    run.config["b"] = [0] * 200_000
    with pytest.raises(CommError, match="would have more than"):
        run.update()


def test_what_is_large_is_read_beside_the_loop(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these would hold up all others for as long as it takes."""
    seen: list[tuple[str, int]] = []

    async def ident(_: web.Application) -> int:
        return threading.get_ident()

    def note(module: Any, name: str) -> None:
        work = getattr(module, name)

        def noted(*args: Any) -> Any:
            seen.append((name, threading.get_ident()))
            return work(*args)

        monkeypatch.setattr(module, name, noted)

    client = WandbClient(server)
    client.begin()
    note(graphql_runs, "loads")
    note(execute, "refuse_if_too_costly")
    note(file_stream, "rules_from_wandb")
    note(file_stream, "read_fold")
    metrics = [{"1": f"metric {i}"} for i in range(1_000)]
    wide = {f"k{i}": "x" * 300 for i in range(1_000)}
    client.upsert(config={"_wandb": {"value": {"m": metrics}}, **wide})
    assert json.loads(client.ask("wandbConfig")["wandbConfig"]) == {"m": metrics}
    loop = server.call(ident)
    # The question after the edit is a short one.
    assert [(name, thread == loop) for name, thread in seen] == [
        ("refuse_if_too_costly", False),
        ("rules_from_wandb", False),
        ("read_fold", False),
        ("loads", False),
        ("refuse_if_too_costly", True),
        ("loads", False),
    ]


@both_databases
@pytest.mark.parametrize("levels", [150, 252])
def test_a_config_of_old_that_is_too_deep_is_read(server: ServerHandle, levels: int) -> None:
    client = WandbClient(server)
    run_id = client.begin()
    WandbClient(server, "other").begin()
    deep = dumps(nested(levels)).decode()

    async def store(app: web.Application) -> None:
        values = {"config": deep, "summary": deep, "system": deep}
        async with app[STATE].database.transaction() as connection:
            await connection.execute(update(runs).where(runs.c.run == "r1").values(values))

    server.call(store)
    for filters in (None, '{"displayName": {"$ne": "x"}}'):
        found = data(server, RUNS, project="p", first=5, filters=filters)["project"]["runs"]
        assert len(found["edges"]) == 2
    assert json.loads(client.ask("config")["config"]) == {
        "a": {"value": nested(levels - 1), "desc": None}
    }
    listed = f"projects/{default_entity()}/p/runs"
    for path in (listed, f"{listed}?filters={{}}", f"runs/{default_entity()}/p/r1"):
        request = urllib.request.Request(f"{server.url}/api/v1/{path}", headers=server.headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)
    api = api_of(server)
    assert api.run("p/r1").config == nested(levels)
    run = next(run for run in api.runs("p") if run.id == "r1")
    run.tags.append("x")
    run.update()
    assert client.ask("tags") == {"tags": ["x"]}
    run.config["b"] = 1
    with pytest.raises(CommError, match="nested deeper than 100 levels"):
        run.update()
    assert client.do("deleteRun", id=run_id)["data"]["deleteRun"]["success"] is True


@pytest.mark.parametrize("state", ["running", "pending"])
def test_a_run_that_is_made_once_more_stays_as_it_ended(server: ServerHandle, state: str) -> None:
    client = WandbClient(server)
    client.begin()
    client.log(0, [{"_step": 0}], complete=True, exitcode=3)
    ended = client.ask("state exitcode heartbeatAt")
    assert ended["state"] == "failed"
    assert client.upsert(state=state)["inserted"] is False
    assert client.upsert()["inserted"] is False
    assert client.ask("state exitcode heartbeatAt") == ended
    client.begin()
    assert client.ask("state") == {"state": "running"}


@pytest.mark.parametrize(
    ("metric", "value"), [("_step", -5), ("_step", -0.5), ("_step", 1e300), ("loss", 1), ("", 1)]
)
def test_a_rewind_goes_to_a_step(server: ServerHandle, metric: str, value: float) -> None:
    client = WandbClient(server)
    client.begin()
    client.log(0, [{"_step": 0, "v": 1}])
    named = {"runName": "r1", "projectName": "p", "metricName": metric, "metricValue": value}
    assert codes(ask(server, REWIND, input=named)) == ["bad_metric"]
    assert len(client.history()) == 1


def test_states_set_by_hand(server: ServerHandle) -> None:
    client = WandbClient(server)
    run_id = client.upsert(state="pending")["bucket"]["id"]
    assert client.ask("state") == {"state": "pending"}
    refused = client.do("updateRunState", id=run_id, state="finished")
    assert codes(refused) == ["bad_state"]
    assert refused["errors"][0]["message"].startswith("invalid state transition")
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


def test_a_rewind_to_before_the_first_step_drops_all_rows_and_nothing_else(
    server: ServerHandle,
) -> None:
    client = WandbClient(server)
    client.begin()
    client.upsert(config={"lr": {"value": 1}}, notes="n")
    client.log(0, [{"_step": i, "v": i} for i in range(5)])
    client.rewind(-1)
    assert client.history() == []
    assert client.ask("notes") == {"notes": "n"}
    client.log(0, [{"_step": 0, "v": 7}])
    assert [row["v"] for row in client.history()] == [7]


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
    client.log(3, [{"_step": 3, "hand": 5}])
    assert json.loads(client.ask("summaryMetrics")["summaryMetrics"])["hand"] == 5


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
    # users (with roles), their lines, configs, metric keys and project; before those that may be
    # large (the rows, the configs, the metric keys) how large they are.
    assert statements(12) <= 14


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
    server.collect()
    assert server.call(stored) == []
    again = client.do("deleteRun", id=run_id)  # as after an answer that was lost
    assert again["data"]["deleteRun"]["success"] is True
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
    never = {"id": ids.encode("Run", "never", project, TEAM)}
    again = codes(ask(people.server, delete, headers, input=never))
    assert again == (["run_not_found"] if denied else [])  # whose answer was lost asks again


def test_a_run_that_is_missing_is_an_error_where_that_is_asked_for(server: ServerHandle) -> None:
    WandbClient(server).begin()
    query = """query Q($ok: Boolean) {
      project(name: "p") { bucket(name: "none", missingOk: $ok) { id } }
    }"""
    for ok in (None, True):
        assert data(server, query, ok=ok)["project"]["bucket"] is None
    assert codes(ask(server, query, ok=False)) == ["run_not_found"]
