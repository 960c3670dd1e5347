"""What filters and orders mean: a small typed tree, and its plain evaluation on one run.

    All(parts)  Either(parts)  Not(part)   and, or, not
    Has(field, test)                       some value of the field passes the test

Everything that can be asked is said in these four: "is not" is a Not, and null is "no value, or a
null". The tests are:

    Present()                 there is a value
    Equal(values)             it is one of these
    Range(sign, value)        it is less or greater, and of the same kind
    Match(pattern)            it is text in which the pattern is found (RE2, unanchored)

`evaluate` is the reference: whatever a database does with such a tree, it must find the very same
runs. A pattern takes time linear in the text.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import re2  # type: ignore[import-untyped]

from asyncwb.server.queries.document import Document, Value, ValueKind
from asyncwb.typing import JsonObject

Kind = Literal["any", "text", "texts", "number", "date", "logged"]
Sign = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Field:
    """What is asked about. `path` is the one spelling of it, such as `summary_metrics.loss`;
    for a logged metric (`kind` "logged") it is the metric's name."""

    path: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Present:
    """There is a value, be it null."""


@dataclass(frozen=True, slots=True)
class Equal:
    """It is one of these values."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """It is of the value's kind, and on that side of it."""

    sign: Sign
    value: Value


@dataclass(frozen=True, slots=True)
class Match:
    """It is text in which the pattern is found somewhere."""

    pattern: str


Test = Present | Equal | Range | Match


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; without parts, always."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """Some part holds; without parts, never."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


@dataclass(frozen=True, slots=True)
class Has:
    """Some value of the field passes the test."""

    field: Field
    test: Test


Filter = All | Either | Not | Has

EVERYTHING: Final = All()
"""The filter that every run passes."""


@dataclass(frozen=True, slots=True)
class Order:
    """By what runs are sorted. Runs without a value come last in both directions, and runs with
    equal values go by their age, in the order's direction. Of several values (a list's) the least
    counts, or the greatest in a descending order."""

    field: Field
    descending: bool = False

    def __str__(self) -> str:
        return ("-" if self.descending else "+") + self.field.path


# Patterns.

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False


@lru_cache(maxsize=256)
def searcher(pattern: str) -> Callable[[str], object]:
    """Return the function that finds a pattern in a text: truthy where it is found.

    Takes time linear in the text, whatever the pattern.

    Raises:
        ValueError: it is no expression of RE2, or one that needs too much memory.
    """
    try:
        compiled = re2.compile(pattern, options=_OPTIONS)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise ValueError(text or "the pattern cannot be compiled") from None
    found: Callable[[str], object] = compiled.search
    return found


_COMPARE: Final[Mapping[Sign, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


# Evaluation.


def evaluate(filters: Filter, document: JsonObject) -> bool:
    """Tell whether a run passes the filter.

    Args:
        filters: the tree.
        document: the run, as `document` describes it.
    """
    return holds(filters, Document(document))


def holds(filters: Filter, document: Document) -> bool:
    """Tell the same of a run that is asked about several times."""
    match filters:
        case All(parts):
            return all(holds(part, document) for part in parts)
        case Either(parts):
            return any(holds(part, document) for part in parts)
        case Not(part):
            return not holds(part, document)
        case Has(field, _) if field.kind == "logged":
            return field.path in document.logged
        case Has(field, test):
            return any(passes(test, value) for value in document.at(field.path))


def passes(test: Test, value: Value) -> bool:
    """Tell whether one value passes a test."""
    match test:
        case Present():
            return value.kind != ValueKind.KEY
        case Equal(values):
            return value in values
        case Range(sign, bound):
            if value.kind != bound.kind:
                return False
            return _COMPARE[sign](comparable(value), comparable(bound))
        case Match(pattern):
            return value.kind == ValueKind.TEXT and bool(searcher(pattern)(full_text(value)))


def comparable(value: Value) -> float | str:
    """Return what values of one kind are compared by: a number, or the whole text."""
    return full_text(value) if value.number is None else value.number


def full_text(value: Value) -> str:
    """Return the whole text of a value."""
    return value.long if value.long is not None else value.text or ""


def sort_key(order: Order, document: Document) -> tuple[int, float, str] | None:
    """Return the key of a run in its order, None where it has no value there and comes last.

    Long texts are compared in their short form.
    """
    value = document.sort_value(order.field.path, descending=order.descending)
    return None if value is None else (value.kind, value.number or 0.0, value.text or "")
