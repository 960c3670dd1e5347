"""The summary fold: against a model that goes row by row, in whatever batches the rows come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire.columns import Column, Kind, Table
from asyncwb.wire.metrics import MetricRules, metric_event
from asyncwb.wire.summary import Fold, MetricInfo
from asyncwb.wire.values import dumps, loads

NAN, INF = math.nan, math.inf
DTYPES: dict[Kind, Any] = {"f": np.float64, "i": np.int64, "b": np.bool_}
KINDS: dict[type, Kind] = {float: "f", int: "i", bool: "b"}

Row = tuple[int, bool, Mapping[str, Any]]
"""Step, open, values."""


def table(rows: Iterable[Row], *, start: float = 100.0) -> Table:
    """Build a table of these rows, one second apart; `_open` only where a row is open."""
    rows = list(rows)
    cells: dict[tuple[str, Kind], list[tuple[int, Any]]] = {}
    for at, (step, is_open, values) in enumerate(rows):
        system: dict[str, Any] = {"_step": step, "_timestamp": values.get("_t", start + at)}
        if is_open:
            system["_open"] = True
        for key, value in (system | {k: v for k, v in values.items() if k != "_t"}).items():
            cells.setdefault((key, KINDS.get(type(value), "j")), []).append((at, value))
    columns = []
    for (key, kind), found in cells.items():
        column = [value for _, value in found]
        where = None if len(found) == len(rows) else np.array([at for at, _ in found], np.int32)
        filled = column if kind == "j" else np.array(column, DTYPES[kind])
        columns.append(Column(key, kind, filled, where))
    return Table.from_columns(len(rows), columns)


def fold(*rows: Row, events: Iterable[tuple[int, dict[str, Any]]] = ()) -> Fold:
    made = Fold()
    made.apply(table(rows), events)
    return made


def user(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in summary.items() if k[:1] != "_"}


def metric(name: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
    return 0, metric_event(name, **arguments)


# The model: one row at a time, nothing clever.


class Model:
    def __init__(self) -> None:
        self.rules = MetricRules()
        self.last: dict[str, Any] = {}
        self.seen: dict[str, dict[str, list[Any]]] = {}
        self.explicit: set[str] = set()
        self.top: dict[str, int] = {}
        self.open: dict[str, dict[str, Any]] = {}
        self.step = -1
        self.counts: dict[str, list[int]] = {}

    def row(self, writer: str, row: Row) -> None:
        step, is_open, values = row
        for key in values:
            self.counts.setdefault(key, []).append(step)
        top = self.top.get(writer, -1)
        if step < top:
            self.close(step, values)
            return
        if step > top:
            self.flush(writer)
        self.top[writer] = step
        self.open[writer] = {**self.open.get(writer, {}), **values}
        if not is_open:
            self.flush(writer)

    def flush(self, writer: str) -> None:
        if writer in self.open:
            self.close(self.top[writer], self.open.pop(writer))

    def close(self, step: int, values: Mapping[str, Any]) -> None:
        self.step = max(self.step, step)
        for key, value in values.items():
            if value is None:
                continue
            self.last[key] = value
            rule = self.rules.resolve(key)
            if rule is not None and key not in self.explicit:
                for stat in rule.tracked:
                    self.seen.setdefault(key, {}).setdefault(stat, []).append(value)

    def event(self, writer: str, event: dict[str, Any]) -> None:
        if event["t"] == "metric":
            self.rules.define(event)
        elif event["t"] == "finish":
            self.flush(writer)
        elif event["t"] == "summary":
            for path in event["delete"]:
                for key in {*self.last, *self.open.get(writer, {})}:
                    if key == path or key.startswith(path + "."):
                        for place in (self.last, self.seen, self.open.get(writer, {})):
                            place.pop(key, None)
                        self.explicit.discard(key)
            for path, value in event["set"].items():
                self.last[path] = value
                self.explicit.add(path)
                self.seen.pop(path, None)
                self.open.get(writer, {}).pop(path, None)

    def shown(self) -> dict[str, Any]:
        found = {key: self.value(key) for key in self.last}
        return {key: value for key, value in found.items() if value != ()}

    def value(self, key: str) -> Any:
        rule = self.rules.resolve(key)
        if rule is None or key in self.explicit or not (rule.shown or rule.absent):
            return self.last[key]
        if rule.absent:
            return ()
        best = "max" if rule.goal == "maximize" else "min"
        pairs = {op: self.op(key, best if op == "best" else op) for op in rule.shown}
        return {op: value for op, value in pairs.items() if value != ()} or ()

    def op(self, key: str, op: str) -> Any:
        if op == "last":
            return self.last[key]
        values = self.seen.get(key, {}).get(op, [])
        if op == "first":
            return values[0] if values else ()
        numbers = [v for v in values if isinstance(v, (int, float)) and not math.isnan(v)]
        if not numbers:
            return ()
        if op == "mean":
            return sum(map(float, numbers)) / len(numbers)
        return min(numbers) if op == "min" else max(numbers)


def same(one: Any, other: Any) -> bool:
    """Compare JSON: NaN equals NaN, and sums may round differently."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, abs_tol=1e-9) or (one != one != other)
    return bool(one == other)


NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5, NAN, INF, -INF, 0.1])
VALUES = NUMBERS | NUMBERS | st.sampled_from([True, False, None, "text", [1]])
KEYS = st.sampled_from(["a", "b", "c"])
WRITERS = st.sampled_from(["", "w"])
ROWS = st.tuples(st.integers(0, 6), st.booleans(), st.dictionaries(KEYS, VALUES, max_size=3))
METRICS = st.builds(
    metric_event,
    st.sampled_from(["a", "b", "*", "c*"]),
    summary=st.lists(
        st.sampled_from(["min", "max", "mean", "last", "first", "best", "copy", "none"]),
        max_size=3,
    ),
    goal=st.sampled_from([None, "minimize", "maximize"]),
    overwrite=st.booleans(),
)
SETS = st.fixed_dictionaries(
    {
        "t": st.just("summary"),
        "set": st.dictionaries(KEYS, NUMBERS | st.none(), max_size=2),
        "delete": st.lists(KEYS, max_size=1),
    }
)
FINISH: st.SearchStrategy[dict[str, Any]] = st.just({"t": "finish", "exit_code": 0, "at": 1.0})
OTHER: st.SearchStrategy[dict[str, Any]] = st.just({"t": "from the future"})
# A row far more often than an event, and steps that mostly rise, as in life.
SAID = st.lists(
    st.tuples(WRITERS, ROWS | ROWS | ROWS | METRICS | SETS | FINISH | OTHER, st.booleans()),
    max_size=30,
)
RISING = st.lists(
    st.tuples(st.integers(-1, 1), st.booleans(), st.dictionaries(KEYS, VALUES, max_size=3)),
    max_size=40,
).map(
    lambda rows: [
        (max(0, step), is_open, values)
        for step, (_, is_open, values) in zip(
            np.cumsum([row[0] for row in rows]).tolist(), rows, strict=True
        )
    ]
)


def apply_in_batches(made: Fold, said: list[tuple[str, Any, bool]]) -> None:
    """Feed what was said; a batch ends where the writer changes or the flag says so."""
    batch: list[Row] = []
    events: list[tuple[int, dict[str, Any]]] = []
    for at, (writer, what, cut) in enumerate(said):
        if isinstance(what, dict):
            events.append((len(batch), what))
        else:
            batch.append(what)
        if cut or at + 1 == len(said) or said[at + 1][0] != writer:
            made.apply(table(batch), events, writer)
            batch, events = [], []


def check(made: Fold, said: list[tuple[str, Any, bool]]) -> None:
    model = Model()
    for writer, what, _ in said:
        if isinstance(what, dict):
            model.event(writer, what)
        else:
            model.row(writer, what)
    summary = made.as_dict()
    assert same(user(summary), model.shown()), (summary, model.shown())
    assert summary.get("_step", -1) == model.step
    found = {k: (i.count, i.first_step, i.last_step) for k, i in made.metrics().items()}
    assert found == {k: (len(s), min(s), max(s)) for k, s in model.counts.items()}


