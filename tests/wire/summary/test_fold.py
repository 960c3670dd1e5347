"""The summary fold: against a model that goes row by row, in whatever batches the rows come."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire.rows.columns import Column, Kind, Table
from asyncwb.wire.rows.values import NON_FINITE, dumps, loads
from asyncwb.wire.summary.fold import Fold, MetricInfo
from asyncwb.wire.summary.metrics import MetricRules, metric_event
from asyncwb.wire.summary.stored import rows_of_numbers

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
    """Keeps everything that was logged; the highest step wins, then the writer, then the order."""

    def __init__(self) -> None:
        self.rules = MetricRules()
        self.started: dict[str, float] = {}
        self.last: dict[str, tuple[Any, Any]] = {}  # rank and value
        self.seen: dict[str, dict[str, list[tuple[Any, Any]]]] = {}
        self.explicit: set[str] = set()
        self.top: dict[str, int] = {}
        self.open: dict[str, dict[str, Any]] = {}
        self.step = -1
        self.counts: dict[str, list[int]] = {}

    def row(self, writer: str, row: Row) -> None:
        step, is_open, values = row
        self.started.setdefault(writer, 0.0)
        for key in values:
            self.counts.setdefault(key, []).append(step)
        top = self.top.get(writer, -1)
        if step < top:
            self.close(writer, step, values)
            return
        if step > top:
            self.flush(writer)
        self.top[writer] = step
        self.open[writer] = {**self.open.get(writer, {}), **values}
        if not is_open:
            self.flush(writer)

    def rank(self, writer: str, step: int) -> Any:
        return step, self.started[writer], writer

    def flush(self, writer: str) -> None:
        if writer in self.open:
            self.close(writer, self.top[writer], self.open.pop(writer))

    def close(self, writer: str, step: int, values: Mapping[str, Any]) -> None:
        self.step = max(self.step, step)
        rank = self.rank(writer, step)
        for key, value in values.items():
            if value is None:
                continue
            self.put(key, value, rank)
            rule = self.rules.resolve(key)
            if rule is not None and key not in self.explicit:
                for stat in rule.tracked:
                    self.seen.setdefault(key, {}).setdefault(stat, []).append((rank, value))

    def put(self, key: str, value: Any, rank: Any) -> None:
        if key not in self.last or rank >= self.last[key][0]:
            self.last[key] = rank, value

    def event(self, writer: str, event: dict[str, Any]) -> None:
        self.started.setdefault(writer, event["at"] if event["t"] == "start" else 0.0)
        if event["t"] == "metric":
            self.rules.define(event)
        elif event["t"] == "finish":
            self.flush(writer)
        elif event["t"] == "summary":
            self.set_by_hand(writer, event)

    def set_by_hand(self, writer: str, event: dict[str, Any]) -> None:
        told = "step" in event
        rank = self.rank(writer, max(self.top.get(writer, -1), event.get("step", -1)))
        rows = [self.open.get(writer, {})] if told else list(self.open.values())
        for path in event["delete"]:
            for row in rows:
                row.pop(path, None)
            if path in self.last and not (told and rank < self.last[path][0]):
                self.last[path] = rank if told else self.last[path][0], ()
            elif told and path not in self.last:
                self.last[path] = rank, ()
            if not self.counts.get(path):
                self.last.pop(path, None)
            self.explicit.discard(path)
            self.seen.pop(path, None)
        for path, value in event["set"].items():
            steps = [self.top[name] for name, row in self.open.items() if path in row]
            for row in rows:
                row.pop(path, None)
            if not told:
                before = self.last.pop(path, ((rank[0],), ()))[0][0]
                self.put(path, value, (max(rank[0], before, *steps), *rank[1:]))
            self.put(path, value, rank)
            self.explicit.add(path)
            self.seen.pop(path, None)

    def shown(self) -> dict[str, Any]:
        """Return the summary and the step if each open row closed now."""
        now = copy.deepcopy(self)
        for writer in list(now.open):
            now.flush(writer)
        found = {key: now.value(key) for key in now.last}
        shown = {key: value for key, value in found.items() if value != ()}
        return shown | ({"_step": now.step} if now.step >= 0 else {})

    def value(self, key: str) -> Any:
        rule = self.rules.resolve(key)
        if rule is None or key in self.explicit or not (rule.shown or rule.absent):
            return self.last[key][1]
        if rule.absent:
            return ()
        best = "max" if rule.goal == "maximize" else "min"
        pairs = {op: self.op(key, best if op == "best" else op) for op in rule.shown}
        return {op: value for op, value in pairs.items() if value != ()} or ()

    def op(self, key: str, op: str) -> Any:
        if op == "last":
            return self.last[key][1]
        values = self.seen.get(key, {}).get(op, [])
        if op == "first":
            return min(values, key=lambda entry: entry[0])[1] if values else ()
        numbers = [v for _, v in values if isinstance(v, (int, float)) and not math.isnan(v)]
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
    },
    optional={"step": st.integers(0, 6)},
)
# What a writer of ours sets says its step; deleting takes away what is there by then.
SETS_OF_WRITERS = st.fixed_dictionaries(
    {
        "t": st.just("summary"),
        "set": st.dictionaries(KEYS, NUMBERS | st.none(), min_size=1, max_size=2),
        "delete": st.just([]),
        "step": st.integers(0, 6),
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
    shown = {key: value for key, value in summary.items() if key not in ("_timestamp", "_runtime")}
    assert same(shown, model.shown()), (summary, model.shown())
    found = {k: (i.count, i.first_step, i.last_step) for k, i in made.metrics().items()}
    assert found == {k: (len(s), min(s), max(s)) for k, s in model.counts.items()}


@given(SAID)
def test_any_stream_gives_what_the_model_gives(said: list[tuple[str, Any, bool]]) -> None:
    made = Fold()
    apply_in_batches(made, said)
    check(made, said)


def leaves_of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a state says of each path."""
    columns = state["leaves"]
    paths = columns["path"]
    found: dict[str, dict[str, Any]] = {path: {} for path in paths}
    for name, column in columns.items():
        if name in ("explicit", "missing", "unranked"):
            column = [[at, True] for at in column]
        elif name not in ("stats", "not_finite"):
            column = enumerate(column)
        for at, value in column:
            found[paths[at]][name] = value
    return found


