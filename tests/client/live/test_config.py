"""Config: JSON values under top-level keys that do not change without leave."""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from asyncwb.client.live.config import Config, ConfigStatic, as_mapping
from asyncwb.errors import ConfigError, UsageError


class Recorder:
    """Stands for the run: keeps the changes, and refuses them once it is finished."""

    def __init__(self) -> None:
        self.changes: list[tuple[dict[str, Any], list[str]]] = []
        self.finished = False

    def __call__(self, values: dict[str, Any], deleted: list[str]) -> None:
        if self.finished:
            raise UsageError("the run has finished")
        self.changes.append((copy.deepcopy(values), deleted))


@pytest.fixture
def run() -> Recorder:
    return Recorder()


def test_keys_are_items_and_attributes(run: Recorder) -> None:
    config = Config({"lr": 0.1}, run)
    config.batch = 32
    config["--depth-"] = 3
    config._secret = 1
    assert (config.lr, config["batch"], config.depth, config.get("no", 7)) == (0.1, 32, 3, 7)
    assert list(config) == list(config.keys()) == ["lr", "batch", "depth"]
    assert len(config) == 3
    assert "_secret" in config
    assert "_secret" not in config.keys()  # noqa: SIM118 - the view is what is tested
    assert ("_secret", 1) not in config.items()
    assert ("lr", 0.1) in config.items()
    assert "no" not in config
    assert dict(config) == {"lr": 0.1, "batch": 32, "depth": 3}
    assert config.as_dict() == dict(config) | {"_secret": 1} == vars(config)["_items"]
    assert run.changes == [({"batch": 32}, []), ({"depth": 3}, []), ({"_secret": 1}, [])]
    with pytest.raises(AttributeError, match="no key 'lrr'; it has lr, batch, depth"):
        _ = config.lrr
    with pytest.raises(KeyError):
        _ = config["lrr"]


class Colour(Enum):
    RED = "red"


@dataclass(slots=True)
class Model:
    width: int
    shape: tuple[int, ...]


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (range(2), [0, 1]),
        (np.float32(0.5), 0.5),
        (np.int64(2), 2),
        (np.bool_(True), True),
        (float("nan"), None),
        (np.float64("nan"), None),
        (float("inf"), float("inf")),
        (np.arange(3), [0, 1, 2]),
        (np.array(4), 4),
        (np.zeros(1000), str(np.zeros(1000))),
        (slice(1, 2), {"slice_start": 1, "slice_stop": 2, "slice_step": None}),
        (Colour.RED, "red"),
        (Model(2, (1, 2)), {"width": 2, "shape": [1, 2]}),
        ({1: {"a": np.int8(1)}}, {"1": {"a": 1}}),
        (len, "builtins.len"),
        (Path("/a"), "/a"),
        (b"text", "text"),
        (None, None),
    ],
)
def test_values_become_json(value: object, becomes: object, run: Recorder) -> None:
    config = Config({}, run)
    config["key"] = value
    assert config["key"] == becomes
    assert type(config["key"]) is type(becomes)
    assert json.loads(json.dumps(run.changes[0][0])) == {"key": becomes}


def test_a_set_key_changes_only_with_leave(run: Recorder) -> None:
    config = Config({"lr": 0.1, "net": {"a": 1, "b": 2}}, run)
    config.lr = 0.1
    config.update({"lr": 0.1, "net": {"a": 1, "b": 2}})
    assert run.changes == [], "the same value is no change"
    with pytest.raises(ConfigError, match=r"'lr' is 0.1 and would become 0.2"):
        config.update({"new": 1, "lr": 0.2})
    assert "new" not in config, "all or nothing"
    config.update({"net": {"a": 5}}, allow_val_change=True)
    assert config["net"] == {"a": 5}, "nested dicts are replaced whole"
    assert run.changes == [({"net": {"a": 5}}, [])]
    free = Config({"lr": 1}, run, allow_val_change=True)
    free.lr = True
    assert free.lr is True, "True is not 1"
    with pytest.raises(ConfigError):
        free.update({"lr": 3}, allow_val_change=False)


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


def test_a_config_that_would_have_too_many_values_is_refused_whatever_made_it(
    run: Recorder,
) -> None:
    config = Config({"a": [0] * 200_000, "text": "a,b" * 500_000}, run)
    writes: list[Callable[[], Any]] = [
        lambda: config.update({"b": [0] * 200_000, "c": 1}),
        lambda: config.update_locked({"b": [0] * 200_000}),
        lambda: config.setdefaults({"b": [0] * 200_000}),
    ]
    for write in writes:
        with pytest.raises(ConfigError, match=r"300,000 values and names; nothing"):
            write()
    assert (config.keys() == {"a", "text"}, run.changes) == (True, [])
    config.update({"a": [0] * 90_000}, allow_val_change=True)
    config.b = [0] * 200_000
    assert len(config.as_dict()["b"]) == 200_000


class Chain:
    """Holds itself, as a dataclass may."""

    dtype = "object"

    def tolist(self) -> list[Any]:
        return [self]