@given(SAID)
def test_any_stream_gives_what_the_model_gives(said: list[tuple[str, Any, bool]]) -> None:
    made = Fold()
    apply_in_batches(made, said)
    check(made, said)


@given(RISING, st.lists(METRICS, max_size=2), st.data())
def test_batches_make_no_difference(
    rows: list[Row], metrics: list[dict[str, Any]], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    head: list[tuple[str, Any, bool]] = [("", event, False) for event in metrics]
    said = head + [("", row, cut) for row, cut in zip(rows, cuts, strict=True)]
    whole, pieces = Fold(), Fold()
    apply_in_batches(whole, [(writer, what, False) for writer, what, _ in said])
    apply_in_batches(pieces, said)
    check(whole, said)

    def without_times(state: dict[str, Any]) -> dict[str, Any]:
        del state["leaves"]["_timestamp"]  # table() stamps each batch from the start again
        for _, row in state["writers"].values():
            (row or {}).pop("_timestamp", None)
        return state

    if rows and "_timestamp" in whole.state()["leaves"]:
        assert same(without_times(whole.state()), without_times(pieces.state()))


@given(SAID, SAID)
def test_state_is_json_and_goes_on_exactly(
    before: list[tuple[str, Any, bool]], after: list[tuple[str, Any, bool]]
) -> None:
    made = Fold()
    apply_in_batches(made, before)
    again = Fold.from_state(loads(dumps(made.state())))
    assert repr(again.state()) == repr(made.state())
    apply_in_batches(made, after)
    apply_in_batches(again, after)
    assert repr(again.state()) == repr(made.state())
    check(again, before + after)


# What the model leaves open, and examples to read.


def test_last_values_by_kind_stay_of_their_kind() -> None:
    made = fold(
        (0, False, {"f": 1.0, "i": 1, "b": True, "s": "x", "n": {"_type": "h"}, "none": None}),
        (1, False, {"f": 2.0, "i": 2, "b": False, "s": None}),
    )
    summary = user(made.as_dict())
    assert summary == {"f": 2.0, "i": 2, "b": False, "s": "x", "n": {"_type": "h"}}
    assert [type(summary[k]) for k in ("f", "i", "b")] == [float, int, bool]


def test_system_values() -> None:
    start = {"t": "start", "at": 90.0}
    made = fold((4, False, {"a": 1}), (2, False, {"a": 2}), events=[(0, start)])
    assert made.as_dict() == {"a": 2, "_step": 4, "_timestamp": 101.0, "_runtime": 11.0}
    made.apply(table([]), [(0, {"t": "start", "at": 95.0})], "another writer")
    assert made.as_dict()["_runtime"] == 11.0
    assert made.metrics() == {"a": MetricInfo("i", 2, 2, 4, {"i": 2})}
    assert Fold().as_dict() == {}


NUMBERS = st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans())
SHAPES = st.lists(
    st.tuples(st.sampled_from("abc"), NUMBERS),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item[0],
)


@given(st.lists(st.tuples(SHAPES, st.integers(1, 4)), max_size=8), st.data())
def test_batches_of_one_shape_are_folded_as_any_others(
    said: list[tuple[list[tuple[str, Any]], int]], data: st.DataObject
) -> None:
    """Batches of a streak, with other things in between, against a fold whose rules forbid it."""
    streaks, columns = Fold(), Fold()
    columns.apply(table([]), [metric("of no interest", summary="max")])
    step = 0
    for values, count in said:
        rows: list[Row] = [(step + i, False, dict(values)) for i in range(count)]
        step = data.draw(st.integers(max(0, step - 2), step + count))
        events = [(0, {"t": "summary", "set": {"a": "mine"}})] if data.draw(st.booleans()) else []
        for made in (streaks, columns):
            made.apply(table(rows), events)
        if data.draw(st.booleans()):
            assert dumps(streaks.values()) == dumps(columns.values())
    assert dumps(streaks.values()) == dumps(columns.values())
    assert streaks.metrics() == columns.metrics()
    assert dumps(streaks.state()["leaves"]) == dumps(columns.state()["leaves"])


