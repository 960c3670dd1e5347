"""Tables: rows of metrics held column by column.

A run's history travels, is stored and is read as `Table`s, so that nothing between the journal
and the chart touches rows one at a time. Numeric columns that cover the same rows live together
in one `Block`: a matrix of 8-byte words, one line a column, which is what the codec shuffles and
compresses in one go. Everything else (strings, lists, histograms) is a `Column` of JSON values.

Kinds are kept apart: a key that was logged as `1` and later as `0.5` has an int column and a
float column, so that an int comes back as an int.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from propcache.api import cached_property

from asyncwb.typing import JsonObject
from asyncwb.wire.rows.keys import OPEN, STEP, TIME

Kind: TypeAlias = Literal["f", "i", "b", "j"]
"""float64, int64, bool, or any JSON value."""

Rows: TypeAlias = NDArray[np.int32]
Words: TypeAlias = NDArray[np.uint64]

FLOAT: Final[Kind] = "f"
INT: Final[Kind] = "i"
BOOL: Final[Kind] = "b"
JSON: Final[Kind] = "j"

Shape: TypeAlias = tuple[tuple[tuple[str, ...], str], ...]
"""The keys and kinds of blocks."""
Places: TypeAlias = Mapping[tuple[str, str], tuple[int, int]]
"""By (key, kind): which line of which block."""

_SHAPES: Final = 4
"""shapes of tables whose places are kept"""
_WIDEST: Final = 2**18
"""columns of such a shape; the places of 100,000 take some 20 MB"""
_WORD_TYPES: Final[dict[Kind, Any]] = {FLOAT: np.float64, INT: np.int64}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of one key and one kind.

    `values` has one entry for each row in `rows` (ascending positions), or one for every row of
    the table where `rows` is None: float64[n], int64[n], bool[n], or a list of JSON values.
    """

    key: str
    kind: Kind
    values: Any
    rows: Rows | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Numeric columns that are present in the same rows: uint64[len(keys), rows]."""

    keys: tuple[str, ...]
    kinds: str
    words: Words
    rows: Rows | None = None

    def column(self, index: int) -> Column:
        """Return one line of the matrix as a column; floats and ints are views, no copy."""
        kind: Kind = self.kinds[index]  # type: ignore[assignment]
        line = self.words[index]
        values = line != 0 if kind == BOOL else line.view(_WORD_TYPES[kind])
        return Column(self.keys[index], kind, values, self.rows)


class Table:
    """Rows of one or several runs of `log()`, column by column.

    Every table has the dense columns `_step` (int) and `_timestamp` (float, unix seconds). It may
    have `_open` (bool), true for rows whose step may still be added to. Tables are values: no
    method changes one in place, and several tables may share the memory of their columns.
    """

    def __init__(self, n: int, blocks: Sequence[Block], texts: Sequence[Column] = ()) -> None:
        self.n = n
        self.blocks = tuple(blocks)
        self.texts = tuple(texts)

    @classmethod
    def from_columns(cls, n: int, columns: Iterable[Column]) -> Table:
        """Build a table of `n` rows; numeric columns with the same rows share a block."""
        groups: dict[bytes | None, list[Column]] = {}
        texts: list[Column] = []
        for column in columns:
            if column.kind == JSON:
                texts.append(column)
            else:
                where = None if column.rows is None else column.rows.tobytes()
                groups.setdefault(where, []).append(column)
        return cls(n, [_pack(group) for group in groups.values()], texts)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column, `_step` and `_timestamp` included."""
        numeric = [b.column(i) for b in self.blocks for i in range(len(b.keys))]
        return (*numeric, *self.texts)

    @property
    def width(self) -> int:
        """How many columns it has; they are not made for it."""
        return sum(len(block.keys) for block in self.blocks) + len(self.texts)

    @cached_property
    def _places(self) -> Places:
        """Which line of which block has a key and kind. A table may have 100,000 columns, of which
        most readers want a few: they are not all made."""
        shape = tuple((block.keys, block.kinds) for block in self.blocks)
        wide = sum(len(keys) for keys, _ in shape) > _WIDEST
        return _places(shape) if wide else _kept_places(shape)

    @cached_property
    def _texts_by_key(self) -> dict[str, Column]:
        return {column.key: column for column in self.texts}

    def get(self, key: str, kind: Kind) -> Column | None:
        """Return the column of that key and kind, or None."""
        if kind == JSON:
            return self._texts_by_key.get(key)
        place = self._places.get((key, kind))
        return None if place is None else self.blocks[place[0]].column(place[1])

    def __contains__(self, key: str) -> bool:
        places = self._places
        return key in self._texts_by_key or any(
            (key, kind) in places for kind in (FLOAT, INT, BOOL)
        )

    @property
    def keys(self) -> list[str]:
        """The keys in order of first appearance, without the `_step`-like system columns."""
        return list(dict.fromkeys(c.key for c in self.columns if c.key not in (STEP, TIME, OPEN)))

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """int64[n]: the step of each row."""
        return cast("NDArray[np.int64]", self._dense(STEP, INT))

    @cached_property
    def ascending(self) -> bool:
        """Whether no row has a smaller step than the one before it."""
        # `all()` would let go of the interpreter lock once more, which an engine beside a busy
        # training loop waits 5 ms for.
        return b"\0" not in (self.steps[1:] >= self.steps[:-1]).tobytes()

    @cached_property
    def last_step(self) -> int:
        """The largest step; the table must have rows."""
        return int(self.steps[-1] if self.ascending else self.steps.max())

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """float64[n]: when each row was logged, unix seconds."""
        return cast("NDArray[np.float64]", self._dense(TIME, FLOAT))

    @cached_property
    def open(self) -> NDArray[np.bool_]:
        """bool[n]: whether each row's step may still be added to."""
        column = self.get(OPEN, BOOL)
        flags = np.zeros(self.n, dtype=np.bool_)
        if column is not None:
            flags[slice(None) if column.rows is None else column.rows] = column.values
        return flags

    def _dense(self, key: str, kind: Kind) -> object:
        column = self.get(key, kind)
        if column is None or column.rows is not None:
            raise ValueError(f"a table needs {key!r} in every row")
        return column.values

    def select(self, keys: Iterable[str]) -> Table:
        """Keep these keys (and the system columns); rows without any of them stay."""
        wanted = {*keys, STEP, TIME, OPEN}
        return Table.from_columns(self.n, [c for c in self.columns if c.key in wanted])

    def slice(self, start: int, stop: int) -> Table:
        """Return rows [start, stop)."""
        start, stop = max(0, min(start, self.n)), max(0, min(stop, self.n))
        if (start, stop) == (0, self.n):
            return self
        blocks = []
        for block in self.blocks:
            lo, hi, rows = _cut(block.rows, start, stop)
            if hi > lo or block.rows is None:
                blocks.append(Block(block.keys, block.kinds, block.words[:, lo:hi], rows))
        texts = []
        for column in self.texts:
            lo, hi, rows = _cut(column.rows, start, stop)
            if hi > lo:
                texts.append(Column(column.key, JSON, column.values[lo:hi], rows))
        return Table(max(0, stop - start), blocks, texts)

    def take(self, order: NDArray[np.intp]) -> Table:
        """Return the rows in another order (`order` holds distinct row positions)."""
        place = np.full(self.n, -1, dtype=np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        return Table.from_columns(
            len(order), [c for c in (_moved(c, order, place) for c in self.columns) if c]
        )

    def merge_steps(self) -> Table:
        """Return one row a step, ascending: of each key the value logged last.

        Rows are taken to be in the order in which they were logged. Costs nothing where steps
        already ascend without repeats; `_open` is gone from the result.
        """
        steps = self.steps
        if self.n == 0 or bool(np.all(steps[1:] > steps[:-1])):
            return self._without_open()
        table = self
        if not bool(np.all(steps[1:] >= steps[:-1])):
            table = self.take(np.argsort(steps, kind="stable"))
            steps = table.steps
        first = np.concatenate(([True], steps[1:] != steps[:-1]))
        group = (np.cumsum(first) - 1).astype(np.int32)
        merged = int(group[-1]) + 1
        columns = [_last_of_group(c, group, merged) for c in table.columns if c.key != OPEN]
        return Table.from_columns(merged, _one_kind_a_row(columns, table.columns, group))

    def _without_open(self) -> Table:
        if OPEN not in self:
            return self
        return Table.from_columns(self.n, [c for c in self.columns if c.key != OPEN])

    def iter_rows(self) -> Iterator[JsonObject]:
        """Yield each row as a dict of Python values, absent keys left out."""
        dense = [c for c in self.columns if c.rows is None]
        sparse = [c for c in self.columns if c.rows is not None]
        names = [c.key for c in dense]
        lists = [c.values if c.kind == JSON else c.values.tolist() for c in dense]
        rows = (dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True))
        if not sparse:
            yield from rows
            return
        extra: list[list[tuple[str, object]]] = [[] for _ in range(self.n)]
        for column in sparse:
            values = column.values if column.kind == JSON else column.values.tolist()
            assert column.rows is not None
            for row, value in zip(column.rows.tolist(), values, strict=True):
                extra[row].append((column.key, value))
        for row_dict, more in zip(rows, extra, strict=True):
            row_dict.update(more)
            yield row_dict


