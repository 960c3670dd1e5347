"""W&B's shapes: the same frames give the same lines, and what was logged can be read from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire import wandb
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.frames import Event, Frame, decode
from asyncwb.wire.rows.keys import OPEN, RUNTIME, STEP, TIME
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.summary.metrics import MetricRules, metric_event
from asyncwb.wire.wandb import Translation
from tests.wire.rows_model import Row, table_of, told

START = {"t": "start", "at": 90.0, "python": "3.11.4", "client": "0.1.0"}
FINISH = {"t": "finish", "exit_code": 3, "at": 200.0}


def rows_at(*rows: Row) -> list[Row]:
    """Give rows their times: row i is logged ten seconds and i after the start."""
    return [{TIME: 100.0 + at, **row} for at, row in enumerate(rows)]


def run(rows: list[Row], *events: Event, start: Any = START, first: int = 0) -> Frame:
    """A writer's frame: its start, its rows, its end."""
    return Frame(first, table_of(rows), ((0, start), *events, (len(rows), FINISH)))


def translated(*frames: Frame) -> tuple[Translation, list[Row]]:
    made = Translation()
    return made, [loads(line) for frame in frames for line in made.feed(frame)]


def model(rows: Iterable[Row]) -> list[Row]:
    """The rule in ten lines: an open row takes in what follows at its step."""
    done: list[Row] = []
    held: Row = {}
    top = -1
    for row in rows:
        plain = {key: value for key, value in row.items() if key != OPEN}
        if row[STEP] < top:
            done.append(plain)
            continue
        if held and row[STEP] > top:
            done.append(held)
            held = {}
        top, held = row[STEP], {**held, **plain}
        if not row.get(OPEN):
            done.append(held)
            held = {}
    return [*done, held] if held else done


VALUES = st.one_of(
    st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(), st.text(max_size=3)
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {STEP: st.integers(0, 4)},
        optional={
            OPEN: st.booleans(),
            "a": VALUES,
            "b/c": VALUES,
            "c.d": VALUES,
            "e\\.f": st.just([1, {"x": 0.5}]),
        },
    ),
    max_size=12,
)


@given(ROWS, st.data())
def test_lines_follow_the_rule_however_the_stream_is_cut(rows: list[Row], data: Any) -> None:
    timed = rows_at(*rows)
    whole = run(timed)
    made, sent = Translation(), list[str]()
    cuts = data.draw(st.sets(st.integers(1, whole.count - 1), max_size=3))
    for last in [*sorted(cuts), whole.count]:
        rest = whole.skip(made.next_seq)
        behind = whole.skip(last)
        events = rest.events[: len(rest.events) - len(behind.events)]
        part = Frame(rest.first_seq, rest.table.slice(0, rest.table.n - behind.table.n), events)
        sent += made.feed(decode(part.encode()))
        assert not list(made.feed(part)), "what comes again gives nothing"
        made = Translation.from_state(json.loads(dumps(made.state())))  # a crash in between
    expected = model(timed)
    got = [keys.flatten(loads(line)) for line in sent]
    assert [line.pop(RUNTIME) for line in got] == [line[TIME] - 90.0 for line in got]
    assert [told(line) for line in got] == [told(row) for row in expected]
    assert made.exit_code == 3
    assert (made.next_seq, made.lines.holds) == (whole.count, False)


def test_a_line_is_json_with_bare_tokens_and_nested_keys() -> None:
    values = {"loss": math.nan, "x": math.inf, "y": -math.inf, "val.acc": 1, "a\\.b": 0.5}
    made = Translation()
    (line,) = made.feed(run(rows_at({STEP: 7, **values})))
    assert line == (
        '{"loss":NaN,"x":Infinity,"y":-Infinity,"val":{"acc":1},"a.b":0.5,'
        '"_step":7,"_runtime":10.0,"_timestamp":100.0}'
    )


def test_the_summary_is_the_folds() -> None:
    rule = metric_event("loss", summary="min,last")
    rows = rows_at({STEP: 0, "loss": 2.0}, {STEP: 1, "loss": 3.0, "a.b": 1})
    set_by_hand = {"t": "summary", "set": {"best.at": 0}, "delete": []}
    made, _ = translated(run(rows, (0, rule), (2, set_by_hand)))
    assert loads(made.summary_text()) == {
        "loss": {"min": 2.0, "last": 3.0},
        "a": {"b": 1},
        "best": {"at": 0},
        STEP: 1,
        TIME: 101.0,
        RUNTIME: 11.0,
    }


def test_updates_say_what_changed_and_nothing_twice() -> None:
    begun = {**START, "name": "n", "tags": ["t"], "notes": None, "config": {"lr": 0.1, "b": 1}}
    made, _ = translated(Frame(0, table_of([]), ((0, begun),)))
    first = made.take_update()
    assert first is not None
    assert wandb.plain_config(loads(first.pop("config"))) == {"lr": 0.1, "b": 1}
    assert first == {"displayName": "n", "tags": ["t"]}
    assert made.take_update() is None

    later: list[Row] = [
        {"t": "config", "set": {"lr": {"a": math.nan}}, "delete": ["b"]},
        {"t": "attrs", "name": "m", "notes": None, "tags": []},
    ]
    assert not list(made.feed(Frame(1, table_of([]), tuple((0, event) for event in later))))
    update = made.take_update()
    assert update is not None
    made.untake(update)
    assert made.take_update() == update, "what could not be sent is told again"
    assert update.pop("config").startswith('{"lr":{"value":{"a":NaN}},"_wandb":{"value":')
    assert update == {"displayName": "m", "notes": "", "tags": []}


