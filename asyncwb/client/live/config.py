"""A run's config: what it was started with, as plain JSON values under top-level keys.

Config is meant to be set once. A key that is set keeps its value unless the change is allowed in
so many words, because a config that changes silently is how two runs come to look comparable when
they are not. Every accepted change is handed to the run (`on_change`) under the lock, before it
becomes visible here, so events leave in the order of the changes and a refused one (the run has
finished) leaves no trace.

Behaviour follows W&B's config, with what its users miss: `del`, `pop`, `len`, OmegaConf.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, Set
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Final, NoReturn

from asyncwb.errors import ConfigError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.keys import MAX_DEPTH
from asyncwb.wire.rows.value_count import MAX_VALUES, count, has_too_many
from asyncwb.wire.rows.values import dumps

_log = logging.getLogger("asyncwb")
_LONGEST_ARRAY: Final = 32  # elements; a config is read by people
_ABSENT: Final = object()

OnChange = Callable[[JsonObject, list[str]], None]


def _nobody(_set: JsonObject, _delete: list[str]) -> None:
    """Take the changes of a copy, which belongs to no run."""


class Config(Mapping[str, Any]):
    """Hold a run's config; read and write keys as items or as attributes.

    All methods are local and thread safe; a change costs one journal record and never waits for
    the server. Values become JSON when they are set: tuples and sets become lists, numpy and torch
    scalars numbers, NaN None, small arrays lists, big ones their text, callables their dotted
    name, dataclasses dicts, any other object its text. Keys that start with "_" are kept but
    hidden from `keys()`, `items()`, iteration and `len()`. A copy or a pickle of a config is
    detached: changing it changes no run.

        run.config.lr = 0.1
        run.config.update({"lr": 0.2}, allow_val_change=True)

    Raises ConfigError when a key would change its value without leave or is nested deeper than 100
    levels, or the config would have more than 300,000 values and names, and whatever the run says
    of a change (UsageError after `finish()`).

    Source: the W&B reference page of Config.
    """

    # vars(config)["_items"] is read by sweep integrations, so the fields live in __dict__.
    # `_items`, `_locked` and `_at_most` (no fewer than the values that there are) change only under
    # `_lock`.
    def __init__(
        self,
        initial: Mapping[str, object] | None = None,
        on_change: OnChange = _nobody,
        *,
        allow_val_change: bool = False,
    ) -> None:
        """Start from `initial`, which the run has recorded already: it causes no change."""
        items = convert(initial or {})
        fields: JsonObject = {
            "_items": items,
            "_at_most": len(dumps(items)),
            "_locked": {},
            "_lock": threading.RLock(),
            "_on_change": on_change,
            "_allow_val_change": allow_val_change,
        }
        self.__dict__.update(fields)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __getattr__(self, key: str) -> Any:
        items = self.__dict__.get("_items", {})  # absent while a copy is being made
        if key in items:
            return items[key]
        raise AttributeError(f"the config has no key {key!r}; it has {', '.join(items) or 'none'}")

    def __setitem__(self, key: str, value: object) -> None:
        self._change({key: value}, None)

    def __setattr__(self, key: str, value: object) -> None:
        self._change({key: value}, None)

    def __delitem__(self, key: str) -> None:
        with self._lock:
            if key not in self._items:
                raise KeyError(key)
            self._on_change({}, [key])
            del self._items[key]

    def __delattr__(self, key: str) -> None:
        if key not in self._items:
            raise AttributeError(f"the config has no key {key!r}")
        del self[key]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def keys(self) -> KeysView[str]:
        """Return the keys that are not hidden."""
        return self._shown().keys()

    def items(self) -> ItemsView[str, Any]:
        """Return the keys that are not hidden, with their values."""
        return self._shown().items()

    def __iter__(self) -> Iterator[str]:
        return iter([key for key in list(self._items) if not key.startswith("_")])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(self._shown())

    def _shown(self) -> JsonObject:
        # The views of a Mapping would ask the config itself, which has the hidden keys, too.
        items: JsonObject = self._items
        return {key: value for key, value in list(items.items()) if not key.startswith("_")}

    def __reduce__(self) -> tuple[object, ...]:
        return Config, (self.as_dict(),)

    def pop(self, key: str, default: object = _ABSENT) -> Any:
        """Remove a key and return its value, or `default` where there is none."""
        with self._lock:
            if key not in self._items and default is not _ABSENT:
                return default
            value = self[key]
            del self[key]
            return value

    def as_dict(self) -> JsonObject:
        """Copy everything, keys that start with "_" included, into a plain dict."""
        with self._lock:
            return convert(self._items)

    def update(self, d: object, allow_val_change: bool | None = None) -> None:
        """Set many keys at once: all of them, or none when one is refused.

        `d` is a mapping (OmegaConf's too), an argparse namespace, absl flags, a dataclass, any
        object with a `__dict__`, or the path of a YAML file. Nested dicts replace what was there.
        Raises TypeError for anything else, ConfigError for a file that cannot be read or a key
        that would change (see `allow_val_change`).
        """
        self._change(as_mapping(d), allow_val_change)

    def setdefaults(self, d: object) -> None:
        """Set those of the given keys (as `update` takes them) that are not set yet."""
        with self._lock:
            given = convert(as_mapping(d))
            self._change({k: v for k, v in given.items() if k not in self._items}, None)

    def persist(self) -> None:
        """Hand the whole config to the run once more, after a nested value was changed in place."""
        with self._lock:
            self._on_change(self.as_dict(), [])

    def update_locked(
        self, d: object, user: str | None = None, _allow_val_change: bool | None = None
    ) -> None:
        """Set keys in the name of `user` (a sweep): later plain changes of them are ignored."""
        with self._lock:
            given = convert(as_mapping(d))
            self._change(given, _allow_val_change, user=user or "")
            self._locked.update(dict.fromkeys(given, user or ""))

    def merge_locked(
        self, d: object, user: str | None = None, _allow_val_change: bool | None = None
    ) -> None:
        """Do what `update_locked` does, merging nested dicts key by key."""
        with self._lock:
            given = convert(as_mapping(d))
            merged = {key: _merged(self._items.get(key), value) for key, value in given.items()}
            self.update_locked(merged, user, _allow_val_change)

    def _change(
        self, given: Mapping[str, object], allow: bool | None, user: str | None = None
    ) -> None:
        with self._lock:
            allow = self._allow_val_change if allow is None else allow
            new: JsonObject = {}
            for key, value in convert(given).items():
                old = self._items.get(key, _ABSENT)
                if old is not _ABSENT and (_same(old, value) or self._is_locked(key, user)):
                    continue
                if old is not _ABSENT and not allow:
                    raise ConfigError(_would_change(key, old, value))
                new[key] = value
            if new:
                at_most = self._values_with(new)
                self._on_change(new, [])
                self._items.update(new)
                self.__dict__["_at_most"] = at_most

    def _values_with(self, new: JsonObject) -> int:
        """Return a number of values that the config with these has at most: about the length of its
        JSON, which is added up, and counted only where that is too long."""
        at_most: int = self._at_most + len(dumps(new))
        if at_most <= MAX_VALUES:
            return at_most
        text = dumps({**self._items, **new})
        if has_too_many(text):
            raise ConfigError(
                f"the config would have more than {MAX_VALUES:,} values and names; nothing "
                "of this update was set, keep large data in a file and store that with run.save()"
            )
        return count(text)

    def _is_locked(self, key: str, user: str | None) -> bool:
        owner = self._locked.get(key)
        if owner is None or owner == user:
            return False
        with contextlib.suppress(Exception):  # whatever handlers the program has put there
            _log.warning("asyncwb: config key %r is set by %s; the change is ignored", key, owner)
        return True


class ConfigStatic(Mapping[str, Any]):
    """Show a config as it was at one moment; every write raises AttributeError."""

    def __init__(self, items: Mapping[str, object]) -> None:
        self.__dict__["_items"] = convert(items)

    def __getitem__(self, key: str) -> Any:
        return self.__dict__["_items"][key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_items"][key]
        except KeyError:
            raise AttributeError(f"the config has no key {key!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_items"])

    def __len__(self) -> int:
        return len(self.__dict__["_items"])

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[object, ...]:
        return ConfigStatic, (dict(self),)

    def __setitem__(self, key: str, value: object) -> NoReturn:
        raise AttributeError(f"config_static is read-only: {key!r} was not set; use run.config")

    def __setattr__(self, key: str, value: object) -> NoReturn:
        self[key] = value

    def __delattr__(self, key: str) -> NoReturn:
        raise AttributeError(f"config_static is read-only: {key!r} was not deleted")


def as_mapping(source: object) -> Mapping[str, object]:
    """Turn whatever `init(config=...)` and `Config.update` take into a mapping, unconverted."""
    if isinstance(source, Mapping):
        return source
    if isinstance(source, (str, Path)):
        return _from_yaml(Path(source))
    if hasattr(source, "flag_values_dict"):  # absl.flags.FLAGS
        return dict(source.flag_values_dict())
    if dataclasses.is_dataclass(source) and not isinstance(source, type):
        return _shallow(source)
    if hasattr(source, "__dict__") and not isinstance(source, type) and not callable(source):
        return dict(vars(source))
    raise TypeError(
        f"a config cannot be made from {type(source).__name__}; nothing was set; pass a dict, a "
        "namespace, a dataclass or the path of a YAML file"
    )


def convert(items: Mapping[Any, object]) -> JsonObject:
    """Copy a mapping into config values: JSON all through, top keys without dashes around them.

    Raises ConfigError for a value that contains itself, or with which the config would be nested
    deeper than `keys.MAX_DEPTH` levels.
    """
    values: JsonObject = {}
    for key, value in list(items.items()):
        name = _text(key).strip("-")
        try:
            values[name] = _value(value, MAX_DEPTH - 1)
        except (_TooDeepError, RecursionError):  # the caller itself may stand deep in its stack
            raise ConfigError(
                f"config key {name[:100]!r} contains itself or is nested deeper than {MAX_DEPTH} "
                "levels; nothing was set, give it a flatter value"
            ) from None
    return values


class _TooDeepError(Exception):
    """A value goes on below the deepest level that there may be."""


def _value(value: object, levels: int) -> object:
    """Turn a value into JSON that has at most so many levels of dicts and lists."""
    if value is None or isinstance(value, (bool, Enum)):
        return _value(value.value, levels) if isinstance(value, Enum) else value
    if isinstance(value, (int, float, str)):
        return _plain(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        below = _below(levels)
        return {_text(key): _value(inner, below) for key, inner in value.items()}
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytearray, memoryview)):
        below = _below(levels)
        return [_value(inner, below) for inner in value]
    return _from_object(value, levels)


def _below(levels: int) -> int:
    if levels < 1:
        raise _TooDeepError
    return levels - 1


def _plain(value: float | str) -> Any:
    """Strip subclasses (np.float64, str enums' kin) down to JSON's own types."""
    if isinstance(value, str):
        return str.__str__(value).encode("utf-8", "replace").decode()  # no lone surrogates
    if isinstance(value, int):
        return int(value)
    return None if math.isnan(value) else float(value)


def _from_object(value: object, levels: int) -> object:
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # numpy, torch, jax, pandas
        size = math.prod(getattr(value, "shape", ()))
        return _value(value.tolist(), _below(levels)) if size <= _LONGEST_ARRAY else str(value)
    if isinstance(value, slice):
        parts = {"slice_start": value.start, "slice_stop": value.stop, "slice_step": value.step}
        return _value(parts, levels)
    if isinstance(value, date):  # datetime is one
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _value(_shallow(value), levels)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


def _shallow(record: Any) -> JsonObject:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _text(key: object) -> str:
    return _plain(key) if isinstance(key, str) else str(_value(key, MAX_DEPTH))


def _same(old: object, new: object) -> bool:
    """Compare as users mean it: True is not 1, but 1 and 1.0 are one value."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _merged(old: object, new: object) -> object:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


def _would_change(key: str, old: object, new: object) -> str:
    return (
        f"config key {key!r} is {old!r} and would become {new!r}; nothing of this update was set. "
        "To change it: config.update({...}, allow_val_change=True), or "
        "init(allow_val_change=True) for the whole run"
    )


def _from_yaml(path: Path) -> Mapping[str, object]:
    """Read a YAML mapping; `key: {value: v}`, as W&B's files have it, means `key: v`."""
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"{path} needs PyYAML, nothing was set; pip install pyyaml") from None
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; nothing was set") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} is no mapping of keys to values; nothing was set")
    loaded.pop("wandb_version", None)
    values: JsonObject = loaded
    return {key: v["value"] if _is_described(v) else v for key, v in values.items()}


def _is_described(value: object) -> bool:
    return isinstance(value, dict) and "value" in value and value.keys() <= {"value", "desc"}
