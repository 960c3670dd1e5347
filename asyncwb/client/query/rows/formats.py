"""Tables as users want them: dicts of Python values, or the columns of a DataFrame.

Pure and column-wise: a million rows are never looked at one by one before they are dicts. Names
are those that people see (`display`); a name may stand for several columns, since a key that was
logged as `1` and later as `0.5` has one column a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from asyncwb.errors import ArgumentError
from asyncwb.typing import JsonObject
from asyncwb.wire.picking import EvenRows, even, extremes, including
from asyncwb.wire.rows.columns import FLOAT, INT, JSON, Column, Table, concat
from asyncwb.wire.rows.keys import OPEN, SYSTEM, display, escape, shown

_EXACT: Final = 2**53
_SMALL: Final = 10_000
_URL_ROOM: Final = 4000
_MANY: Final = 200
"""columns that one request may ask for"""

Names: TypeAlias = tuple[str, ...] | None
"""The keys that every row must have, in the order of the answer; None is whatever there is."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which rows of a history: those with all of `names`, and a step in [min_step, max_step)."""

    names: Names = None
    min_step: int | None = None
    max_step: int | None = None
    samples: int | None = None

    @property
    def sampled_by_server(self) -> bool:
        """Whether the server takes the sample.

        A large sample is no answer for one piece, and many names fit no URL: such a one is taken
        from the stream instead.
        """
        return self.samples is not None and self.samples <= _SMALL and self._fits(self.names or ())

    def _fits(self, names: Sequence[str]) -> bool:
        url = urlencode([("name", name) for name in names])
        return 2 * len(names) <= _MANY and len(url) < _URL_ROOM

    @property
    def single(self) -> str | None:
        """The one key that is asked for beside what every row has; None for none or several."""
        keys = [name for name in self.names or () if name not in SYSTEM]
        return keys[0] if len(keys) == 1 else None

    def _keys(self) -> list[tuple[str, str]]:
        """Return the columns to ask the server for; none at all, which is all, fits any URL.

        A dot in a name may be a level or part of a key: both are asked for.
        """
        paths = [path for name in self.names or () for path in {name: 0, escape(name): 0}]
        return [("key", path) for path in paths] if self._fits(self.names or ()) else []

    def params(self, min_step: int | None = None) -> list[tuple[str, str]]:
        """Write it as the parameters of a request, from `min_step` on if that is given."""
        lowest = self.min_step if min_step is None else min_step
        samples = self.samples if self.sampled_by_server else None
        numbers = {"min_step": lowest, "max_step": self.max_step, "samples": samples}
        # By its names the server looks for rows that have them all, by their keys for any of them.
        names = [("name", name) for name in self.names or ()]
        return [
            ("format", "frames"),
            *(self._keys() if samples is None else names),
            *((name, str(value)) for name, value in numbers.items() if value is not None),
        ]


def check_names(keys: object) -> Names:
    """Check keys that a caller gave; none at all is None. Raises ValueError for anything else."""
    if keys is None:
        return None
    if isinstance(keys, str) or not isinstance(keys, Sequence):
        raise ArgumentError(f"keys is a list of strings, not {keys!r}")
    if not all(isinstance(key, str) and key for key in keys):
        raise ArgumentError(f"keys is a list of strings, not {list(keys)!r}")
    return tuple(dict.fromkeys(keys)) or None


class Sampler:
    """Keeps rows spread evenly over a history, its first and last row among them.

    The same history gives the same rows, however it was cut into tables. Holds at most four
    times the sample.

    Args:
        size: how many rows, >= 1; a history of no more rows is kept whole.
        name: the key whose rows of the smallest and the largest value are to be in a sample of
            two rows or more; None: none is.
    """

    def __init__(self, size: int, name: str | None = None) -> None:
        self._size = size
        self._name = name
        self._ends: list[tuple[float, Table]] = []
        self._rows = EvenRows(size)

    def add(self, table: Table) -> None:
        """Take the next rows."""
        if table.n:
            self._rows.add(table)
            self._look_for_ends(table)

    def sample(self) -> Table:
        """Return the rows that are kept, ascending by step."""
        rows = self._rows.kept()
        last = self._rows.last
        for row in [*(end for _, end in self._ends), *([] if last is None else [last])]:
            if row.steps[0] not in rows.steps:
                rows = concat([rows, row])
        rows = rows.take(np.argsort(rows.steps, kind="stable"))
        ends = [int(np.searchsorted(rows.steps, end.steps[0])) for _, end in self._ends]
        return rows.take(including(even(rows.n, self._size), ends, rows.n))

    def _look_for_ends(self, table: Table) -> None:
        """Keep the rows of the smallest and the largest value that were seen."""
        if self._name is None:
            return
        values = np.full(table.n, np.nan)
        for column in _named(table, (self._name,))[self._name]:
            if column.kind != JSON:
                values[slice(None) if column.rows is None else column.rows] = column.values
        found = [(float(values[at]), table.slice(at, at + 1)) for at in extremes(values)]
        if seen := [*self._ends, *found]:
            self._ends = [min(seen, key=_value), max(seen, key=_value)]