def version_2(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state as releases before wrote it: a list a leaf."""
    leaves = {}
    for path, said in leaves_of(state).items():
        described = [said[name] for name in ("kind", "count", "first_step", "last_step")]
        held = [*described, "explicit" in said, said.get("stats", {})]
        place = [] if "unranked" in said else [said["step"], said["writer"]]
        value = NON_FINITE[said["not_finite"]] if "not_finite" in said else said["value"]
        leaves[path] = [*held, *place, *([] if said.keys() & {"missing", "unranked"} else [value])]
    writers = {
        name: [top, row[0] if row else None, started]
        for name, (top, started, *row) in state["writers"].items()
    }
    return {**state, "v": 2, "leaves": leaves, "writers": writers}


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
        leaves = state["leaves"] = leaves_of(state)
        del leaves["_timestamp"]  # table() stamps each batch from the start again
        for _, _, *row in state["writers"].values():
            for values in row:
                values.pop("_timestamp", None)
        return state

    if rows and "_timestamp" in whole.state()["leaves"]["path"]:
        assert same(without_times(whole.state()), without_times(pieces.state()))


LIVES = st.lists(
    st.tuples(
        st.sampled_from([90.0, 91.0]),
        st.lists(ROWS | ROWS | ROWS | SETS_OF_WRITERS | FINISH, max_size=8),
    ),
    min_size=2,
    max_size=3,
)


@given(LIVES, st.lists(METRICS, max_size=2), st.data())
def test_the_order_in_which_writers_arrive_makes_no_difference(
    lives: list[tuple[float, list[Any]]], metrics: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Each writer's words come in their order, and the writers' words mixed in any way."""
    words = {
        f"w{number}": [{"t": "start", "at": started}, *said]
        for number, (started, said) in enumerate(lives)
    }
    turns = [name for name, said in words.items() for _ in said]
    found = []
    for order in (turns, data.draw(st.permutations(turns))):
        left = {name: iter(said) for name, said in words.items()}
        made = Fold()
        said = [("", event, False) for event in metrics]
        said += [(name, next(left[name]), data.draw(st.booleans())) for name in order]
        apply_in_batches(made, said)
        check(made, said)
        found.append(
            {k: v for k, v in made.as_dict().items() if k not in ("_timestamp", "_runtime")}
        )
    assert same(*found), found


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


def test_a_state_of_rows_is_read_and_written_by_the_fast_codec() -> None:
    """A NaN or a null anywhere in it sends 100,000 metrics past another codec, or a walk."""
    made = fold((0, False, {"a": NAN, "b": -INF, "c": 1.5}), (1, False, {"c": INF}))
    made.apply(table([]), [(0, {"t": "start", "at": 50.0})], writer="w")
    text = dumps(made.state())
    assert b"null" not in text
    assert loads(text) == orjson.loads(text)
    again = Fold.from_state(loads(text)).as_dict()
    assert same({key: again[key] for key in "abc"}, {"a": NAN, "b": -INF, "c": INF})


@given(SAID, SAID)
def test_a_state_of_version_2_goes_on_exactly(
    before: list[tuple[str, Any, bool]], after: list[tuple[str, Any, bool]]
) -> None:
    made = Fold()
    apply_in_batches(made, before)
    stored = loads(dumps(version_2(made.state())))
    again = Fold.from_state(stored)
    assert list(rows_of_numbers(stored)) == list(rows_of_numbers(made.state()))
    assert repr(again.state()) == repr(made.state())
    apply_in_batches(made, after)
    apply_in_batches(again, after)
    assert repr(again.state()) == repr(made.state())


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
    assert made.as_dict() == {"a": 1, "_step": 4, "_timestamp": 100.0, "_runtime": 10.0}
    made.apply(table([]), [(0, {"t": "start", "at": 95.0})], "another writer")
    assert made.as_dict()["_runtime"] == 10.0
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


def test_an_open_row_is_shown_as_if_it_closed_now() -> None:
    rule = metric("a", summary="min,last")
    made = fold((0, True, {"a": 1, "b": 1}), events=[rule])
    assert made.as_dict()["a"] == {"min": 1, "last": 1}
    assert made.as_dict()["_step"] == 0
    assert made.metrics()["a"].count == 1
    made.apply(table([(0, True, {"a": 3})]))
    assert user(made.as_dict()) == {"a": {"min": 3, "last": 3}, "b": 1}
    made.apply(table([(9, False, {"a": 6})]), writer="another")
    assert user(made.as_dict()) == {"a": {"min": 3, "last": 6}, "b": 1}
    made.apply(table([(2, True, {"b": 7})]))
    made.apply(table([]), [(0, {"t": "finish", "exit_code": 0, "at": 1.0})])
    assert user(made.as_dict()) == {"a": {"min": 3, "last": 6}, "b": 7}
    assert made.as_dict()["_step"] == 9


def test_a_late_row_adds_what_is_new_and_leaves_what_is_newer() -> None:
    made = fold((5, True, {"a": 1}), (3, False, {"eval": 2, "a": 9}))
    assert user(made.as_dict()) == {"eval": 2, "a": 1}
    assert made.as_dict()["_step"] == 5


def test_of_two_writers_at_one_step_the_one_that_started_later_is_the_last() -> None:
    def begin(at: float) -> list[tuple[int, dict[str, Any]]]:
        return [(0, {"t": "start", "at": at}), metric("a", summary="first,last")]

    parent, child = Fold(), Fold()
    for made, order in ((parent, ("parent", "child")), (child, ("child", "parent"))):
        for name in order:
            at, value = (90.0, 1) if name == "parent" else (95.0, 2)
            made.apply(table([(4, False, {"a": value})]), begin(at), name)
    assert parent.as_dict()["a"] == child.as_dict()["a"] == {"first": 1, "last": 2}


def test_what_a_writer_sets_stands_over_its_own_rows_and_not_over_later_steps() -> None:
    made = fold((5, True, {"a": 1}))
    made.apply(table([]), [(0, {"t": "summary", "set": {"a": 7}, "step": 5})])
    made.apply(table([(3, False, {"a": 2})]))
    assert user(made.as_dict()) == {"a": 7}
    made.apply(table([(9, False, {"a": 3})]), writer="another")
    assert user(made.as_dict()) == {"a": 3}
    made.apply(table([]), [(0, {"t": "summary", "set": {"a": 8}, "step": 6})])
    assert user(made.as_dict()) == {"a": 3}
    made.apply(table([]), [(0, {"t": "summary", "set": {"a": 9}})])  # an edit from outside
    assert user(made.as_dict()) == {"a": 9}
    made.apply(table([(10, False, {"a": 4})]), writer="another")
    assert user(made.as_dict()) == {"a": 4}


def test_a_state_of_before_goes_on() -> None:
    state = {
        "v": 1,
        "started_at": 90.0,
        "step": 7,
        "leaves": {
            "a": ["i", 8, 0, 7, False, {"first": 3}, 5],
            "b": ["j", 0, 0, 0, True, {}, "mine"],
            "_timestamp": ["j", 0, 0, 0, False, {}, 107.0],
        },
        "rules": [metric_event("a", summary="first,last")],
        "writers": {"w": [7, None]},
    }
    made = Fold.from_state(state)
    made.apply(table([(3, False, {"a": 1}), (8, False, {"b": 2})], start=200.0), writer="w")
    assert user(made.as_dict()) == {"a": {"first": 3, "last": 5}, "b": 2}
    again = Fold.from_state(loads(dumps(made.state())))
    assert again.as_dict() == made.as_dict()


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


def test_a_fold_of_fewer_rows_takes_over_what_rows_do_not_tell() -> None:
    """As rewinding does: what was set by hand stays, whoever of the writers did it."""
    before = Fold()
    for number, name in enumerate(("a", "b", "c")):
        start = (0, {"t": "start", "at": 50.0 + number})
        before.apply(table([(9, False, {"loss": 1.0})]), [start], name)
    by_hand = {"t": "summary", "set": {"best": 7, "loss": 3.0}, "delete": [], "step": 9}
    before.apply(table([]), [(0, by_hand), metric("loss", summary="min")], "c")
    anew = Fold()
    anew.take_over(Fold.from_state(before.state()))
    anew.apply(table([(2, False, {"loss": 2.0})]), writer="of all")
    anew.take_over(Fold.from_state(before.state()))
    stored = Fold.from_state(loads(dumps(anew.state())))
    assert user(stored.as_dict()) == {"best": 7, "loss": {"min": 2.0}}
    assert stored.rules.events() == before.rules.events()
    stored.apply(table([(3, False, {"best": 8})]), writer="of all")
    assert user(stored.as_dict())["best"] == 8, "at a step before the one it was set at, too"
