"""Rows, system metrics and the console, as W&B clients read them over GraphQL."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.fix_server import ServerHandle
from tests.server.graphql.asking import ask, codes, data
from tests.server.graphql.wandb_client import HISTORY, WandbClient, seal

SAMPLED = """
query S($name: String!, $specs: [JSONString!]!) {
  project(name: "p") { run(name: $name) { sampledHistory(specs: $specs) } }
}
"""
LINES = """
query L($first: Int, $last: Int, $after: String) {
  project(name: "p") {
    run(name: "r1") {
      logLineCount
      logLines(first: $first, last: $last, after: $after, useImprovedPagination: true) {
        edges { node { number timestamp level label line } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""


@pytest.fixture
def client(server: ServerHandle) -> WandbClient:
    client = WandbClient(server)
    client.begin()
    return client


def _sampled(client: WandbClient, *specs: Any) -> Any:
    texts = [json.dumps(spec) for spec in specs]
    return ask(client.server, SAMPLED, name=client.run, specs=texts)


def test_rows_keep_their_values_and_show_their_names(client: WandbClient) -> None:
    plain = {"a": 1, "b": 0.5, "t": True, "lit.eral": 3, "l": [1, 2]}
    logged: dict[str, Any] = {**plain, "n": {"x": {"y": "s"}}}
    client.log(0, [{"_step": 0, **logged}, {"_step": 1, "b": math.nan, "i": -math.inf}])
    first, second = client.history()
    times = {"_step": 0, "_timestamp": 1e9, "_runtime": 0.0}
    assert first == {**plain, **times, "n.x.y": "s"}
    assert math.isnan(second["b"])
    assert second["i"] == -math.inf


def test_steps_are_taken_from_the_first_up_to_the_last(client: WandbClient) -> None:
    client.log(0, [{"_step": i, "v": i} for i in range(50)])
    seal(client.server)
    client.log(50, [{"_step": i, "v": i} for i in range(50, 60)])
    assert [row["v"] for row in client.history(min=48, max=52, samples=10)] == [48, 49, 50, 51]
    first, middle, last = client.history(min=0, max=60, samples=3)
    assert (first["v"], last["v"]) == (0, 59)
    assert 20 < middle["v"] < 40
    assert client.history(min=60, max=90) == []
    assert len(client.history(samples=7)) == 7


@pytest.mark.parametrize("samples", [0, -1])
def test_a_number_of_samples_is_bounded(client: WandbClient, samples: int) -> None:
    answer = ask(client.server, HISTORY, project="p", name="r1", samples=samples)
    assert codes(answer) == ["bad_samples"]


def test_sampled_rows_have_every_key(client: WandbClient) -> None:
    rows: list[dict[str, Any]] = [{"_step": i, "v": i} for i in range(5)]
    rows[3] |= {"w": math.nan}
    client.log(0, rows)
    both, one = {"keys": ["_step", "v", "w"], "samples": 10}, {"keys": ["v"], "maxStep": 1}
    found = _sampled(client, both, one)["data"]["project"]["run"]["sampledHistory"]
    assert found == [[{"_step": 3, "v": 3, "w": "NaN"}], [{"v": 0}, {"v": 1}]]
    assert _sampled(client, {})["data"]["project"]["run"]["sampledHistory"] == [[]]


@pytest.mark.parametrize(
    "spec",
    [
        *([], "x", {"samples": 1}, {"keys": []}, {"keys": [1]}, {"keys": "v"}),
        *({"keys": ["v"], "samples": 0}, {"keys": ["v"], "minStep": "a"}),
        {"keys": ["k"] * 201},
    ],
    ids=str,
)
def test_a_bad_spec_is_refused(client: WandbClient, spec: Any) -> None:
    assert codes(_sampled(client, spec))[0] in ("bad_spec", "bad_samples")


def test_keys_tell_what_was_logged(client: WandbClient) -> None:
    assert client.ask("historyKeys")["historyKeys"]["lastStep"] == -1
    image = {"_type": "image-file", "path": "media/i.png"}
    client.log(0, [{"_step": 3, "v": 1, "s": "x", "i": image, "n": {"b": True}, "l": [1]}])
    found = client.ask("historyKeys")["historyKeys"]
    types = {key: entry["typeCounts"][0] for key, entry in found["keys"].items()}
    assert found["lastStep"] == 3
    assert types == {
        "v": {"type": "number", "count": 1},
        "s": {"type": "string", "count": 1},
        "i": {"type": "image-file", "count": 1},
        "n.b": {"type": "boolean", "count": 1},
        "l": {"type": "list", "count": 1},
    }
    last = {key: entry.get("previousValue") for key, entry in found["keys"].items()}
    assert last == {"v": 1, "s": None, "i": None, "n.b": True, "l": None}
    client.log(1, [{"_step": 4, "v": math.nan}])
    assert "previousValue" not in client.ask("historyKeys")["historyKeys"]["keys"]["v"]


def test_a_key_of_several_types_has_a_count_of_each(client: WandbClient) -> None:
    values: list[Any] = [1, 0.5, "a", 2, "b", True, [1], None]
    client.log(0, [{"_step": i, "v": value} for i, value in enumerate(values)])
    client.log(len(values), [{"_step": len(values), "v": 3}])
    found = client.ask("historyKeys")["historyKeys"]["keys"]["v"]["typeCounts"]
    counts = {"number": 4, "string": 2, "boolean": 1, "list": 1, "nil": 1}
    assert {entry["type"]: entry["count"] for entry in found} == counts
    assert len(found) == 5


def test_system_metrics_are_rows_of_their_own(client: WandbClient) -> None:
    lines = [json.dumps({"_wandb": True, "_timestamp": i, "system.cpu": i}) for i in range(50)]
    client.post(files={"wandb-events.jsonl": {"offset": 0, "content": lines}})
    found = client.ask("events(samples: 5) eventsLineCount systemMetrics")
    assert [json.loads(text)["system.cpu"] for text in found["events"]] == [0, 12, 24, 36, 49]
    assert json.loads(found["systemMetrics"])["system.cpu"] == 49
    assert client.history() == []


def test_no_files_stand_for_a_history(client: WandbClient) -> None:
    query = 'parquetHistory(liveKeys: ["v"]) { parquetUrls liveData }'
    live = {"parquetUrls": [], "liveData": [{"_step": 0}]}
    assert client.ask(query)["parquetHistory"] == live  # rows may come yet
    client.log(0, [{"_step": 3, "v": 1}])
    client.post(complete=True, exitcode=0)
    assert client.ask(query)["parquetHistory"] == live


def test_of_a_run_without_rows_no_files_are_everything(client: WandbClient) -> None:
    client.post(complete=True, exitcode=0)
    query = "parquetHistory { parquetUrls liveData }"
    assert client.ask(query)["parquetHistory"] == {"parquetUrls": [], "liveData": None}


def test_the_console_is_paged_and_taken_apart(client: WandbClient) -> None:
    content = [
        "2026-01-02T03:04:05.000006 plain",
        "ERROR 2026-01-02T03:04:05.000006 bad",
        json.dumps({"level": "error", "ts": "2026-01-02T03:04:05", "content": "c", "label": "x"}),
        "no time",
        "{broken",
        json.dumps({"content": "a,b," * 1_000, "level": "info", "ts": None}),
        json.dumps({"content": "c", "more": [0] * 1_000}),
    ]
    client.post(files={"output.log": {"offset": 0, "content": content}})

    def page(**asked: Any) -> Any:
        return data(client.server, LINES, **asked)["project"]["run"]

    found = page(first=3)
    assert found["logLineCount"] == 7
    at = "2026-01-02T03:04:05"
    assert [edge["node"] for edge in found["logLines"]["edges"]] == [
        {"number": 0, "timestamp": f"{at}.000006", "level": None, "label": None, "line": "plain"},
        {"number": 1, "timestamp": f"{at}.000006", "level": "error", "label": None, "line": "bad"},
        {"number": 2, "timestamp": at, "level": "error", "label": "x", "line": "c"},
    ]
    assert found["logLines"]["pageInfo"]["hasNextPage"] is True
    rest = page(first=3, after=found["logLines"]["pageInfo"]["endCursor"])["logLines"]
    assert [edge["node"]["line"] for edge in rest["edges"]] == [*content[3:5], "a,b," * 1_000]
    rest = page(first=3, after=rest["pageInfo"]["endCursor"])["logLines"]
    assert [edge["node"]["line"] for edge in rest["edges"]] == content[6:], "JSON of something else"
    assert rest["pageInfo"]["hasNextPage"] is False
    last = page(last=1)["logLines"]["edges"]
    assert [edge["node"]["number"] for edge in last] == [6]
    assert codes(ask(client.server, LINES, first=3, after="x")) == ["bad_cursor"]
    assert codes(ask(client.server, LINES, last=0)) == ["bad_page"]
    assert codes(ask(client.server, LINES, last=1, first=3)) == ["bad_page"]
    assert codes(ask(client.server, LINES, last=1, after="x")) == ["bad_page"]
