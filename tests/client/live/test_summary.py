"""Summary: nested names over the fold's paths, read locally, written as changes."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.client.live.summary import Summary
from asyncwb.errors import LogTypeError, UsageError
from asyncwb.wire.rows.keys import flatten


class Fold:
    """Stands for the run: holds `{path: value}` and applies the changes as a server would."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.values = dict(values or {})
        self.changes: list[tuple[dict[str, Any], list[str]]] = []
        self.finished = False

    def read(self) -> dict[str, Any]:
        return dict(self.values)

    def change(self, values: dict[str, Any], deleted: list[str]) -> None:
        if self.finished:
            raise UsageError("the run has finished")
        self.changes.append((values, deleted))
        for path in deleted:
            self.values.pop(path, None)
        self.values.update(values)

    @property
    def summary(self) -> Summary:
        return Summary(self.read, self.change)


def test_reading_is_a_mapping_and_attributes() -> None:
    summary = Fold(
        {"loss": 0.5, "val.acc": 1, "a\\.b": 2, "_step": 3, "_wandb": {"runtime": 1}}
    ).summary
    assert summary.loss == summary["loss"] == summary.get("loss") == 0.5
    assert summary["val"]["acc"] == summary.val.acc == 1
    assert summary["a.b"] == 2, "a literal dot is one key"
    assert list(summary) == list(summary.keys()) == ["loss", "val", "a.b", "_step"]
    assert len(summary) == 4
    assert "val" in summary
    assert "acc" not in summary
    assert summary.get("acc", 7) == 7
    assert json.loads(json.dumps(dict(summary))) == summary.as_dict()
    assert dict(summary.items())["val"] == {"acc": 1}
    with pytest.raises(KeyError):
        _ = summary["nothing"]
    with pytest.raises(AttributeError, match="no key 'nothing'"):
        _ = summary.nothing
    with pytest.raises(AttributeError, match="nothing at 'x'"):
        _ = summary.val.x


def test_reading_follows_the_run() -> None:
    fold = Fold({"loss": 1.0})
    summary = fold.summary
    fold.values["loss"] = 0.5
    assert summary["loss"] == 0.5


def test_nested_writes_keep_siblings() -> None:
    fold = Fold()
    fold.summary["best"] = {"acc": 0.9, "at": {"step": 1}}
    fold.summary["best"]["loss"] = 0.1
    fold.summary.best.at.epoch = 2
    fold.summary["best"].update(seed=3)
    expected = {"acc": 0.9, "at": {"step": 1, "epoch": 2}, "loss": 0.1, "seed": 3}
    assert fold.summary.as_dict() == {"best": expected}
    assert fold.changes[1:] == [
        ({"best.loss": 0.1}, []),
        ({"best.at.epoch": 2}, []),
        ({"best.seed": 3}, []),
    ]


def test_a_value_replaces_what_stood_at_its_place() -> None:
    fold = Fold({"a.b": 1, "a.c.d": 2, "x": 5})
    fold.summary["a"] = 3
    assert fold.values == {"a": 3, "x": 5}
    fold.summary["a"] = {"b": 4}
    assert fold.values == {"a.b": 4, "x": 5}, "the scalar above gives way"


def test_reduced_metrics_read_as_nested_values() -> None:
    fold = Fold({"loss": {"min": 0.1, "max": 2.0}})
    assert fold.summary["loss"]["min"] == 0.1
    fold.summary["loss"]["target"] = 0.05
    assert fold.summary["loss"] == {"min": 0.1, "max": 2.0, "target": 0.05}
    del fold.summary["loss"]["max"]
    assert fold.summary["loss"] == {"min": 0.1, "target": 0.05}


def test_deleting() -> None:
    fold = Fold({"a.b": 1, "a.c": 2, "x": 5})
    summary = fold.summary
    del summary["a"]["b"]
    assert summary["a"].pop("c") == 2
    del summary.x
    assert summary.as_dict() == {}
    assert fold.changes == [({}, ["a.b"]), ({}, ["a.c"]), ({}, ["x"])]
    with pytest.raises(KeyError):
        del summary["x"]
    with pytest.raises(AttributeError):
        del summary.x


def test_update_is_one_change_and_converts_values() -> None:
    fold = Fold()
    fold.summary.update({"a": np.float32(0.5), "n": {"d": np.arange(2)}}, big=np.zeros(100))
    ((values, deleted),) = fold.changes
    assert deleted == []
    assert values["big"]["_type"] == "histogram"
    assert {path: values[path] for path in ("a", "n.d")} == {"a": 0.5, "n.d": [0, 1]}
    assert fold.summary["big"]["_type"] == "histogram", "a histogram is one value"
    with pytest.raises(LogTypeError, match="thing"):
        fold.summary["thing"] = object()
    assert len(fold.changes) == 1


def test_after_finish_reading_goes_on() -> None:
    fold = Fold({"a": {"b": 1}, "x": 1})
    summary = fold.summary
    fold.finished = True
    for write in (
        lambda: summary.update(x=2),
        lambda: summary["a"].__setitem__("b", 2),
        lambda: summary.__delitem__("x"),
    ):
        with pytest.raises(UsageError):
            write()
    assert summary.as_dict() == {"a": {"b": 1}, "x": 1}


def test_copies_are_plain_data() -> None:
    summary = Fold({"a.b": 1}).summary
    for twin in (copy.deepcopy(summary), pickle.loads(pickle.dumps(summary))):
        assert type(twin) is dict
        assert twin == {"a": {"b": 1}}
    assert type(copy.deepcopy(summary["a"])) is dict


keys = st.sampled_from(["a", "b", "a.b", "a\\", "\\.", "c"])
trees = st.recursive(
    st.integers(0, 3),
    lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(keys, trees, max_size=4), keys, trees)
def test_writing_one_key_is_writing_a_dict(before: dict[str, Any], key: str, value: Any) -> None:
    fold = Fold(flatten(before))
    assert fold.summary.as_dict() == before
    fold.summary[key] = value
    assert fold.summary.as_dict() == before | {key: value}
    assert fold.values == flatten(before | {key: value})
