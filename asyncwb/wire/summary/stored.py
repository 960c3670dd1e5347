"""The leaves of a fold as they are stored: in columns, an entry a leaf.

    path        str
    kind        what it holds: "f", "i", "b" or "j"; of several types `Leaf.types`
    count       rows that hold it; `first_step` and `last_step` the smallest and largest of them
    step        the place of its last value: its step, and
    writer      whose it is, by number
    value       its last value

What few leaves have stands beside them, by the number of the leaf: `explicit`, `stats` (with what
they are), `missing` (no value), `unranked` (nor a place) and `not_finite` (with the value, spelled:
with a NaN among its numbers a document takes several times as long to read).

A run may have 100,000 leaves. As lists of their own, which they were before version 3, they took
three times as long to read as these few lists, and five times as long to write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON
from asyncwb.wire.rows.values import NON_FINITE, spelled
from asyncwb.wire.summary.reducers import MISSING, NEVER, Leaf, Order, kind_of

COLUMNAR: Final = 3
"""the version of `Fold.state()` from which on leaves are stored so"""
_PLAIN: Final = (FLOAT, INT, BOOL)
_COLUMNS: Final = ("path", "kind", "count", "first_step", "last_step", "step", "writer", "value")


def write(leaves: Mapping[str, Leaf], places: Mapping[str, int]) -> JsonObject:
    """Return leaves as JSON, their values' writers as numbers of `places`."""
    every = list(leaves.values())
    ranked = [leaf.rank is not NEVER for leaf in every]
    missing = [at for at, leaf in enumerate(every) if ranked[at] and leaf.last is MISSING]
    values = [0 if leaf.last is MISSING else leaf.last for leaf in every]
    not_finite: list[list[object]] = []
    for at, value in enumerate(values):
        if type(value) is float and not math.isfinite(value):
            not_finite.append([at, spelled(value)])
            values[at] = 0
    return {
        "path": list(leaves),
        "kind": [
            leaf.kind if leaf.types.keys() <= {leaf.kind} else dict(leaf.types) for leaf in every
        ],
        "count": [leaf.count for leaf in every],
        "first_step": [leaf.first_step for leaf in every],
        "last_step": [leaf.last_step for leaf in every],
        # No `null` stands for what is not there: `dumps` would look for a NaN behind each.
        "step": [leaf.rank[0] if there else 0 for leaf, there in zip(every, ranked, strict=True)],
        "writer": [
            places[leaf.rank[2]] if there else 0 for leaf, there in zip(every, ranked, strict=True)
        ],
        "value": values,
        "explicit": [at for at, leaf in enumerate(every) if leaf.explicit],
        "stats": [[at, dict(leaf.stats)] for at, leaf in enumerate(every) if leaf.stats],
        "missing": missing,
        "unranked": [at for at, there in enumerate(ranked) if not there],
        "not_finite": not_finite,
    }


def read(stored: Mapping[str, Any], orders: Sequence[Order]) -> dict[str, Leaf]:
    """Return the leaves that `write` described; `orders` are the writers by number."""
    leaves: dict[str, Leaf] = {}
    columns = (stored[name] for name in _COLUMNS)
    for path, kind, count, first, last, step, writer, value in zip(*columns, strict=True):
        leaf = leaves[path] = Leaf()
        leaf.describe(kind, count, first, last)
        leaf.last = value
        if orders:
            leaf.rank = (step, *orders[writer])
    every = list(leaves.values())
    for at in stored["explicit"]:
        every[at].explicit = True
    for at, stats in stored["stats"]:
        every[at].stats = dict(stats)
    for at in stored["missing"]:
        every[at].last = MISSING
    for at in stored["unranked"]:
        every[at].last, every[at].rank = MISSING, NEVER
    for at, value in stored["not_finite"]:
        every[at].last = NON_FINITE[value]
    return leaves


def rows_of_numbers(state: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield each path of numbers and how many rows hold it, of a fold's state of any version."""
    leaves = state["leaves"]
    described: Iterable[tuple[str, str | Mapping[str, int], int]]
    if state["v"] < COLUMNAR:
        described = ((path, leaf[0], leaf[1]) for path, leaf in leaves.items())
    else:
        described = zip(leaves["path"], leaves["kind"], leaves["count"], strict=True)
    for path, kind, count in described:
        if count and (kind in _PLAIN if type(kind) is str else kind_of(kind) != JSON):
            yield path, count
