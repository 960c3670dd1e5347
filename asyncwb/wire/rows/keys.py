"""Metric keys as path strings: how a nested dict becomes flat columns, and back.

A run logs `{"train": {"loss": 0.3}}`, a column has one name. So a metric key is a path: the keys
of nested mappings joined with ".", where a "." that belongs to one key is written `\\.` and a
backslash `\\\\`. Two different nestings never share a path: `{"a": {"b": 1}}` is `a.b`, and
`{"a.b": 1}` is `a\\.b`. Paths are what tables, rules and summaries use; people see `display(path)`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import NoneType
from typing import Any, Final

from asyncwb.errors import LogTypeError
from asyncwb.typing import JsonObject

STEP: Final = "_step"
TIME: Final = "_timestamp"
"""unix seconds"""
RUNTIME: Final = "_runtime"
"""seconds since the run began"""
OPEN: Final = "_open"
"""whether the row's step may still get more"""
SYSTEM: Final = (STEP, TIME, RUNTIME)
"""what each row has of its own"""
COMPUTED: Final = frozenset((*SYSTEM, OPEN))
"""keys that nobody sets: they follow from the rows"""
INTERNAL: Final = "_wandb"
"""where W&B's clients keep what is their own, in a config, a summary or a row"""

MAX_DEPTH: Final = 100
"""Levels of nesting that one logged value may have; JSON parsers stop not far above it."""

FLAT: Final = frozenset((int, float, str, bool, NoneType))
"""types of which nothing is nested in a value"""
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def escape(key: str) -> str:
    """Write one key as a path segment: `"a.b"` gives `a\\.b`."""
    if "\\" in key:
        key = key.replace("\\", "\\\\")
    if "." in key:
        key = key.replace(".", "\\.")
    return key


def join(segments: Iterable[str]) -> str:
    """Build the path of nested keys: `("a", "b.c")` gives `a.b\\.c`."""
    return ".".join(map(escape, segments))


def split(path: str) -> tuple[str, ...]:
    """Return the nested keys of a path, unescaped; the reverse of `join`.

    A backslash before any other character, which `join` never writes, stands for that character.
    """
    if "\\" not in path:
        return tuple(path.split("."))
    segments, current, at = [], "", 0
    while at < len(path):
        char = path[at]
        if char == "\\" and at + 1 < len(path):
            at += 1
            current += path[at]
        elif char == ".":
            segments.append(current)
            current = ""
        else:
            current += char
        at += 1
    return (*segments, current)


def display(path: str) -> str:
    """Return the name that people see: the path without its escapes."""
    return path if "\\" not in path else _ESCAPED.sub(r"\1", path)


def shown(paths: Sequence[str]) -> list[str]:
    """Return the names that people see of several paths, each another one.

    Where two would look alike (`a.b` and `a\\.b`) they are shown with their escapes.

    >>> shown(["x", "a\\\\.b"]), shown(["a.b", "a\\\\.b"])
    (['x', 'a.b'], ['a.b', 'a\\\\.b'])
    """
    names = [display(path) for path in paths]
    alike = {name for name, count in Counter(names).items() if count > 1}
    return [path if name in alike else name for name, path in zip(names, paths, strict=True)]


def matches(pattern: str, path: str) -> bool:
    """Tell whether a metric definition's name covers a path.

    A name that ends in `*` covers every path that starts with what stands before it, except
    those that start with "_"; any other name covers only itself.
    """
    if pattern[-1:] != "*":
        return pattern == path
    return path[:1] != "_" and path.startswith(pattern[:-1])


def is_leaf_mapping(value: Mapping[object, object]) -> bool:
    """Tell whether a mapping is one value (a histogram, a media file) and not a level of keys."""
    return isinstance(value.get("_type"), str)


def flatten(mapping: Mapping[Any, Any], parent: str = "") -> JsonObject:
    """Turn nested mappings into `{path: leaf}`, each path below `parent` where that is given.

    Costs well under a microsecond a key where nothing is nested. An empty mapping contributes
    nothing; inner keys that are numbers become strings (`{1: {2: 0}}` gives `1.2`); a mapping
    with a string under `_type` is a leaf. The leaves are the caller's objects, unconverted.

    Raises LogTypeError for a key that is neither string nor number, and for a mapping that
    contains itself or is nested deeper than MAX_DEPTH.

    >>> flatten({"loss": 0.5, "val": {"acc": {"top.1": 0.9}}})
    {'loss': 0.5, 'val.acc.top\\\\.1': 0.9}
    """
    try:
        return dict(_leaves(mapping, f"{parent}." if parent else "", 1))
    except RecursionError:  # the caller itself stands deep in its stack
        raise too_deep(parent) from None


def nest(values: Mapping[str, object]) -> JsonObject:
    """Turn `{path: leaf}` into nested dicts: the reverse of `flatten`; the leaves are shared.

    Where a path is both a leaf and a parent (`a` and `a.b`), the leaf stays under its name and
    the child stands beside it under the dotted name.

    >>> nest({"loss": 0.5, "val.acc": 1})
    {'loss': 0.5, 'val': {'acc': 1}}
    """
    tree: JsonObject = {}
    for path, value in values.items():
        names = split(path)
        at, depth = tree, 0
        while depth < len(names) - 1 and join(names[: depth + 1]) not in values:
            at = at.setdefault(names[depth], {})
            depth += 1
        at[".".join(names[depth:])] = value
    return tree


def _leaves(
    mapping: Mapping[object, object], prefix: str, depth: int
) -> Iterator[tuple[str, object]]:
    for key, value in mapping.items():
        path = prefix + escape(key if type(key) is str else segment(key, prefix))
        if isinstance(value, Mapping) and not is_leaf_mapping(value):
            if depth >= MAX_DEPTH:
                raise too_deep(path)
            yield from _leaves(value, path + ".", depth + 1)
        else:
            yield path, value


def is_too_deep(value: object, levels: int = MAX_DEPTH) -> bool:
    """Tell whether mappings and lists are nested in more than `levels`, the outermost counted.

    What contains itself is. Costs 20 ns for each number or text: `isinstance` would be 300.
    """
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    if levels < 1:
        return True
    if FLAT.issuperset(map(type, value)):
        return False
    return any(is_too_deep(item, levels - 1) for item in value if type(item) not in FLAT)


def segment(key: object, parent: str = "") -> str:
    """Return an inner mapping's key as a string: numbers, bools and None become text.

    Raises LogTypeError for any other type; `parent` names the place in its message.
    """
    if isinstance(key, Enum):
        key = key.value
    if hasattr(key, "item") and not isinstance(key, str):  # a numpy scalar
        key = key.item()
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (int, float)):
        return str(key)
    where = f" inside {display(parent).rstrip('.')!r}" if parent else ""
    raise LogTypeError(
        f"cannot log a key of type {type(key).__name__}{where}: keys are strings; "
        "the row was not recorded, convert the key with str()",
        key=parent.rstrip("."),
    )


def too_deep(path: str) -> LogTypeError:
    """Return the error for a value that contains itself or is nested beyond MAX_DEPTH."""
    top = split(path)[0]
    return LogTypeError(
        f"cannot log {top!r}: it contains itself or is nested deeper than {MAX_DEPTH} levels; "
        "the row was not recorded, log a flatter value",
        key=escape(top),
    )
