"""Logged values as JSON: what `log()` accepts, and the bytes it becomes.

A training loop logs whatever it has at hand: numpy scalars, tensors on a device, enums, dates.
`to_wire` turns each into the plainest JSON value that keeps its meaning; the table in its
docstring is the promise. Whatever has no such value is refused at the call, with the key's name,
and never later in a thread that nobody watches.

JSON here has one extension: the bare tokens NaN, Infinity and -Infinity, because a loss that
became NaN is the very thing a chart must show. `dumps` and `loads` are the only codec for it.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

import orjson

from asyncwb.errors import LogTypeError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.arrays import UNKNOWN, to_plain

Wire: TypeAlias = "bool | int | float | str | list[object] | JsonObject | None"
"""One JSON value; floats may be NaN or infinite, ints fit 64 bits."""

_LEVELS: Final = 3 * keys.MAX_DEPTH
"""levels of JSON that can be written"""
NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""how floats are written where JSON has no number for them, as W&B's API does"""
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

_LEFT_OUT: Final = keys.COMPUTED - {keys.TIME}


@dataclass(frozen=True, slots=True)
class Row:
    """One logged row: its values by path, and the time that the user gave it (unix seconds)."""

    values: JsonObject
    timestamp: float | None = None


def convert_row(data: Mapping[str, Any]) -> Row:
    """Turn the argument of `log()` into a row of wire values keyed by path.

    Costs about 0.1 us a key for flat numbers. `_step`, `_runtime` and `_open` are computed, so a
    user's are left out; a user's `_timestamp` (unix seconds) is handed back apart; other keys
    that start with "_" are kept.

    Raises LogTypeError where `data` is no mapping, a key no string, or a value has no JSON form.

    >>> convert_row({"loss": 0.5, "val": {"acc": 1}}).values
    {'loss': 0.5, 'val.acc': 1}
    """
    if not isinstance(data, Mapping):
        raise LogTypeError(
            f"log() takes a mapping of names to values, not {type(data).__name__}; "
            'nothing was recorded, log {"name": value}'
        )
    values: JsonObject = {}
    timestamp: float | None = None
    for key, value in data.items():
        kind = type(value)
        if type(key) is not str or key[:1] == "_":
            key = _top_key(key)
            if key in _LEFT_OUT:
                continue
            if key == keys.TIME:
                timestamp = _timestamp(value)
                continue
        path = keys.escape(key)
        if kind is float or kind is bool or value is None:
            values[path] = value
        elif kind is int:
            values[path] = _fit(value)
        elif isinstance(value, Mapping) and not keys.is_leaf_mapping(value):
            for leaf_path, leaf in keys.flatten(value, path).items():
                values[leaf_path] = to_wire(leaf, leaf_path)
        else:
            values[path] = to_wire(value, path)
    if not all(map(str.isascii, values)):
        for path in values:
            _check_text(path, path)
    return Row(values, timestamp)


def _top_key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key.value if isinstance(key, Enum) else key)
    raise LogTypeError(
        f"log() takes string keys, not {key!r} of type {type(key).__name__}; "
        "nothing was recorded, use str(key)"
    )


def _timestamp(value: object) -> float:
    seconds = to_wire(value, keys.TIME)
    if type(seconds) in (int, float) and math.isfinite(seconds):  # type: ignore[arg-type]
        return float(seconds)  # type: ignore[arg-type]
    raise LogTypeError(
        f"_timestamp is a finite number of unix seconds, not {value!r}; the row was not recorded",
        key=keys.TIME,
    )


def to_wire(value: object, key: str) -> Wire:
    """Turn one logged value into JSON; `key` is its path, for the error message.

    Blocks for a tensor on a device until it is copied to the host. What becomes of what:

    | value | becomes |
    | --- | --- |
    | bool, int, float, str, None | itself; an int beyond 64 bits the nearest float (or infinity) |
    | numpy scalar, array or tensor of one element | the Python scalar |
    | numeric array or tensor of 2 to 32 elements | a list, nested like its shape |
    | a larger numeric one | a histogram: 33 `bins` edges, 32 `values` counts; non-finite left out |
    | list, tuple, set, frozenset, range | a list |
    | mapping | a dict with string keys |
    | bytes | its UTF-8 text |
    | datetime, date, time | ISO 8601 text |
    | Enum | its value |
    | complex | text such as `(1+2j)` |
    | function, class | `module.qualname` |

    Raises LogTypeError for anything else, for text that is not UTF-8, and for values that contain
    themselves or are nested deeper than `keys.MAX_DEPTH`.
    """
    try:
        return _convert(value, key, 0)
    except RecursionError:
        raise keys.too_deep(key) from None


def to_wire_again(value: Any, key: str) -> Wire:
    """Do what `to_wire` does with a value that a server gave, perhaps changed since.

    What an older server has taken in nested deeper stays as it is, as far as `dumps` can write it:
    it must be readable. Who sends it back is refused by the server.

    Raises LogTypeError as `to_wire` does for anything else.
    """
    try:
        return to_wire(value, key)
    except LogTypeError:
        if not keys.is_too_deep(value) or keys.is_too_deep(value, _LEVELS - 2):
            raise
        return value  # type: ignore[no-any-return]


def _convert(value: Any, key: str, depth: int) -> Wire:
    kind = type(value)
    if kind is float or kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return _fit(value)
    if depth > keys.MAX_DEPTH:
        raise keys.too_deep(key)
    return _convert_known(value, key, depth)