def test_a_run_that_w_and_b_clients_take_for_one_that_exists() -> None:
    made, _ = translated(run([]))
    update = made.take_update()
    assert update is not None
    own = loads(update["config"])["_wandb"]["value"]
    assert own["t"] == {"4": "3.11.4", "5": "0.1.0"}
    assert (own["python_version"], own["cli_version"]) == ("3.11.4", "0.1.0")


DEFINITIONS = [
    metric_event("loss", step_metric="epoch", summary="min,mean", goal="minimize", hidden=True),
    metric_event("val/*", step_metric="global_step", step_sync=False),
    metric_event("plain"),
    metric_event("a\\.b", summary="none"),
    metric_event("epoch", summary="max"),
]


def test_metric_definitions_by_field_number() -> None:
    items = wandb.metric_items(MetricRules(DEFINITIONS[:2]), ["val/acc", "other"])
    assert items == [
        {"1": "loss", "5": 3, "6": [1, 2, 3], "7": [1, 3], "8": 1},
        {"1": "val/acc", "5": 4},
        {"1": "epoch"},
        {"1": "global_step"},
        {"2": "val/*", "5": 4, "6": [3]},
    ]


def test_metric_definitions_come_back() -> None:
    rules = MetricRules(DEFINITIONS)
    again = MetricRules(wandb.metric_events(wandb.metric_items(rules, ["val/acc"])))
    for path in ("loss", "val/acc", "val/x", "plain", "a\\.b", "epoch", "a.b"):
        ours, theirs = rules.resolve(path), again.resolve(path)
        if path == "val/acc":
            assert (ours, theirs) != (None, None)
            continue
        assert ours == theirs, path


@pytest.mark.parametrize(
    "item",
    [{}, {"1": ""}, {"1": 5}, {"1": "a", "5": 9, "6": 1, "7": "x", "8": []}, {"2": "a*b"}, 5],
)
def test_what_is_no_definition_is_passed_over(item: Any) -> None:
    for event in wandb.metric_events([item]):
        assert event["name"] == "a"
        assert (event["step_metric"], event["summary"], event["goal"]) == (None, [], None)


def bucket(**more: Any) -> dict[str, Any]:
    tail = '{"_step":41,"_timestamp":1000.0,"_runtime":100.0,"x":NaN}'
    return {
        "historyLineCount": 42,
        "historyTail": json.dumps([tail]),
        "config": '{"lr":{"value":0.1,"desc":null},"_wandb":{"value":{"t":{}}}}',
        "summaryMetrics": '{"a":{"b":1},"loss":Infinity,"_step":41,"_wandb":{"runtime":5}}',
        "wandbConfig": '{"t":{"4":"3.11"}}',
        **more,
    }


def test_a_resumed_run_goes_on_where_it_stood() -> None:
    found = wandb.read_existing(bucket())
    assert found is not None
    assert (found.lines, found.last_step, found.started_at) == (42, 41, 900.0)
    assert (found.config, found.logged) == ({"lr": 0.1}, True)
    made = Translation.after(found)
    rows = rows_at({STEP: 42, "loss": 1.0, TIME: 1100.0})
    gone = {"t": "summary", "set": {}, "delete": ["a"]}
    (line,) = made.feed(run(rows, start={**START, "at": 1090.0, "config": {"b": 2}}))
    assert loads(line)[RUNTIME] == 200.0
    assert made.count == 42, "numbers of lines are counted when they are sent"
    assert loads(made.summary_text())["a"] == {"b": 1}
    assert loads(made.summary_text())["loss"] == 1.0
    update = made.take_update()
    assert update is not None
    assert wandb.plain_config(loads(update["config"])) == {"lr": 0.1, "b": 2}
    list(made.feed(Frame(made.next_seq, table_of([]), ((0, gone),))))
    assert "a" not in loads(made.summary_text())


def test_a_run_that_does_not_exist_or_was_only_created() -> None:
    assert wandb.read_existing(None) is None
    created = bucket(
        historyLineCount=0, historyTail="[]", wandbConfig="{}", config=None, summaryMetrics=None
    )
    found = wandb.read_existing(created)
    assert found is not None
    assert not found.logged
    assert (found.lines, found.last_step, found.started_at) == (0, None, None)


def test_requests() -> None:
    assert wandb.post_body([], 5) == b"{}"
    assert loads(wandb.post_body(["{}", '{"a":NaN}'], 5, summary="{}", exit_code=0)) == {
        "files": {
            "wandb-history.jsonl": {"offset": 5, "content": ["{}", '{"a":NaN}']},
            "wandb-summary.json": {"offset": 0, "content": ["{}"]},
        },
        "complete": True,
        "exitcode": 0,
    }
