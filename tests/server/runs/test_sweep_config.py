"""What a sweep's configuration says: how many runs there can be, and what is to become better."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.runs.sweep_config import SweepConfigError, read

METRIC = {"name": "loss"}


def config(method: str = "grid", /, **more: Any) -> str:
    text: str = yaml.dump({"method": method, **more})
    return text


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({}, 1),
        ({"a": {"value": 7}, "b": {"values": [1, 2]}}, 2),
        ({"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}}, 6),
        ({"a": {"values": []}, "b": {"values": [1, 2]}}, 0),
        ({"a": {"min": 1, "max": 4}}, 4),
        ({"a": {"min": 1, "max": 4, "distribution": "int_uniform"}}, 4),
        ({"a": {"min": 4, "max": 1}}, 0),
        ({"a": {"min": 1, "max": 4, "distribution": "q_uniform"}}, None),
        ({"a": {"min": 0.0, "max": 1.0}}, None),
        ({"a": {"mu": 0, "sigma": 1, "distribution": "normal"}}, None),
        ({"net": {"parameters": {"a": {"values": [1, 2]}, "b": {"values": [3, 4]}}}}, 4),
        ({"net": {"parameters": {"a": {"min": 0.0, "max": 1.0}}}}, None),
        ({"a": 3}, None),
        ({name: {"values": list(range(1000))} for name in "abcd"}, None),
    ],
)
def test_how_many_runs_a_grid_has(parameters: dict[str, Any], count: int | None) -> None:
    assert read(config(parameters=parameters)).expected_runs == count
    capped = read(config(parameters=parameters, run_cap=3)).expected_runs
    assert capped == (3 if count is None else min(3, count))


@pytest.mark.parametrize("method", ["random", "bayes", "custom"])
def test_only_a_cap_bounds_a_search(method: str) -> None:
    parameters = {"a": {"values": [1, 2]}}
    assert read(config(method, parameters=parameters)).expected_runs is None
    assert read(config(method, parameters=parameters, run_cap=9)).expected_runs == 9


def test_the_metric_is_a_field_of_runs() -> None:
    assert read(config()).metric is None
    found = read(config(metric=METRIC))
    assert (found.metric, found.maximize) == ("summary_metrics.loss", False)
    found = read(config(metric={"name": "val.acc", "goal": "maximize"}))
    assert (found.metric, found.maximize) == ("summary_metrics.val.acc", True)
    assert (found.metric_name, read(config()).metric_name) == ("val.acc", None)


def test_what_is_varied() -> None:
    parameters = {
        "lr": {"min": 0.0, "max": 1.0},
        "depth": {"values": [1, 2]},
        "width": {"values": [8]},
        "seed": {"value": 3},
        "net.a": {"parameters": {"b": {"values": [1, 2]}}},
        "odd: key": {"mu": 0, "sigma": 1},
    }
    found = read(config("random", parameters=parameters)).varied
    assert sorted(found) == ["depth", "lr", "net.a", "odd: key"]
    assert read("{method: random, parameters: {a: {min: 0, max: 9}}}").varied == ("a",)


def test_what_is_odd_is_said() -> None:
    parameters = {"a": {"value": 1}}
    assert read(config(parameters=parameters)).warnings == ()
    assert read(config("bayes", parameters=parameters, metric=METRIC)).warnings == ()
    assert [w.split()[0] for w in read(config("bayes")).warnings] == ["`parameters`", "`metric`"]


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    for written in (text, f"method: grid\n{text}", f"{{method: grid, parameters: {text}}}"):
        with suppress(SweepConfigError):
            assert read(written).method == "grid"