def _convert_known(value: object, key: str, depth: int) -> Wire:
    if isinstance(value, Enum):
        return _convert(value.value, key, depth + 1)
    if isinstance(value, str):
        return _check_text(str.__str__(value), key)
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [_convert(item, key, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {
            _check_text(keys.segment(name, key), key): _convert(item, key, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return _fit(int(value))
    if isinstance(value, bytes):
        return _decode(value, key)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, complex):
        return str(complex(value))
    return _convert_foreign(value, key, depth)


def _convert_foreign(value: object, key: str, depth: int) -> Wire:
    if callable(value):
        name, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
        if isinstance(name, str):
            return f"{module}.{name}" if isinstance(module, str) else name
        raise _refused(value, key)
    try:
        plain = to_plain(value)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise LogTypeError(
            f"cannot log {_name(key)}: {type(value).__name__} could not be copied to the host "
            f"({error}); the row was not recorded, log a number or a numpy array",
            key=key,
        ) from error
    if plain is UNKNOWN:
        raise _refused(value, key)
    return _convert(plain, key, depth + 1)


def _fit(value: int) -> int | float:
    """Return an int that fits int64, else the nearest float, which rounds to infinity at last."""
    if INT_MIN <= value <= INT_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _check_text(text: str, key: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise LogTypeError(
                f"cannot log {_name(key)}: its text holds a lone surrogate, which UTF-8 cannot "
                "express; the row was not recorded, clean it with "
                'text.encode("utf-8", "replace").decode()',
                key=key,
            ) from None
    return text


def _decode(value: bytes, key: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise LogTypeError(
            f"cannot log {_name(key)}: its bytes are not UTF-8 text (byte {error.start}); "
            "the row was not recorded, decode or base64-encode them first",
            key=key,
        ) from None


def _name(key: str) -> str:
    return ascii(keys.display(key))


def _refused(value: object, key: str) -> LogTypeError:
    return LogTypeError(
        f"cannot log {_name(key)}: object of type {type(value).__name__} is not JSON "
        "serializable; the row was not recorded, log numbers, text, lists or arrays",
        key=key,
    )


# The codec.

# Both encoders must refuse the same values, so orjson does without its extras.
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


_LEVELS_OF_ORJSON: Final = 250
"""It refuses some more. What a client wrote when it might must be readable."""


_AT_ONCE: Final = 2**19
"""characters of texts that are decoded in one call, and the rest of the last one"""


def dumps(value: object) -> bytes:
    """Encode JSON, keeping NaN and infinities as bare tokens.

    Costs what orjson costs where the text holds no `null`; otherwise one walk over the value to
    tell NaN from None. Ints beyond 64 bits become the nearest float.

    Raises TypeError for what is not JSON: other types, keys that are not strings, more than 300
    levels.
    """
    try:
        encoded = orjson.dumps(value, option=_STRICT)
    except TypeError:
        value = _normal(value)
        if keys.is_too_deep(value, _LEVELS_OF_ORJSON):
            return _standard(value)
        encoded = orjson.dumps(value, option=_STRICT)
    if b"null" not in encoded or not _has_non_finite(value):
        return encoded
    return _standard(value)


def _standard(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def loads(data: bytes | bytearray | memoryview | str) -> Any:
    """Decode JSON in which NaN, Infinity and -Infinity may stand for floats.

    Ints beyond 64 bits come back as floats. Raises ValueError where it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        text = data if isinstance(data, str) else bytes(data).decode("utf-8", "replace")
        if "NaN" not in text and "Infinity" not in text:
            raise
        strict = error
    try:
        text = data if isinstance(data, str) else bytes(data).decode()
        value = json.loads(text, parse_int=_parse_int)
        if "\\u" in text:  # the standard library lets lone surrogates through, orjson does not
            json.dumps(value, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError):
        raise strict from None
    return value


def loads_each(texts: Iterable[str]) -> list[object]:
    """Decode JSON texts, a part of them in each call of the parser.

    One call a text would cost more than most texts do; one for all of them would keep other
    threads waiting. Raises ValueError where one of them is not JSON.
    """
    found: list[object] = []
    part: list[str] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size > _AT_ONCE:
            found += _loads_part(part)
            part, size = [], 0
    return found + _loads_part(part)


def _loads_part(texts: list[str]) -> list[object]:
    found = loads(f"[{','.join(texts)}]")
    if not isinstance(found, list) or len(found) != len(texts):
        raise ValueError("one of the texts is no JSON by itself")
    return found


def _parse_int(digits: str) -> int | float:
    return _fit64(int(digits)) if len(digits) <= 20 else float(digits)


def _fit64(value: int) -> int | float:
    return value if INT_MIN <= value < 2**64 else _fit(value)


def _has_non_finite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    # A call of ours for each number would be ten times as slow.
    if not all(map(math.isfinite, [item for item in value if type(item) is float])):
        return True
    if keys.FLAT.issuperset(map(type, value)):
        return False
    return any(_has_non_finite(item) for item in value if type(item) not in keys.FLAT)


def _normal(value: object, depth: int = 0) -> object:
    """Copy a JSON value with ints beyond 64 bits as floats."""
    if depth > _LEVELS:
        raise TypeError("not JSON: nested too deeply, or contains itself")
    if isinstance(value, int) and not isinstance(value, bool):
        return _fit64(value)
    if isinstance(value, dict):
        return {name: _normal(item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item, depth + 1) for item in value]
    return value


def spelled(value: Any) -> Any:
    """Return a value in which floats that are not finite are spelled, at any level (`NON_FINITE`).

    >>> spelled({"loss": [float("inf"), 0.5]})
    {'loss': ['Infinity', 0.5]}
    """
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: spelled(item) for key, item in value.items()}
        case list():
            return [spelled(item) for item in value]
    return value
