"""The language of queries over runs: MongoDB's filters, and orders, parsed to a tree.

`parse` turns what a client sent, a mapping or its JSON text, into the tree of `conditions`. A
filter from outside is bounded in size, depth and patterns. Whatever is wrong with it is a
`FilterError` that says where, and what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeGuard

from asyncwb.errors import FilterError
from asyncwb.server.queries.conditions import (
    EVERYTHING,
    All,
    Either,
    Equal,
    Field,
    Filter,
    Has,
    Kind,
    Match,
    Not,
    Order,
    Present,
    Range,
    Sign,
    Test,
    evaluate,
    searcher,
)
from asyncwb.server.queries.document import NAN, NULL, Value, value_of
from asyncwb.wire.rows.values import loads

__all__ = ["EVERYTHING", "Filter", "Order", "evaluate", "field_of", "parse", "parse_order"]

MAX_TEXT: Final = 1_000_000
"""characters of a filter's JSON."""
MAX_DEPTH: Final = 32
MAX_CONDITIONS: Final = 300
MAX_LIST: Final = 10_000
"""values of all lists in one filter together."""
MAX_PATTERN: Final = 1000
MAX_PATTERNS: Final = 20
MAX_KEY: Final = 10_000
MAX_PARTS: Final = 128
"""parts of a key between its dots, each of which may be where a mapping begins"""

# The names.

_ATTRIBUTES: Final[Mapping[str, Kind]] = {
    "name": "text",
    "displayName": "text",
    "state": "text",
    "group": "text",
    "jobType": "text",
    "username": "text",
    "host": "text",
    "sweep": "text",
    "entity": "text",
    "project": "text",
    "notes": "text",
    "description": "text",
    "commit": "text",
    "tags": "texts",
    "duration": "number",
    "createdAt": "date",
    "heartbeatAt": "date",
}
_ALIASES: Final[Mapping[str, str]] = {
    "display_name": "displayName",
    "created_at": "createdAt",
    "heartbeat_at": "heartbeatAt",
    "updated_at": "heartbeatAt",
    "updatedAt": "heartbeatAt",
    "job_type": "jobType",
    "user": "username",
}
_SPACES: Final[Mapping[str, str]] = {
    "config": "config",
    "summary_metrics": "summary_metrics",
    "summaryMetrics": "summary_metrics",
    "summary": "summary_metrics",
}
_LOGGED: Final = "keys_info.keys."
_KNOWN: Final = ", ".join(("config.KEY", "summary_metrics.KEY", f"{_LOGGED}KEY", *_ATTRIBUTES))


def field_of(name: str, place: str = "") -> Field:
    """Return the field of that name, in either spelling.

    `.value`, with which W&B wraps what stands in a config, may stand at the end or behind the
    first part of the key; a key that is called `value` itself is written `.value.value`.

    Raises:
        FilterError: there is no such field.
    """
    if len(name) > MAX_KEY or "\x00" in name:
        _fail(place, f"a key has at most {MAX_KEY} characters, none of them NUL; shorten it")
    if name.count(".") > MAX_PARTS:
        _fail(place, f"a key has at most {MAX_PARTS} parts between its dots; shorten it")
    if name.startswith(_LOGGED) and len(name) > len(_LOGGED):
        return Field(name.removeprefix(_LOGGED), "logged")
    space, _, key = name.partition(".")
    if space in _SPACES and key:
        if space == "config":
            key = _unwrapped(key)
        return Field(f"{_SPACES[space]}.{key}", "any")
    plain = _ALIASES.get(name, name)
    if plain not in _ATTRIBUTES:
        _fail(place, f"there is no field {name[:100]!r}; there are {_KNOWN}")
    return Field(plain, _ATTRIBUTES[plain])


def _unwrapped(key: str) -> str:
    if key.endswith(".value") and len(key) > len(".value"):
        return key.removesuffix(".value")
    first, wrapped, rest = key.partition(".value.")
    return f"{first}.{rest}" if wrapped and first and "." not in first else key


def parse_order(text: str | None) -> Order:
    """Return the order that `+created_at`, `-summary_metrics.loss` and their like ask for.

    None and "" are the oldest first, `+created_at`. Without a sign it is descending: what is the
    newest, or the highest, comes first, as W&B's `Api.runs` documents it.

    Raises:
        FilterError: there is no such field, or it is one that cannot be sorted by.
    """
    name = (text or "+created_at").strip()
    descending = not name.startswith("+")
    name = name[1:] if name[:1] in ("+", "-") else name
    _check_text(name, "order")
    field = field_of(name, "order")
    if field.kind in ("texts", "logged"):
        _fail("order", f"runs cannot be sorted by {name!r}; sort by a config or summary key")
    return Order(field, descending)


