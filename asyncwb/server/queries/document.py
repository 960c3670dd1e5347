"""What a run looks like to a filter: for each path, the plain values that stand there.

A document is a run as one mapping:

    {"config": {...}, "summary_metrics": {...}, "keys": [names of logged metrics],
     "tags": [...], "state": "finished", "createdAt": 1.7e9, ...}

A mapping has its leaves under dotted paths, and itself as a whole; a list has itself as a whole
and then its elements, as MongoDB sees arrays: `layers.0` is the first element, and `opt.lr` also
what stands at `lr` in the mappings of a list `opt`. Every value is a `Value`, which two ends can
compare without knowing where it came from.

`Document` looks a path up, whatever the size of the run: what it finds is what filters mean.
`Values` lays a run flat for an index, which keeps a bounded number of values, and says where it
left something out.

Numbers compare as 64-bit floats (an int beyond 2**53 as the nearest one). NaN is a kind of its
own, equal to itself and ordered with nothing. Text of any length has a bounded form (`short`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from enum import IntEnum, StrEnum
from itertools import islice
from typing import Final, NamedTuple

from asyncwb.typing import JsonObject

MAX_ELEMENTS: Final = 1000
"""elements of one list that an index keeps at the list's own path."""
MAX_POSITIONS: Final = 16
"""elements of one list that an index keeps at paths of their own: each is a field, like a key."""
MAX_LISTS: Final = 3
"""lists in one another that an index goes into: each doubles what stands in it."""
MAX_VALUES: Final = 20_000
"""values of one run in an index, in the order of config, summary, and what is in lists."""
MAX_DEPTH: Final = 32
"""nested mappings below which an index keeps a value as a whole only."""
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


def value_of(item: object) -> Value:
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


class Document:
    """A run as filters see it, looked up path by path.

    Args:
        content: see the module; None at the top counts as not there.
    """

    def __init__(self, content: JsonObject) -> None:
        self._content = content
        self.logged = frozenset(content.get(_KEYS, ()))
        """Names of the metrics that were logged."""

    def at(self, path: str) -> Iterator[Value]:
        """Give the values at a path such as `config.optimizer.lr`; none where nothing is there.

        Costs a look at every key of the mappings on the way.
        """
        space, _, rest = path.partition(".")
        if space in _SPACES:
            yield from _Lookup().below(self._content.get(space, {}), rest)
        elif path != _KEYS and self._content.get(path) is not None:
            yield from _values(self._content[path])

    def sort_value(self, path: str, *, descending: bool = False) -> Value | None:
        """Return what the run is sorted by: a number, text or boolean at the path, or None.

        Of several it is the least, or the greatest in a descending order.
        """
        some = [value for value in self.at(path) if value.kind.sortable]
        return (max if descending else min)(some, key=_place, default=None)


class _Lookup:
    """One search for a path. Keys may hold dots, and `0` may be a key or a position: the same
    place is reached in several ways, and entered once."""

    def __init__(self) -> None:
        self._entered: set[tuple[int, int]] = set()

    def below(self, item: Mapping[str, object], rest: str) -> Iterator[Value]:
        if self._is_new(item, rest):
            for key, inner in item.items():
                yield from self._step(key, inner, rest)

    def _step(self, key: str, inner: object, rest: str) -> Iterator[Value]:
        if rest == key:
            yield from _values(inner)
        elif rest.startswith(key) and rest[len(key)] == ".":
            yield from self._into(inner, rest[len(key) + 1 :])

    def _into(self, item: object, rest: str) -> Iterator[Value]:
        if isinstance(item, Mapping):
            yield from self.below(item, rest)
        elif isinstance(item, list) and self._is_new(item, rest):
            first = rest.partition(".")[0]
            if is_position(first) and int(first) < len(item):
                yield from self._step(first, item[int(first)], rest)
            for inner in item:
                if isinstance(inner, Mapping):
                    yield from self.below(inner, rest)

    def _is_new(self, item: object, rest: str) -> bool:
        place = (id(item), len(rest))
        new = place not in self._entered
        self._entered.add(place)
        return new


def is_position(part: str) -> bool:
    """Tell whether a part of a path may be the position of an element of a list."""
    digits = part.isascii() and part.isdecimal() and len(part) < 10
    return digits and (part == "0" or part[0] != "0")


class LeftOut(StrEnum):
    """What an index left out, seen from a path; each includes what the later ones say."""

    HERE = "here"
    """values at the path, or below it"""
    BELOW = "below"
    """values below the path"""
    POSITIONS = "positions"
    """what stands at positions of a list from `MAX_POSITIONS` on, or below them"""

    def mark(self, path: str) -> str:
        """Return the path under which an index keeps that this was left out; no field's path."""
        return f"left_out.{self}.{path}"


