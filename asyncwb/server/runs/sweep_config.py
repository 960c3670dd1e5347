"""What the configuration of a sweep says, read out of the YAML that a client sends. Pure.

The text is kept as it came; only what the server goes by is read out: how values are chosen, what
is to become better, and how many runs there can be.

Source: https://docs.wandb.ai/guides/sweeps/sweep-config-keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml
from yaml.nodes import Node

from asyncwb.errors import FilterError
from asyncwb.server.queries.filters import field_of
from asyncwb.typing import JsonObject

METHODS: Final = ("bayes", "custom", "grid", "random")
MAX_TEXT: Final = 2**18
"""characters of a configuration; reading as many takes about half a second"""
_MANY: Final = 2**31 - 1
"""the most runs that can be told; what has more has no end as far as anybody can wait"""
_GOALS: Final = ("minimize", "maximize")
_PLAIN: Final = (bool, int, float, str, type(None))


class SweepConfigError(ValueError):
    """It cannot be the configuration of a sweep; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """What the server goes by.

    `name` is what it calls the sweep, if anything; `metric` is the path of a run's field, None
    where nothing is measured, and `metric_name` what it is called; `varied` names the parameters
    with more than one choice; `expected_runs` is None where there is no end; `warnings` are for
    who wrote it.
    """

    name: str | None
    method: str
    metric: str | None
    metric_name: str | None
    maximize: bool
    varied: tuple[str, ...]
    expected_runs: int | None
    warnings: tuple[str, ...] = ()


@functools.lru_cache(maxsize=64)
def read(text: str) -> SweepConfig:
    """Read a configuration. Takes half a second at its longest: not for the event loop.

    The last few are remembered, since an open page asks for its sweep again and again.

    Raises:
        SweepConfigError: it is too long, no YAML of a mapping, or says what no sweep can do.
    """
    config = _mapping(text)
    method = config.get("method")
    if method not in METHODS:
        raise SweepConfigError(f"`method` must be one of {', '.join(METHODS)}")
    parameters = config.get("parameters", {})
    if not isinstance(parameters, dict):
        raise SweepConfigError("`parameters` must be a mapping of names")
    metric, metric_name, maximize = _metric(config.get("metric"))
    varied = tuple(key for key, parameter in parameters.items() if _choices(parameter) != 1)
    expected = _expected(method, parameters, _cap(config.get("run_cap")))
    name = config.get("name")
    if name is not None and not isinstance(name, str):
        raise SweepConfigError("`name` must be text; write it in quotes")
    warnings = tuple(_warnings(config))
    return SweepConfig(name, method, metric, metric_name, maximize, varied, expected, warnings)


class _Loader(yaml.SafeLoader):
    """Reads YAML of plain values.

    In Python, since the loader in C dies of deep nesting; and without aliases, since a few of them
    can stand for more values than fit into memory.
    """

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise SweepConfigError("it has an alias (*name); write the value out")
        return super().compose_node(parent, index)


def _mapping(text: str) -> JsonObject:
    if len(text) > MAX_TEXT:
        raise SweepConfigError(f"it has more than {MAX_TEXT} characters")
    try:
        config = yaml.load(text, Loader=_Loader)
    except SweepConfigError:
        raise
    except RecursionError:
        raise SweepConfigError("it is nested too deeply") from None
    # The last four are what PyYAML lets through where a tag and its value do not fit.
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SweepConfigError(f"it is no YAML: {error}") from error
    if not isinstance(config, dict):
        raise SweepConfigError("it is no mapping")
    _check_plain(config)
    return config


def _check_plain(config: Mapping[object, object]) -> None:
    left: list[object] = [config]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            if not all(isinstance(key, str) for key in node):
                raise SweepConfigError("a key is not text; write it in quotes")
            left += node.values()
        elif isinstance(node, list):
            left += node
        elif not isinstance(node, _PLAIN):
            raise SweepConfigError(f"{node!r:.100} is no value of JSON; write it in quotes")


def _metric(metric: object) -> tuple[str | None, str | None, bool]:
    if metric is None:
        return None, None, False
    said = metric if isinstance(metric, dict) else {}
    name = said.get("name")
    if not isinstance(name, str) or not name:
        raise SweepConfigError("`metric` must be a mapping with the `name` of a metric")
    goal = said.get("goal", "minimize")
    if goal not in _GOALS:
        raise SweepConfigError(f"the `goal` of `metric` must be one of {', '.join(_GOALS)}")
    try:
        return field_of(f"summary_metrics.{name}").path, name, goal == "maximize"
    except FilterError as error:
        raise SweepConfigError(f"the `name` of `metric` is none of a metric: {error}") from error


def _cap(cap: object) -> int | None:
    if cap is not None and (type(cap) is not int or cap < 1):
        raise SweepConfigError("`run_cap` must be a whole number >= 1")
    return cap


def _expected(method: str, parameters: Mapping[str, object], cap: int | None) -> int | None:
    total = _combinations(parameters) if method == "grid" else None
    bounds = [bound for bound in (total, cap) if bound is not None]
    return min(bounds) if bounds and min(bounds) <= _MANY else None


def _combinations(parameters: Mapping[str, object]) -> int | None:
    """Return how many ways there are to choose all parameters; None without an end to them."""
    total = 1
    for parameter in parameters.values():
        count = _choices(parameter)
        if count is None:
            return None
        total = min(total * count, _MANY + 1)
    return total


def _choices(parameter: object) -> int | None:
    match parameter:
        case {"parameters": dict(below)}:
            return _combinations(below)
        case {"values": list(values)}:
            return len(values)
        case {"value": _}:
            return 1
        case {"min": int(low), "max": int(high), **others} if (
            others.get("distribution", "int_uniform") == "int_uniform"
        ):
            return max(0, high - low + 1)
    return None


def _warnings(config: JsonObject) -> Iterator[str]:
    if not config.get("parameters"):
        yield "`parameters` is missing or empty: no run would differ from another"
    if config["method"] == "bayes" and config.get("metric") is None:
        yield "`metric` is missing: without it `bayes` does not know what is better"