def _value(end: tuple[float, Table]) -> float:
    return end[0]


def _named(table: Table, names: Names) -> dict[str, list[Column]]:
    """Group the columns by the name that they go by.

    What every row has comes first, then the rest by name, however the server keeps them.
    """
    found: dict[str, list[Column]] = {name: [] for name in names or ()}
    if names is not None:
        exact = {column.key for column in table.columns}
        for column in table.columns:
            for name in {display(column.key), column.key} & found.keys():
                if name == column.key or name not in exact:
                    found[name].append(column)
        return found
    paths = [*dict.fromkeys(column.key for column in table.columns if column.key != OPEN)]
    seen = dict(zip(paths, shown(paths), strict=True))
    for column in table.columns:
        if column.key != OPEN:
            found.setdefault(seen[column.key], []).append(column)
    first = [name for name in SYSTEM if name in found]
    return {name: found[name] for name in (*first, *sorted(found.keys() - set(SYSTEM)))}


def matching(table: Table, names: Names) -> Table:
    """Return the rows that have every one of the names."""
    present = np.ones(table.n, dtype=np.bool_)
    for columns in _named(table, names).values() if names is not None else ():
        if any(column.rows is None for column in columns):
            continue
        here = np.zeros(table.n, dtype=np.bool_)
        for column in columns:
            here[column.rows] = True
        present &= here
    return table if bool(present.all()) else table.take(np.flatnonzero(present))


def as_dicts(table: Table, names: Names) -> list[JsonObject]:
    """Return rows as dicts; a name that a row lacks is left out of it."""
    dense: dict[str, Column] = {}
    rest: list[tuple[str, Column]] = []
    for name, columns in _named(table, names).items():
        for column in columns:
            if column.rows is None and name not in dense:
                dense[name] = column
            else:
                rest.append((name, column))
    lists = [_plain(column) for column in dense.values()]
    rows = list(map(_maker(tuple(dense)), *lists)) if lists else [{} for _ in range(table.n)]
    for name, column in rest:
        where = range(table.n) if column.rows is None else column.rows.tolist()
        for row, value in zip(where, _plain(column), strict=True):
            rows[row][name] = value
    return rows


@lru_cache(maxsize=64)
def _maker(names: tuple[str, ...]) -> Callable[..., JsonObject]:
    """Build the function that makes a dict of one value a name.

    Compiled for the names, as namedtuple does: 0.75 us a row of 13 values, where `dict(zip(...))`
    takes 1.2 us. Names enter the code as string literals only.
    """
    arguments = [f"v{number}" for number in range(len(names))]
    items = ",".join(f"{name!r}:{v}" for name, v in zip(names, arguments, strict=True))
    maker: Callable[..., JsonObject] = eval(f"lambda {','.join(arguments)}: {{{items}}}")
    return maker


def as_columns(table: Table, names: Names) -> dict[str, NDArray[Any]]:
    """Return the columns of a DataFrame.

    A complete column keeps its type. One with gaps has NaN in them, and so is float64 where it
    holds numbers that a float64 can hold, else object.
    """
    return {name: _array(found, table.n) for name, found in _named(table, names).items()}


def _array(columns: Sequence[Column], n: int) -> NDArray[Any]:
    if len(columns) == 1 and columns[0].rows is None:
        column = columns[0]
        return _objects(column) if column.kind == JSON else np.asarray(column.values)
    numeric = all(column.kind == FLOAT or _fits_float(column) for column in columns)
    array: NDArray[Any] = np.full(n, np.nan, dtype=np.float64 if numeric else object)
    for column in columns:
        where = slice(None) if column.rows is None else column.rows
        array[where] = column.values if numeric else _objects(column)
    return array


def _fits_float(column: Column) -> bool:
    values = column.values
    return column.kind == INT and bool(np.all((values <= _EXACT) & (values >= -_EXACT)))


def _objects(column: Column) -> NDArray[Any]:
    # fromiter, since assigning lists of one length would make a matrix of them.
    return np.fromiter(_plain(column), dtype=object, count=len(column.values))


def _plain(column: Column) -> list[object]:
    values: list[object] = column.values if column.kind == JSON else column.values.tolist()
    return values