def marks(path: str) -> list[str]:
    """Return the marks, any of which says that an index lacks values at a path.

    Args:
        path: of a field; its number of parts times its length is what this costs.
    """
    found = [LeftOut.HERE.mark(path)]
    parts = path.split(".")
    for number in range(1, len(parts)):
        above = ".".join(parts[:number])
        found += [LeftOut.HERE.mark(above), LeftOut.BELOW.mark(above)]
        if is_position(parts[number]) and int(parts[number]) >= MAX_POSITIONS:
            found.append(LeftOut.POSITIONS.mark(above))
    return found


class Values:
    """A document laid flat, within bounds. Costs about a microsecond a value.

    Args:
        document: see the module; None at the top counts as not there.
    """

    def __init__(self, document: JsonObject) -> None:
        self.by_path: dict[str, list[Value]] = {}
        self.left_out: set[str] = set()
        """The marks of what was left out, see `LeftOut`."""
        self._left = MAX_VALUES
        # Lists that have paths into them, with how deep and in how many lists they are.
        self._lists: list[tuple[str, list[object], int, int]] = []
        for name, item in document.items():
            if name != _KEYS and name not in _SPACES and item is not None:
                self._add(name, item)
        for space in _SPACES:
            self._keys(space, document.get(space, {}), 0, 0)
        for path, items, depth, lists in self._lists:  # which grows meanwhile
            self._enter(path, items, depth, lists)
        self._logged = frozenset(document.get(_KEYS, ()))

    def rows(self) -> Iterator[tuple[str, int, Value, bool]]:
        """Give (path, position, value, whether it is a logged metric): what an index keeps."""
        logged = {f"summary_metrics.{name}" for name in self._logged}
        for path, values in self.by_path.items():
            first = path in logged
            for position, value in enumerate(values):
                yield path, position, value, first and position == 0
        for path in sorted(logged - self.by_path.keys()):
            yield path, 0, Value(ValueKind.KEY), True
        for mark in sorted(self.left_out):
            yield mark, 0, NULL, False

    def _walk(self, path: str, item: object, depth: int, lists: int) -> None:
        self._add(path, item)
        if isinstance(item, Mapping):
            self._keys(path, item, depth, lists)
        elif isinstance(item, list) and item:
            if depth < MAX_DEPTH and lists < MAX_LISTS:
                self._lists.append((path, item, depth, lists + 1))
            else:
                self._leave_out(LeftOut.BELOW, path)

    def _keys(self, path: str, item: Mapping[str, object], depth: int, lists: int) -> None:
        if "_type" in item:  # a histogram's bins are many, and seldom asked about
            lists = MAX_LISTS
        for key, inner in item.items():
            if self._left <= 0 or depth >= MAX_DEPTH:
                self._leave_out(LeftOut.BELOW, path)
                break
            self._walk(f"{path}.{key}", inner, depth + 1, lists)

    def _enter(self, path: str, items: list[object], depth: int, lists: int) -> None:
        if self._left <= 0:
            self._leave_out(LeftOut.BELOW, path)
            return
        if len(items) > MAX_POSITIONS:
            self._leave_out(LeftOut.POSITIONS, path)
        for position, item in enumerate(items[:MAX_POSITIONS]):
            if self._left <= 0:
                self._leave_out(LeftOut.BELOW, path)
                return
            self._walk(f"{path}.{position}", item, depth + 1, lists)
        for item in items[:MAX_ELEMENTS]:
            if isinstance(item, Mapping):
                self._keys(path, item, depth, lists)

    def _add(self, path: str, item: object) -> None:
        # A key may hold a dot, so that two leaves may meet at one path: they are like elements.
        at = self.by_path.setdefault(path, [])
        new = list(islice(_values(item), MAX_ELEMENTS + 1))
        room = max(0, min(self._left, 2 * MAX_ELEMENTS - len(at)))
        if len(new) > room or (isinstance(item, list) and len(item) > MAX_ELEMENTS):
            self._leave_out(LeftOut.HERE, path)
        new = new[:room]
        at.extend(new)
        self._left -= max(1, len(new))  # so that a walk ends, whatever a list is made of
        if not at:
            del self.by_path[path]

    def _leave_out(self, what: LeftOut, path: str) -> None:
        self.left_out.add(what.mark(path))


def _values(item: object) -> Iterator[Value]:
    """Give a value, and the elements of it where it is a list."""
    yield value_of(item)
    if isinstance(item, list):
        yield from map(value_of, item)


def _place(value: Value) -> tuple[int, float, str]:
    return value.kind, value.number or 0.0, value.text or ""


def _number(item: int | float) -> float:
    try:
        return float(item) + 0.0  # no negative zero
    except OverflowError:
        return math.inf if item > 0 else -math.inf


def _canonical(item: object) -> str:
    return json.dumps(_plain(item), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(item: object) -> object:
    if isinstance(item, Mapping):
        return {str(key): _plain(inner) for key, inner in item.items()}
    if isinstance(item, (list, tuple)):
        return [_plain(inner) for inner in item]
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        return _number(item)
    return item
