"""Metric rules: who wins, what adds up, which step metrics a row lacks, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from asyncwb.errors import UsageError
from asyncwb.wire.summary.metrics import MetricRule, MetricRules, metric_event


def rules(*definitions: dict[str, Any]) -> MetricRules:
    return MetricRules(metric_event(**definition) for definition in definitions)


def resolved(made: MetricRules, path: str) -> MetricRule:
    rule = made.resolve(path)
    assert rule is not None
    return rule


def test_the_full_name_beats_globs_and_the_longest_glob_the_others() -> None:
    made = rules(
        {"name": "*", "summary": "min"},
        {"name": "val/loss*", "summary": "max"},
        {"name": "val/*", "summary": "mean"},
        {"name": "val/loss", "hidden": True},
    )
    assert resolved(made, "x").ops == ("min",)
    assert resolved(made, "val/acc").ops == ("mean",)
    assert resolved(made, "val/loss_1").ops == ("max",)
    assert resolved(made, "val/loss") == MetricRule("val/loss", hidden=True)
    assert made.resolve("_gpu") is None


def test_definitions_of_one_name_add_up() -> None:
    made = rules(
        {"name": "a", "summary": "min", "hidden": True, "step_metric": "s"},
        {"name": "a", "summary": ["max"], "hidden": False, "goal": "maximize", "step_sync": False},
    )
    expected = MetricRule("a", "s", True, True, ("min", "max"), "maximize")
    assert made.resolve("a") == expected
    made.define(metric_event("a", summary="last", overwrite=True))
    assert made.resolve("a") == MetricRule("a", ops=("last",))


def test_a_later_definition_holds_for_keys_already_seen() -> None:
    made = rules()
    assert made.resolve("a") is None
    made.define(metric_event("a*", summary="min"))
    assert resolved(made, "a").ops == ("min",)


def test_step_metrics_that_a_row_lacks() -> None:
    made = rules(
        {"name": "*", "step_metric": "global_step"},
        {"name": "val/*", "step_metric": "epoch"},
        {"name": "free", "step_metric": "epoch", "step_sync": False},
        {"name": "timed", "step_metric": "_timestamp"},
    )
    assert made.syncs
    assert made.missing_steps(["loss", "acc"]) == ["global_step"]
    assert made.missing_steps(["loss", "val/acc"]) == ["global_step", "epoch"]
    assert made.missing_steps(["val/acc", "epoch", "global_step"]) == []
    assert made.missing_steps({"global_step": 1}) == []
    assert made.missing_steps(["free", "timed", "_system"]) == []
    assert rules({"name": "*", "summary": "min"}).missing_steps(["a"]) == []


def test_events_rebuild_the_same_rules() -> None:
    made = rules(
        {"name": "a", "step_metric": "s", "step_sync": False, "goal": "minimize"},
        {"name": "b*", "step_metric": "s", "summary": "best,none"},
    )
    again = MetricRules(made.events())
    assert again.events() == made.events()
    assert again.resolve("bb") == made.resolve("bb")
    assert again.syncs is made.syncs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name must be a non-empty string"),
        ({"name": 3}, "name must be a non-empty string, not 3"),
        ({"name": "a*b"}, "last character"),
        ({"name": "**"}, "last character"),
        ({"name": "a", "summary": "min,median"}, "summary must be made of .* not 'median'"),
        ({"name": "a", "summary": 5}, "summary must be"),
        ({"name": "a", "summary": "z" * 5_000}, r"not 'z+\.\.\.z+'; nothing was defined"),
        ({"name": "a", "summary": [5]}, "summary must be"),
        ({"name": "a", "goal": "up"}, "goal must be one of minimize, maximize; not|not 'up'"),
        ({"name": "a", "step_metric": 1}, "step_metric must be the name"),
        ({"name": "a", "step_metric": "s*"}, "not a glob"),
        ({"name": "a", "hidden": "yes"}, "hidden must be True or False"),
        ({"name": "a", "step_sync": 1}, "step_sync must be True or False"),
        ({"name": "a", "overwrite": 1}, "overwrite must be True or False"),
    ],
)
def test_bad_definitions_name_the_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metric_event(**arguments)
    with pytest.raises(UsageError, match="define_metric"):
        MetricRules([{"t": "metric", **arguments}])