def test_a_key_of_two_kinds_is_one_metric() -> None:
    made = fold(
        (0, False, {"a": 1}),
        (1, False, {"a": 0.5}),
        (2, False, {"a": None}),
        (3, False, {"a": 2}),
        events=[metric("a", summary="min,max,mean,first,last")],
    )
    ops = {"min": 0.5, "max": 2, "mean": 3.5 / 3, "last": 2, "first": 1}
    assert user(made.as_dict()) == {"a": ops}
    assert made.metrics()["a"] == MetricInfo("f", 4, 0, 3, {"i": 2, "f": 1, "jnil": 1})


def test_rows_of_a_metric_are_counted_by_type() -> None:
    values = [1, "a", 0.5, True, [1], {"_type": "histogram"}, {"_type": 3}, "b", 2]
    made = fold(*((step, False, {"a": value}) for step, value in enumerate(values)))
    types = {"i": 2, "f": 1, "b": 1, "jstring": 2, "jlist": 1, "jhistogram": 1, "jmap": 1}
    assert made.metrics()["a"].types == types
    assert made.metrics()["a"].kind == "f"
    twin = Fold.from_state(loads(dumps(made.state())))
    assert twin.metrics() == made.metrics()
    many = fold(*((i, False, {"a": {"_type": f"t{i}"}}) for i in range(100)))
    found = many.metrics()["a"].types
    assert (len(found) <= 17, sum(found.values())) == (True, 100)


def test_a_value_set_by_hand_that_is_too_deep_is_passed_over() -> None:
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    made = fold(events=[(0, {"t": "summary", "set": {"a": deep, "b": deep[0]}})])
    assert list(made.values()) == ["b"]


def test_nan_is_skipped_where_it_would_poison() -> None:
    values = [NAN, 3.0, 1.0, NAN]
    rows: list[Row] = [(i, False, {"a": v, "b": NAN, "c": v}) for i, v in enumerate(values)]
    made = fold(
        *rows,
        events=[
            metric("*", summary="min,max,mean"),
            metric("c", summary="best,last", goal="maximize"),
        ],
    )
    summary = made.as_dict()
    assert user(summary).keys() == {"a", "c"}
    assert summary["a"] == {"min": 1.0, "max": 3.0, "mean": 2.0}
    assert summary["c"]["best"] == 3.0
    assert math.isnan(summary["c"]["last"])


def test_best_without_a_goal_is_the_smallest() -> None:
    rows: list[Row] = [(0, False, {"a": 2}), (1, False, {"a": 1}), (2, False, {"a": 3})]
    assert fold(*rows, events=[metric("a", summary="best")]).as_dict()["a"] == {"best": 1}


@pytest.mark.parametrize(
    ("ops", "shown"),
    [
        ("copy", {"a": 3}),
        ("none", {}),
        ("none,min", {}),
        ("copy,min", {"a": {"min": 3}}),
        (None, {"a": 3}),
    ],
)
def test_copy_and_none(ops: str | None, shown: dict[str, Any]) -> None:
    assert user(fold((0, False, {"a": 3}), events=[metric("a", summary=ops)]).as_dict()) == shown


def test_an_open_row_counts_when_its_step_closes() -> None:
    made = fold((0, True, {"a": 1, "b": 1}))
    assert made.as_dict() == {}
    assert made.metrics()["a"].count == 1
    made.apply(table([(0, False, {"b": 2})]))
    assert user(made.as_dict()) == {"a": 1, "b": 2}
    made.apply(table([(1, True, {"a": 5})]))
    made.apply(table([(9, False, {"a": 6})]), writer="another")
    assert user(made.as_dict()) == {"a": 6, "b": 2}
    made.apply(table([(2, True, {"b": 7})]))
    assert user(made.as_dict()) == {"a": 5, "b": 2}
    made.apply(table([]), [(0, {"t": "finish", "exit_code": 0, "at": 1.0})])
    assert user(made.as_dict()) == {"a": 5, "b": 7}