def _places(shape: Shape) -> Places:
    return {
        name: (number, index)
        for number, (keys, kinds) in enumerate(shape)
        for index, name in enumerate(zip(keys, kinds, strict=True))
    }


_kept_places = lru_cache(maxsize=_SHAPES)(_places)


def concat(tables: Sequence[Table]) -> Table:
    """Join tables one below the other; a key that one of them lacks becomes sparse.

    Costs one copy of the words. Tables with the same blocks (the usual case: one training loop)
    are joined matrix by matrix, without looking at columns.
    """
    tables = [table for table in tables if table.n]
    if not tables:
        return empty()
    if len(tables) == 1:
        return tables[0]
    total = sum(table.n for table in tables)
    if all(_same_shape(tables[0], table) for table in tables[1:]):
        blocks = [
            Block(b.keys, b.kinds, np.concatenate([t.blocks[i].words for t in tables], axis=1))
            for i, b in enumerate(tables[0].blocks)
        ]
        return Table(total, blocks)
    return Table.from_columns(total, _concat_columns(tables, total))


def empty() -> Table:
    """Return a table without rows."""
    return Table(0, [Block((STEP, TIME), INT + FLOAT, np.empty((2, 0), dtype=np.uint64))])


def _pack(columns: Sequence[Column]) -> Block:
    rows = columns[0].rows
    words = np.empty((len(columns), len(columns[0].values)), dtype=np.uint64)
    for line, column in zip(words, columns, strict=True):
        if column.kind == BOOL:
            line[:] = column.values
        else:
            line[:] = np.ascontiguousarray(column.values, _WORD_TYPES[column.kind]).view(np.uint64)
    return Block(tuple(c.key for c in columns), "".join(c.kind for c in columns), words, rows)


