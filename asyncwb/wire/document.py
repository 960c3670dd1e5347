"""What a run looks like to a filter: for each path, the plain values that stand there.

A document is a run as one mapping:

    {"config": {...}, "summary_metrics": {...}, "keys": [names of logged metrics],
     "tags": [...], "state": "finished", "createdAt": 1.7e9, ...}

`Values` lays it flat. A mapping gives its leaves under dotted paths, and itself as a whole; a list
gives itself as a whole and then its elements, as MongoDB sees arrays: `layers.0` is the first
element, and `opt.lr` also what stands at `lr` in the mappings of a list `opt`. Every value is a
`Value`, which two ends can compare without knowing where it came from: an index keeps exactly
these.

Numbers compare as 64-bit floats (an int beyond 2**53 as the nearest one). NaN is a kind of its
own, equal to itself and ordered with nothing. Text of any length has a bounded form (`short`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

MAX_ELEMENTS: Final = 1000
"""elements of one list that a filter sees; the list as a whole is seen in any length."""
MAX_POSITIONS: Final = 16
"""elements of one list that have a path of their own: each is a field, like a key."""
MAX_LISTS: Final = 3
"""lists in one another that have paths into them: each doubles what stands in it."""
MAX_VALUES: Final = 20_000
"""values of one run that a filter sees, in the order of config, summary, and what is in lists."""
MAX_DEPTH: Final = 32
"""nested mappings below which a value is seen as a whole only."""
SHORT: Final = 120
"""characters of text that are kept as they are; longer text has a hash at its end."""

_PREFIX: Final = 88
_SPACES: Final = ("config", "summary_metrics")
_KEYS: Final = "keys"


class ValueKind(IntEnum):
    """The kinds of values; only equal kinds compare, and runs sort in this order of kinds."""

    BOOL = 1
    NUMBER = 2
    TEXT = 3
    NAN = 4
    NULL = 5
    WHOLE = 6  # a list or a mapping
    KEY = 7  # nothing: the metric was logged, but the summary holds no value of it

    @property
    def sortable(self) -> bool:
        """Whether runs are sorted by such a value; the others come last."""
        return self <= ValueKind.TEXT


class Value(NamedTuple):
    """One value as filters compare it: equal values are equal tuples.

    `number` is set for numbers and booleans (0 or 1); `text` for text, in its short form, and for
    a whole (canonical JSON, short); `long` is the full text where the short form is not.
    """

    kind: ValueKind
    number: float | None = None
    text: str | None = None
    long: str | None = None


NULL: Final = Value(ValueKind.NULL)
NAN: Final = Value(ValueKind.NAN)


def value_of(item: Any) -> Value:
    """Return a JSON value as filters compare it; a list or mapping as a whole.

    Raises TypeError for what is not JSON.
    """
    match item:
        case None:
            return NULL
        case bool():
            return Value(ValueKind.BOOL, float(item))
        case int() | float():
            number = _number(item)
            return NAN if math.isnan(number) else Value(ValueKind.NUMBER, number)
        case str():
            bounded = short(item)
            return Value(ValueKind.TEXT, None, bounded, None if bounded is item else item)
        case Mapping() | list() | tuple():
            return Value(ValueKind.WHOLE, None, short(_canonical(item)))
    raise TypeError(f"{type(item).__name__} is not JSON")


def short(text: str) -> str:
    """Return `text` itself up to 120 characters, else its beginning and a hash: never equal by
    chance to another text's, and sorted by the beginning."""
    if len(text) <= SHORT:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{text[:_PREFIX]}~{digest}"  # 121 characters: equal to no text kept as it is


class Values:
    """A document laid flat. Costs about a microsecond a value.

    Args:
        document: see the module; None at the top counts as not there.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.by_path: dict[str, list[Value]] = {}
        self._left = MAX_VALUES
        # Lists that have paths into them, with how deep and in how many lists they are.
        self._lists: list[tuple[str, list[Any], int, int]] = []
        for name, item in document.items():
            if name != _KEYS and name not in _SPACES and item is not None:
                self._add(name, item)
        for space in _SPACES:
            for key, item in document.get(space, {}).items():
                self._walk(f"{space}.{key}", item, 1)
        for path, items, depth, lists in self._lists:  # which grows meanwhile
            self._enter(path, items, depth, lists)
        self.logged = frozenset(document.get(_KEYS, ()))
        """Names of the metrics that were logged."""

    def at(self, path: str) -> Sequence[Value]:
        """Return the values at a path such as `config.optimizer.lr`; empty where there are none."""
        return self.by_path.get(path, ())

    def sort_value(self, path: str, *, descending: bool = False) -> Value | None:
        """Return what the run is sorted by: a number, text or boolean at the path, or None.

        Of several it is the least, or the greatest in a descending order.
        """
        some = [value for value in self.at(path) if value.kind.sortable]
        return (max if descending else min)(some, key=_place, default=None)

    def rows(self) -> Iterator[tuple[str, int, Value, bool]]:
        """Give (path, position, value, whether it is a logged metric): what an index keeps."""
        logged = {f"summary_metrics.{name}" for name in self.logged}
        for path, values in self.by_path.items():
            first = path in logged
            for position, value in enumerate(values):
                yield path, position, value, first and position == 0
        for path in sorted(logged - self.by_path.keys()):
            yield path, 0, Value(ValueKind.KEY), True

    def _walk(self, path: str, item: Any, depth: int, lists: int = 0) -> None:
        if self._left <= 0:
            return
        self._add(path, item)
        if depth >= MAX_DEPTH:
            return
        if isinstance(item, Mapping):
            if "_type" in item:  # a histogram's bins are nobody's keys
                lists = MAX_LISTS
            for key, inner in item.items():
                self._walk(f"{path}.{key}", inner, depth + 1, lists)
        elif isinstance(item, list) and lists < MAX_LISTS:
            self._lists.append((path, item, depth + 1, lists + 1))

    def _enter(self, path: str, items: list[Any], depth: int, lists: int) -> None:
        for position, item in enumerate(items[:MAX_POSITIONS]):
            self._walk(f"{path}.{position}", item, depth, lists)
        for item in items[:MAX_ELEMENTS]:
            if isinstance(item, Mapping) and "_type" not in item:
                for key, inner in item.items():
                    self._walk(f"{path}.{key}", inner, depth, lists)

    def _add(self, path: str, item: Any) -> None:
        # A key may hold a dot, so that two leaves may meet at one path: they are like elements.
        at = self.by_path.setdefault(path, [])
        elements = item[:MAX_ELEMENTS] if isinstance(item, list) else ()
        new = [value_of(item), *map(value_of, elements)]
        new = new[: max(0, min(self._left, 2 * MAX_ELEMENTS - len(at)))]
        at.extend(new)
        self._left -= max(1, len(new))  # so that a walk ends, whatever a list is made of
        if not at:
            del self.by_path[path]


def _place(value: Value) -> tuple[int, float, str]:
    return value.kind, value.number or 0.0, value.text or ""


def _number(item: int | float) -> float:
    try:
        return float(item) + 0.0  # no negative zero
    except OverflowError:
        return math.inf if item > 0 else -math.inf


def _canonical(item: Any) -> str:
    return json.dumps(_plain(item), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(item: Any, depth: int = 0) -> Any:
    if depth > 2 * MAX_DEPTH:
        return None  # what differs only below is taken as equal
    if isinstance(item, Mapping):
        return {str(key): _plain(inner, depth + 1) for key, inner in item.items()}
    if isinstance(item, (list, tuple)):
        return [_plain(inner, depth + 1) for inner in item]
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        return _number(item)
    return item