def test_a_late_row_counts_at_once_while_a_step_is_open() -> None:
    made = fold((5, True, {"a": 1}), (3, False, {"eval": 2}))
    assert user(made.as_dict()) == {"eval": 2}
    assert made.as_dict()["_step"] == 3


def test_a_merged_row_reduces_to_its_last_value() -> None:
    rows: list[Row] = [(0, True, {"a": 1}), (0, True, {"a": 9}), (0, False, {"a": 5})]
    assert fold(*rows, events=[metric("a", summary="min,max")]).as_dict()["a"] == {
        "min": 5,
        "max": 5,
    }


def test_a_value_set_by_hand_stands_until_the_next_log_and_ends_the_ops() -> None:
    made = fold((0, False, {"a": 1}), events=[metric("a", summary="min")])
    made.apply(table([]), [(0, {"t": "summary", "set": {"a": "best yet", "z": None}})])
    assert user(made.as_dict()) == {"a": "best yet", "z": None}
    made.apply(table([(1, False, {"a": 4})]))
    assert user(made.as_dict()) == {"a": 4, "z": None}
    made.apply(table([]), [(0, {"t": "summary", "delete": ["a"]})])
    made.apply(table([(2, False, {"a": 3})]))
    assert user(made.as_dict()) == {"a": {"min": 3}, "z": None}


def test_deleting_a_parent_deletes_what_is_below_it() -> None:
    made = fold((0, False, {"a.b": 1, "a.c": 2, r"a\.b": 3, "ab": 4}))
    made.apply(table([]), [(0, {"t": "summary", "delete": ["a", "_timestamp"]})])
    assert user(made.as_dict()) == {"a.b": 3, "ab": 4}
    assert "_timestamp" in made.as_dict()


def test_paths_become_nested_dicts_without_loss() -> None:
    made = fold((0, False, {"a.b": 1, "a.c.d": 2, r"x\.y": 3, "p": 4, "p.q": 5, "a.c": 6}))
    assert user(made.as_dict()) == {"a": {"b": 1, "c": 6, "c.d": 2}, "x.y": 3, "p": 4, "p.q": 5}


@pytest.mark.parametrize(
    "event",
    [
        {"t": "metric", "name": 5},
        {"t": "metric", "name": "a", "summary": ["p99"]},
        {"t": "summary", "set": [1], "delete": {"a": 1}},
        {"t": "summary", "delete": [1, None, ["a"]]},
        {"t": "summary"},
        {"t": "start", "at": "noon"},
        {"t": ["?"]},
        {},
    ],
    ids=repr,
)
def test_malformed_events_are_passed_over(event: dict[str, Any]) -> None:
    assert user(fold((0, False, {"a": 1}), events=[(0, event), (1, event)]).as_dict()) == {"a": 1}


def test_many_open_rows_cost_no_loop_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Table) -> Any:
        raise AssertionError("a table was walked row by row")

    n = 4096
    steps = np.arange(n) // 2
    steps[7::50] -= 3  # late ones among them
    flags = np.arange(n) % 5 != 0
    values = np.sin(np.arange(n))
    big = Table.from_columns(
        n,
        [
            Column("_step", "i", steps),
            Column("_timestamp", "f", np.arange(n, dtype=float)),
            Column("_open", "b", flags),
            Column("a", "f", values),
        ],
    )
    rows: list[Row] = [
        (int(s), bool(o), {"a": float(v)}) for s, o, v in zip(steps, flags, values, strict=True)
    ]
    monkeypatch.setattr(Table, "iter_rows", forbidden)
    made = Fold()
    made.apply(big, [metric("a", summary="min,max,mean,last,first,best")])
    said: list[tuple[str, Any, bool]] = [
        ("", metric("a", summary="min,max,mean,last,first,best")[1], False)
    ]
    check(made, said + [("", row, False) for row in rows])