def test_what_is_too_deep_or_contains_itself_is_refused(run: Recorder) -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop]
    config = Config({"kept": nested(99)}, run)
    config.fits = nested(99)
    assert config.as_dict()["fits"] == nested(99)
    del run.changes[:]
    writes: list[Callable[[Any], Any]] = [
        lambda value: config.update({"new": 1, "deep": value}),
        lambda value: config.update_locked({"deep": value}),
        lambda value: config.setdefaults({"deep": value}),
        lambda value: config.__setitem__("deep", value),
        lambda value: setattr(config, "deep", value),
        lambda value: Config({"deep": value}),
    ]
    for value in (nested(100), nested(260), nested(2_000), loop, Chain()):
        for write in writes:
            with pytest.raises(ConfigError, match=r"'deep' contains itself or is nested deeper"):
                write(value)
    assert "new" not in config, "all or nothing"
    config["kept"].append(nested(99))
    with pytest.raises(ConfigError, match="'kept'"):
        config.persist()
    assert run.changes == []


def test_text_that_utf_8_cannot_express_is_made_fit(run: Recorder) -> None:
    config = Config(None, run)
    config.update({"a\ud800": {"b\ud800": "c\ud800"}})
    assert run.changes == [({"a?": {"b?": "c?"}}, [])]


def test_setdefaults_and_deletion(run: Recorder) -> None:
    config = Config({"a": 1}, run)
    config.setdefaults({"a": 2, "b": 3})
    del config["a"]
    assert config.pop("b") == 3
    assert config.pop("b", "gone") == "gone"
    assert run.changes == [({"b": 3}, []), ({}, ["a"]), ({}, ["b"])]
    with pytest.raises(KeyError):
        del config["a"]
    with pytest.raises(AttributeError):
        del config.a


def test_persist_sends_what_was_changed_in_place(run: Recorder) -> None:
    config = Config({"net": {"a": 1}}, run)
    config["net"]["a"] = 2
    config.persist()
    assert run.changes == [({"net": {"a": 2}}, [])]


def test_a_refused_change_leaves_no_trace(run: Recorder) -> None:
    config = Config({"a": 1}, run)
    run.finished = True
    with pytest.raises(UsageError):
        config.b = 2
    with pytest.raises(UsageError):
        del config.a
    assert dict(config) == {"a": 1}


class Flags:
    def flag_values_dict(self) -> dict[str, int]:
        return {"a": 1}


class Plain:
    def __init__(self) -> None:
        self.a = 1


@dataclass(frozen=True, slots=True)
class Slotted:
    a: int = 1


@pytest.mark.parametrize(
    "source",
    [{"a": 1}, argparse.Namespace(a=1), Flags(), Plain(), Slotted()],
    ids=lambda source: type(source).__name__,
)
def test_update_takes_whatever_holds_names(source: object, run: Recorder) -> None:
    config = Config({}, run)
    config.update(source)
    assert config.as_dict() == {"a": 1}


@pytest.mark.parametrize("source", [3, [1], None, Plain, len])
def test_update_refuses_the_rest(source: object, run: Recorder) -> None:
    with pytest.raises(TypeError, match="a config cannot be made from"):
        Config({}, run).update(source)


def test_yaml_files(tmp_path: Path, run: Recorder) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("wandb_version: 1\nlr: {value: 0.1, desc: null}\nnet: {depth: 2}\n")
    assert as_mapping(str(path)) == {"lr": 0.1, "net": {"depth": 2}}
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="no mapping"):
        Config({}, run).update(path)
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        Config({}, run).update(str(tmp_path / "none.yaml"))


def test_omegaconf(run: Recorder) -> None:
    config = Config({}, run)
    config.update(OmegaConf.create({"a": 1, "b": {"c": "${a}", "d": [1, 2]}}))
    assert config.as_dict() == {"a": 1, "b": {"c": 1, "d": [1, 2]}}


def test_locked_keys_keep_the_value_of_their_owner(
    run: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config({"net": {"a": 1}}, run)
    config.update_locked({"lr": 0.1}, user="sweep")
    config.lr = 0.5
    assert config.lr == 0.1
    assert "set by sweep" in caplog.text
    config.merge_locked({"net": {"b": 2}}, user="sweep", _allow_val_change=True)
    assert config["net"] == {"a": 1, "b": 2}


def test_copies_are_detached(run: Recorder) -> None:
    config = Config({"a": {"b": 1}}, run)
    twins: list[Config] = [
        copy.copy(config),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ]
    for twin in twins:
        assert twin == config
        twin.new = 1
        twin["a"]["b"] = 2
    assert config["a"] == {"b": 1}
    assert run.changes == []


def test_the_static_config_refuses_writing() -> None:
    static = ConfigStatic({"a": 1})
    assert static.a == static["a"] == 1
    assert dict(static) == {"a": 1}
    writes: list[Callable[[], object]] = [
        lambda: setattr(static, "a", 2),
        lambda: static.__setitem__("b", 2),
        lambda: delattr(static, "a"),
    ]
    for write in writes:
        with pytest.raises(AttributeError, match="read-only"):
            write()
    assert pickle.loads(pickle.dumps(static)) == static


def test_threads_lose_no_key(run: Recorder) -> None:
    config = Config({}, run)

    def write(part: int) -> None:
        for number in range(200):
            config[f"{part}/{number}"] = number

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(config) == len(run.changes) == 800


def test_config_is_a_mapping(run: Recorder) -> None:
    config: Mapping[str, Any] = Config({"a": 1}, run)
    assert {**config} == config == {"a": 1}
    assert repr(config) == "{'a': 1}"
