"""Rows as JSON objects become a `Table`: what W&B's clients send, in the shape of our own.

`values.convert_row` turns one argument of `log()` into a row of paths; here the same rules hold
for thousands of rows that another client has converted: nested objects are levels of a path,
objects with a `_type` (media, histograms) are one value, `_step`, `_timestamp` and `_runtime` are
the row's own, and `_open`, which means something else in our rows, is kept as `_open_`. Rows with
the same keys are turned into columns together, without Python code per value; so ten thousand rows
of ten numbers take some ten milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asyncwb.errors import LogTypeError
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Column, Kind, Table, empty
from asyncwb.wire.rows.keys import OPEN, RUNTIME, STEP, SYSTEM, TIME
from asyncwb.wire.rows.values import INT_MAX, INT_MIN

MAX_COLUMNS: Final = 100_000
"""columns that one table may have"""

_FREE_OPEN: Final = f"{OPEN}_"
_KINDS: Final[dict[type, Kind]] = {float: FLOAT, int: INT, bool: BOOL}
_DTYPES: Final[dict[Kind, Any]] = {FLOAT: np.float64, INT: np.int64, BOOL: np.bool_}

Where = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Converted:
    """A table, and when the first row says that the run began (unix seconds)."""

    table: Table
    began: float | None


def lacks_steps(rows: Iterable[Mapping[str, object]]) -> bool:
    """Tell whether any row has no step of its own."""
    return any(type(row.get(STEP)) is not int for row in rows)


def from_rows(
    rows: Sequence[Mapping[str, object]], *, next_step: int = 0, now: float = 0.0
) -> Converted:
    """Turn rows of JSON values into a table.

    Args:
        rows: JSON objects with string keys, as a JSON parser gave them.
        next_step: the step of the first row that has none of its own; they count up from there.
        now: unix seconds, for rows that do not say when they were logged.

    Raises:
        LogTypeError: a value is nested too deep, or there are more than MAX_COLUMNS columns.

    >>> table = from_rows([{"_step": 3, "_timestamp": 1.5, "a": {"b": 1}}]).table
    >>> [(column.key, column.kind) for column in table.columns]
    [('_step', 'i'), ('_timestamp', 'f'), ('a.b', 'i')]
    """
    if not rows:
        return Converted(empty(), None)
    own = _Own(len(rows))
    cells = _Cells(len(rows))
    for where in _shapes(rows):
        part = rows if len(where) == len(rows) else [rows[i] for i in where]
        at = np.array(where, dtype=np.int32)
        for name, values in _turned(part):
            if name in SYSTEM:
                own.take(name, at, values)
            elif name == OPEN:  # which says of our own rows that they are open
                if _FREE_OPEN not in part[0]:
                    cells.take(_FREE_OPEN, at, values)
            else:
                cells.take(keys.escape(name), at, values)
    columns = [*own.columns(next_step, now), *cells.columns()]
    return Converted(Table.from_columns(len(rows), columns), own.began())


def _shapes(rows: Sequence[Mapping[str, object]]) -> Iterable[Sequence[int]]:
    """Group the rows that have the same keys, in whatever order: W&B's client shuffles them."""
    found: dict[frozenset[str], list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(frozenset(row), []).append(i)
    return found.values()


def _turned(rows: Sequence[Mapping[str, object]]) -> Iterable[tuple[str, Sequence[object]]]:
    """Turn rows of the same keys into columns."""
    names = tuple(rows[0])
    if len(names) == 1:
        return [(names[0], [row[names[0]] for row in rows])]
    columns = zip(*map(itemgetter(*names), rows), strict=True) if names else ()
    return zip(names, columns, strict=True)


class _Own:
    """The steps and times of the rows, as far as they say them."""

    def __init__(self, n: int) -> None:
        self._steps = np.zeros(n, dtype=np.int64)
        self._has_step = np.zeros(n, dtype=np.bool_)
        self._times = np.full(n, np.nan)
        self._runtimes = np.full(n, np.nan)

    def take(self, name: str, where: Where, values: Sequence[Any]) -> None:
        if name == STEP:
            good = [type(v) is int and INT_MIN <= v <= INT_MAX for v in values]
            self._steps[where] = [v if fine else 0 for v, fine in zip(values, good, strict=True)]
            self._has_step[where] = good
        elif name in (TIME, RUNTIME):
            target = self._times if name == TIME else self._runtimes
            target[where] = [float(v) if type(v) in (int, float) else math.nan for v in values]

    def columns(self, next_step: int, now: float) -> tuple[Column, Column]:
        steps, times = self._steps, self._times
        if not self._has_step.all():
            for i in range(len(steps)):
                if not self._has_step[i]:
                    steps[i] = next_step
                next_step = max(next_step, int(steps[i]) + 1)
        times = np.where(np.isfinite(times), times, now)
        return Column(STEP, INT, steps), Column(TIME, FLOAT, times)

    def began(self) -> float | None:
        began = float(self._times[0] - self._runtimes[0])
        return began if math.isfinite(began) else None


class _Cells:
    """Values by path and kind, in pieces. `_found` maps (path, kind) to its pieces."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._found: dict[tuple[str, Kind], list[tuple[Where, object]]] = {}

    def take(self, path: str, where: Where, values: Sequence[object]) -> None:
        types = set(map(type, values))
        if dict in types:
            self._spread(path, where, values)
        elif len(types) == 1:
            self._add(path, _KINDS.get(types.pop(), JSON), where, values)
        else:
            self._sort(path, where, values)

    def _spread(self, path: str, where: Where, values: Sequence[Any]) -> None:
        """Take the leaves of nested objects apart from what is one value."""
        leaves: dict[str, tuple[list[int], list[object]]] = {}
        for at, value in zip(where.tolist(), values, strict=True):
            level = type(value) is dict and not keys.is_leaf_mapping(value)
            for name, leaf in keys.flatten(value, path).items() if level else ((path, value),):
                rows, found = leaves.setdefault(name, ([], []))
                rows.append(at)
                found.append(leaf)
        for name, (rows, found) in leaves.items():
            self._sort(name, np.array(rows, dtype=np.int32), found)

    def _sort(self, path: str, where: Where, values: Sequence[object]) -> None:
        """Take values of several types apart."""
        kinds = [_KINDS.get(type(value), JSON) for value in values]
        for kind in dict.fromkeys(kinds):
            chosen = [i for i, found in enumerate(kinds) if found == kind]
            self._add(path, kind, where[chosen], [values[i] for i in chosen])

    def _add(self, path: str, kind: Kind, where: Where, values: Sequence[Any]) -> None:
        if kind == JSON:
            for value in values:
                if type(value) in (list, dict):
                    check_depth(value, path)
            self._put(path, JSON, where, list(values))
            return
        try:
            self._put(path, kind, where, np.array(values, dtype=_DTYPES[kind]))
        except OverflowError:  # an int beyond 64 bits is the nearest float
            fits = [INT_MIN <= value <= INT_MAX for value in values]
            for fine, of in ((True, INT), (False, FLOAT)):
                chosen = [i for i, fit in enumerate(fits) if fit is fine]
                some = np.array([values[i] for i in chosen], dtype=_DTYPES[of])
                self._put(path, of, where[chosen], some)

    def _put(self, path: str, kind: Kind, where: Where, values: Any) -> None:
        self._found.setdefault((path, kind), []).append((where, values))
        if len(self._found) > MAX_COLUMNS:
            raise LogTypeError(f"there are more than {MAX_COLUMNS} keys; nothing was recorded")

    def columns(self) -> Iterable[Column]:
        for (path, kind), pieces in self._found.items():
            where, values = pieces[0] if len(pieces) == 1 else _joined(pieces, kind)
            if len(where):
                yield Column(path, kind, values, None if len(where) == self._n else where)


def _joined(pieces: Sequence[tuple[Where, Any]], kind: Kind) -> tuple[Where, Any]:
    where = np.concatenate([rows for rows, _ in pieces])
    order = np.argsort(where, kind="stable")
    if kind == JSON:
        every = [value for _, values in pieces for value in values]
        return where[order], [every[i] for i in order.tolist()]
    return where[order], np.concatenate([values for _, values in pieces])[order]


def check_depth(value: object, path: str, depth: int = 0) -> None:
    """Refuse a JSON value that is nested deeper than `keys.MAX_DEPTH`.

    Raises:
        LogTypeError: it is; `path` names it.
    """
    if depth > keys.MAX_DEPTH:
        raise keys.too_deep(path)
    if type(value) is list:
        for item in value:
            if type(item) in (list, dict):
                check_depth(item, path, depth + 1)
    elif type(value) is dict:
        for item in value.values():
            if type(item) in (list, dict):
                check_depth(item, path, depth + 1)