def _cut(rows: Rows | None, start: int, stop: int) -> tuple[int, int, Rows | None]:
    if rows is None:
        return start, stop, None
    lo, hi = (int(at) for at in np.searchsorted(rows, (start, stop)))
    kept = (rows[lo:hi] - start).astype(np.int32)
    # Present in every row that is left: a dense column again.
    return lo, hi, None if hi - lo == stop - start else kept


def _moved(column: Column, order: NDArray[np.intp], place: Rows) -> Column | None:
    if column.rows is None:
        values = (
            [column.values[i] for i in order.tolist()]
            if column.kind == JSON
            else column.values[order]
        )
        return Column(column.key, column.kind, values)
    target = place[column.rows]
    kept = np.flatnonzero(target >= 0)
    if not len(kept):
        return None
    kept = kept[np.argsort(target[kept], kind="stable")]
    rows = target[kept]
    values = (
        [column.values[i] for i in kept.tolist()] if column.kind == JSON else column.values[kept]
    )
    return _column(column.key, column.kind, values, rows, len(order))


def _column(key: str, kind: Kind, values: object, rows: Rows, n: int) -> Column:
    return Column(key, kind, values, None if len(rows) == n else rows.astype(np.int32))


def _last_of_group(column: Column, group: Rows, merged: int) -> Column:
    gid = group if column.rows is None else group[column.rows]
    last = np.flatnonzero(np.concatenate((gid[1:] != gid[:-1], [True])))
    values = (
        [column.values[i] for i in last.tolist()] if column.kind == JSON else column.values[last]
    )
    return _column(column.key, column.kind, values, gid[last], merged)


def _one_kind_a_row(
    merged: Sequence[Column], before: Sequence[Column], group: Rows
) -> Iterator[Column]:
    """Where a step has one key in two kinds (1, then 0.5), keep only the value logged last."""
    kinds: dict[str, list[Column]] = {}
    for column in merged:
        kinds.setdefault(column.key, []).append(column)
    latest: dict[str, NDArray[np.int64]] = {}
    n = int(group[-1]) + 1
    at: dict[tuple[str, Kind], NDArray[np.int64]] = {}
    for column in before:
        if len(kinds.get(column.key, ())) < 2:
            continue
        rows = np.arange(len(group)) if column.rows is None else column.rows
        last_row = np.full(n, -1, dtype=np.int64)
        last_row[group[rows]] = rows  # ascending rows: the last assignment wins
        at[column.key, column.kind] = last_row
        latest[column.key] = np.maximum(latest.get(column.key, last_row), last_row)
    for column in merged:
        if column.key not in latest:
            yield column
            continue
        rows = np.arange(n) if column.rows is None else column.rows
        wins = at[column.key, column.kind][rows] == latest[column.key][rows]
        if not wins.any():
            continue
        kept = np.flatnonzero(wins)
        values = (
            [column.values[i] for i in kept.tolist()]
            if column.kind == JSON
            else column.values[kept]
        )
        yield _column(column.key, column.kind, values, rows[kept].astype(np.int32), n)


def _same_shape(a: Table, b: Table) -> bool:
    if a.texts or b.texts or len(a.blocks) != len(b.blocks):
        return False
    return all(
        x.rows is None and y.rows is None and x.keys == y.keys and x.kinds == y.kinds
        for x, y in zip(a.blocks, b.blocks, strict=True)
    )


def _concat_columns(tables: Sequence[Table], total: int) -> Iterator[Column]:
    parts: dict[tuple[str, Kind], list[tuple[Column, int, int]]] = {}
    offset = 0
    for table in tables:
        for column in table.columns:
            parts.setdefault((column.key, column.kind), []).append((column, offset, table.n))
        offset += table.n
    for (key, kind), found in parts.items():
        values: object
        if kind == JSON:
            values = [value for column, _, _ in found for value in column.values]
        else:
            values = np.concatenate([column.values for column, _, _ in found])
        rows = np.concatenate(
            [(np.arange(n) if c.rows is None else c.rows) + start for c, start, n in found]
        )
        yield _column(key, kind, values, rows.astype(np.int32), total)