# Parsing.


def parse(filters: object) -> Filter:
    """Return the tree of a filter: a mapping, its JSON text, or None, "" and {} for no filter.

    Raises:
        FilterError: it is no filter, or larger, deeper or dearer than allowed; `place` says where.
    """
    if filters is None or filters == "":
        return EVERYTHING
    if isinstance(filters, str):
        filters = _decode(filters)
        if filters is None:
            return EVERYTHING
    if not isinstance(filters, Mapping):
        _fail("", 'a filter is an object such as {"state": "finished"}')
    return _Parser().tree(filters, "", 0)


def _decode(text: str) -> object:
    if len(text) > MAX_TEXT:
        _fail("", f"a filter has at most {MAX_TEXT} characters; ask in several queries")
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"the filter is not JSON ({error}); write an object") from None


_OPERATORS: Final = (
    "there is no such operator; there are $eq $ne $gt $gte $lt $lte $in $nin $exists $regex $not "
    '(and "(?i)" in a pattern instead of $options)'
)


class _Parser:
    # What one filter has used up of its bounds.
    __slots__ = ("_conditions", "_listed", "_patterns")

    def __init__(self) -> None:
        self._conditions = self._listed = self._patterns = 0

    def tree(self, filters: Mapping[str, object], place: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            _fail(place, f"a filter is nested at most {MAX_DEPTH} deep; flatten it")
        parts = []
        for key, operand in filters.items():
            if not isinstance(key, str):
                _fail(place, f"keys are text, not {type(key).__name__}")
            here = f"{place}.{key[:100]}" if place else key[:100]
            if key in ("$and", "$or", "$nor"):
                parts.append(self._combined(key, operand, here, depth))
            elif key.startswith("$"):
                _fail(here, "at this place stand $and, $or, $nor or the name of a field")
            else:
                parts.append(self._field(field_of(key, here), operand, here, depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _combined(self, key: str, operand: object, place: str, depth: int) -> Filter:
        if not isinstance(operand, (list, tuple)):
            _fail(place, f'it takes a list of filters: {{"{key}": [{{...}}, {{...}}]}}')
        if not operand and key != "$and":
            _fail(place, "its list is empty; leave it out")
        self._count(place, len(operand))
        parts = []
        for number, item in enumerate(operand):
            here = f"{place}[{number}]"
            if not isinstance(item, Mapping):
                _fail(here, f"in the list stand filters, not {_said(item)}")
            parts.append(self.tree(item, here, depth + 1))
        if key == "$and":
            return All(tuple(parts))
        return Either(tuple(parts)) if key == "$or" else Not(Either(tuple(parts)))

    def _field(self, field: Field, operand: object, place: str, depth: int) -> Filter:
        if not isinstance(operand, Mapping) or not any(_is_operator(key) for key in operand):
            return self._condition(field, "$eq", operand, place, depth)
        parts = []
        for key, inner in operand.items():
            if not _is_operator(key):
                _fail(f"{place}.{key}", "operators cannot be mixed with other keys; use $and")
            parts.append(self._condition(field, key, inner, f"{place}.{key}", depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _condition(self, field: Field, key: str, operand: object, place: str, depth: int) -> Filter:
        self._count(place, 1)
        if field.kind == "logged" and key not in ("$exists", "$not"):
            said = f'{{"{_LOGGED}K": {{"$exists": true}}}}'
            _fail(place, f"of a logged metric it can only be asked whether it is there: {said}")
        match key:
            case "$eq":
                return self._equal(field, (operand,), place)
            case "$ne":
                return Not(self._equal(field, (operand,), place))
            case "$in" | "$nin":
                found = self._equal(field, self._list(operand, place), place)
                return found if key == "$in" else Not(found)
            case "$gt" | "$gte" | "$lt" | "$lte":
                return Has(field, _range(key, _operand(field, operand, place), place))
            case "$exists":
                if not isinstance(operand, (bool, int)):
                    _fail(place, f"it takes true or false, not {_said(operand)}")
                there = Has(field, Present())
                return there if operand else Not(there)
            case "$regex":
                return Has(field, self._pattern(field, operand, place))
            case "$not":
                if not isinstance(operand, Mapping) or not operand or depth >= MAX_DEPTH:
                    _fail(place, 'it takes conditions: {"$not": {"$gt": 1}}')
                return Not(self._negated(field, operand, place, depth + 1))
        raise _refused(place, _OPERATORS)

    def _negated(
        self, field: Field, operand: Mapping[str, object], place: str, depth: int
    ) -> Filter:
        if not all(_is_operator(key) for key in operand):
            _fail(place, 'it takes conditions: {"$not": {"$gt": 1}}')
        return self._field(field, operand, place, depth)

    def _equal(self, field: Field, operands: tuple[object, ...], place: str) -> Filter:
        values = tuple(dict.fromkeys(_operand(field, item, place) for item in operands))
        found = Has(field, Equal(values))
        if NULL not in values:
            return found
        return Either((Not(Has(field, Present())), found))

    def _list(self, operand: object, place: str) -> tuple[object, ...]:
        if not isinstance(operand, (list, tuple)):
            _fail(place, f"it takes a list of values, not {_said(operand)}")
        self._listed += len(operand)
        if self._listed > MAX_LIST:
            _fail(place, f"lists hold at most {MAX_LIST} values together; ask in several queries")
        return tuple(operand)

    def _pattern(self, field: Field, operand: object, place: str) -> Match:
        if not isinstance(operand, str) or len(operand) > MAX_PATTERN:
            _fail(place, f"a pattern is text of at most {MAX_PATTERN} characters")
        _check_text(operand, place)
        if field.kind not in ("any", "text", "texts"):
            _fail(place, f"{field.path} is no text; compare it with $gt, $lt or $eq")
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            _fail(place, f"a filter has at most {MAX_PATTERNS} patterns; join them with |")
        try:
            searcher(operand)
        except ValueError as error:
            _fail(place, f"{error}; write an expression of RE2 (no look-around, no backreference)")
        return Match(operand)

    def _count(self, place: str, conditions: int) -> None:
        self._conditions += conditions
        if self._conditions > MAX_CONDITIONS:
            _fail(place, f"a filter has at most {MAX_CONDITIONS} conditions; use $in for values")


def _is_operator(key: object) -> bool:
    return isinstance(key, str) and key.startswith("$")


def _refused(place: str, message: str) -> FilterError:
    where = f" at {place[:300]}" if place else ""
    return FilterError(f"the filter is no good{where}: {message}", place)


def _fail(place: str, message: str) -> NoReturn:
    raise _refused(place, message)


def _said(operand: object) -> str:
    return f"{operand!r:.60} of type {type(operand).__name__}"


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        _fail(place, "its text holds a lone surrogate; clean it")


def _operand(field: Field, operand: object, place: str) -> Value:
    """Return what a field is compared with, in the field's own kind."""
    match field.kind:
        case "date" if operand is not None:
            return value_of(_date(operand, place))
        case "number" if operand is not None and not _is_number(operand):
            _fail(place, f"{field.path} is a number, not {_said(operand)}")
        case "text" if operand is not None and not isinstance(operand, str):
            _fail(place, f"{field.path} is text, not {_said(operand)}")
        case "texts" if operand is not None and not isinstance(operand, (str, list, tuple)):
            _fail(place, f"{field.path} is a list of text, not {_said(operand)}")
    try:
        value = value_of(operand)
    except (TypeError, ValueError, RecursionError):
        _fail(place, f"values are JSON, not {_said(operand)}")
    for text in (value.text, value.long):
        _check_text(text or "", place)
    return value


def _is_number(operand: object) -> TypeGuard[int | float]:
    return isinstance(operand, (int, float)) and not isinstance(operand, bool)


_SIGNS: Final[Mapping[str, Sign]] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def _range(key: str, value: Value, place: str) -> Test:
    if value == NAN:  # it equals itself, and nothing is less or greater
        return Equal((NAN,) if key in ("$gte", "$lte") else ())
    if not value.kind.sortable:
        _fail(place, "it takes a number, text or a boolean")
    return Range(_SIGNS[key], value)


# Dates: ISO 8601 in any precision from the year on; without an offset it is UTC.

_PARTIAL: Final = re.compile(r"\d{4}(-\d{2})?")


def _date(operand: object, place: str) -> float:
    if _is_number(operand):
        return float(operand)
    if isinstance(operand, str) and len(operand) <= 64:
        text = operand.strip()
        if _PARTIAL.fullmatch(text):
            text = f"{text}-01-01"[:10]
        try:
            when = datetime.fromisoformat(text)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    _fail(place, f'a date is like "2024-05-31T12:00:00Z", or unix seconds, not {_said(operand)}')
