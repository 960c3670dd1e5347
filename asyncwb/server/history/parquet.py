"""Sealed segments: a `Table` as a Parquet file, and the way back; and histories as a stream.

The file is the open format: DuckDB, pandas or Spark read a project's history without us.

* one row a step, ascending; `_step` (int64) and `_timestamp` (double, unix seconds) in every
  row, then one column a key, null where a row lacks the key; NaN is a value, not a null;
* floats are doubles, ints int64, bools boolean. Any other value is a string column of JSON text;
* a key that was logged in several kinds has a column for each: the first under the key's own
  name, the others with the suffix `:float`, `:int`, `:bool` or `:json`;
* the schema's metadata has, under `asyncwb`, a JSON object: `columns` lists [column name, key,
  kind] with the kinds of `wire/rows/columns.py` ("j" marks JSON text), `writers` whose rows these
  are.

Everything here blocks: run it in a worker thread. Arrays are made from buffers because
`pyarrow.array(ndarray)` would import pandas, 1.3 s.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow import parquet

from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Column, Kind, Table
from asyncwb.wire.rows.keys import OPEN, STEP, TIME, shown
from asyncwb.wire.rows.values import dumps

METADATA: Final = b"asyncwb"
GROUP_ROWS: Final = 65_536
_GROUP_CELLS: Final = 4 * 2**20
_LEAST_GROUP_ROWS: Final = 1_024
_MOST_TEXT: Final = 2**31 - 1

_SUFFIX: Final[dict[Kind, str]] = {FLOAT: ":float", INT: ":int", BOOL: ":bool", JSON: ":json"}
_ARROW: Final[dict[Kind, pa.DataType]] = {
    FLOAT: pa.float64(),
    INT: pa.int64(),
    BOOL: pa.bool_(),
    JSON: pa.string(),
}
_SYSTEM: Final = (STEP, TIME)


class Name(NamedTuple):
    """A column of a file: its name there, and the key and kind it holds."""

    name: str
    key: str
    kind: Kind


def names(table: Table) -> list[Name]:
    """Name the columns of a table as its file will: the system columns, then the keys."""
    found = [Name(STEP, STEP, INT), Name(TIME, TIME, FLOAT)]
    taken = {STEP, TIME}
    for column in table.columns:
        if column.key in (STEP, TIME, OPEN):
            continue
        name = column.key
        while name in taken:
            name += _SUFFIX[column.kind]
        taken.add(name)
        found.append(Name(name, column.key, column.kind))
    return found


def write(table: Table, writers: Iterable[str]) -> bytes:
    """Return the Parquet file of a table that has one row a step, ascending."""
    columns = names(table)
    arrays = [_array(table.get(key, kind), table.n) for _, key, kind in columns]
    about = dumps({"version": 1, "columns": columns, "writers": sorted(writers)})
    schema = pa.schema(
        [pa.field(name, _ARROW[kind]) for name, _, kind in columns], metadata={METADATA: about}
    )
    sink = io.BytesIO()
    parquet.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        sink,
        row_group_size=group_rows(len(columns)),
        **_packing([(name, kind) for name, _, kind in columns]),
    )
    return sink.getvalue()


def _packing(columns: Collection[tuple[str, Kind]]) -> dict[str, object]:
    """Return how columns, by their names in the file, are encoded and compressed."""
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [name for name, kind in columns if kind == JSON],
        # Like the frames' shuffle: bytes of one significance next to each other.
        "use_byte_stream_split": [name for name, kind in columns if kind == FLOAT],
        "column_encoding": {name: "DELTA_BINARY_PACKED" for name, kind in columns if kind == INT},
    }


def group_rows(columns: int) -> int:
    """Return how many rows of so many columns a reader holds at a time."""
    return min(GROUP_ROWS, max(_LEAST_GROUP_ROWS, _GROUP_CELLS // max(1, columns)))


def _array(column: Column | None, n: int) -> pa.Array:
    assert column is not None
    mask = None
    if column.rows is not None:
        mask = np.zeros(n, dtype=np.bool_)
        mask[column.rows] = True
    if column.kind == JSON:
        return _text_array(column, n)
    return from_numpy(_spread(column, n), column.kind, mask)


def _spread(column: Column, n: int) -> NDArray[np.generic]:
    if column.rows is None:
        return np.ascontiguousarray(column.values)
    values = np.zeros(n, dtype=column.values.dtype)
    values[column.rows] = column.values
    return values


def _text_array(column: Column, n: int) -> pa.Array:
    texts = [dumps(value) for value in column.values]
    where = slice(None) if column.rows is None else column.rows
    mask = np.zeros(n, dtype=np.bool_)
    mask[where] = True
    ends = np.zeros(n + 1, dtype=np.int64)
    ends[1:][where] = [len(text) for text in texts]
    ends = np.cumsum(ends)
    if ends[-1] > _MOST_TEXT:
        raise ValueError(f"{ends[-1]} bytes of text are more than one column of a file can hold")
    buffers = [_validity(mask), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), n, buffers)


def _validity(mask: NDArray[np.bool_] | None) -> pa.Buffer | None:
    if mask is None or mask.all():
        return None
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def from_numpy(values: NDArray[Any], kind: Kind, mask: NDArray[np.bool_] | None) -> pa.Array:
    """Wrap numbers or bools as an Arrow array; `mask` is true where there is a value."""
    n = len(values)
    if kind == BOOL:
        values = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(_ARROW[kind], n, [_validity(mask), pa.py_buffer(values)])


class ArrowStream:
    """Tables as one Arrow IPC stream: a schema first, then a record batch a table.

    A stream has one type a column. A key of several kinds becomes a double where all are
    numbers, JSON text where one is not; a field of JSON text says `asyncwb: json`.
    """

    def __init__(self, kinds: Sequence[tuple[str, Iterable[Kind]]]) -> None:
        self._kinds = [(key, frozenset(found)) for key, found in kinds]
        self.schema = pa.schema([_field(key, _one_kind(found)) for key, found in self._kinds])
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._sink, self.schema)

    def _drain(self) -> bytes:
        data = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return data

    def encode(self, table: Table) -> bytes:
        """Return the bytes of a table (those of the schema come before the first).

        Columns that the schema does not know are left out.
        """
        arrays = [_unified(table, key, found) for key, found in self._kinds]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        return self._drain()

    def end(self) -> bytes:
        """Return the bytes that end the stream."""
        self._writer.close()
        return self._drain()


class ParquetStream:
    """Tables as one Parquet file, written from its first byte to its last: a row group a table.

    Types are those of `ArrowStream`. A column is named as the key is shown, `a.b` for a key with
    a dot in it too; where two keys are shown alike both have their paths (`a.b`, `a\\.b`). What
    it holds between two tables is the directory of row groups, which ends the file.
    """

    def __init__(self, kinds: Sequence[tuple[str, Iterable[Kind]]]) -> None:
        self._kinds = [(key, frozenset(found)) for key, found in kinds]
        columns = list(zip(shown([key for key, _ in self._kinds]), self._types(), strict=True))
        self._schema = pa.schema([_field(name, kind) for name, kind in columns])
        self._sink = _Sink()
        self._rows = group_rows(len(columns))
        self._writer = parquet.ParquetWriter(
            self._sink,
            self._schema,
            # Least and greatest values leave NaN out, and DuckDB concludes that there is none.
            write_statistics=[name for name, kind in columns if kind != FLOAT],
            **_packing(columns),
        )

    def _types(self) -> list[Kind]:
        return [_one_kind(found) for _, found in self._kinds]

    def encode(self, table: Table) -> bytes:
        """Return the bytes of a table (those that begin a file come before the first).

        Columns that the schema does not know are left out.
        """
        arrays = [_unified(table, key, found) for key, found in self._kinds]
        data = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(data, row_group_size=self._rows)
        return self._sink.take()

    def end(self) -> bytes:
        """Return the bytes that end the file: without them it is none."""
        self._writer.close()
        return self._sink.take()


class _Sink(io.RawIOBase):
    """A file to write to that hands on what was written; its place counts all of it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _one_kind(kinds: Collection[Kind]) -> Kind:
    if len(kinds) == 1:
        return next(iter(kinds))
    return JSON if JSON in kinds else FLOAT


def _field(key: str, kind: Kind) -> pa.Field:
    return pa.field(key, _ARROW[kind], metadata={METADATA: b"json"} if kind == JSON else None)


def _unified(table: Table, key: str, kinds: Collection[Kind]) -> pa.Array:
    kind = _one_kind(kinds)
    columns = (table.get(key, each) for each in (FLOAT, INT, BOOL, JSON) if each in kinds)
    found = [column for column in columns if column is not None]
    if kind == JSON:
        return _text_array(Column(key, JSON, *_values_of(found)), table.n)
    if len(found) == 1 and found[0].kind == kind:
        return _array(found[0], table.n)
    mask = np.zeros(table.n, dtype=np.bool_)
    values = np.zeros(table.n, dtype=np.int64 if kind == INT else np.float64)
    for column in found:
        where = slice(None) if column.rows is None else column.rows
        mask[where] = True
        values[where] = column.values
    return from_numpy(values if kind != BOOL else values != 0, kind, mask)


def _values_of(columns: Sequence[Column]) -> tuple[list[object], NDArray[np.int32]]:
    pairs: list[tuple[int, object]] = []
    for column in columns:
        values = column.values if column.kind == JSON else column.values.tolist()
        rows = range(len(values)) if column.rows is None else column.rows.tolist()
        pairs.extend(zip(rows, values, strict=True))
    pairs.sort(key=lambda pair: pair[0])
    return [value for _, value in pairs], np.array([row for row, _ in pairs], dtype=np.int32)


def kinds_of(columns: Iterable[tuple[str, Kind]]) -> Iterator[tuple[str, list[Kind]]]:
    """Group (key, kind) pairs by key, in order of first appearance."""
    groups: dict[str, list[Kind]] = {}
    for key, kind in columns:
        kinds = groups.setdefault(key, [])
        if kind not in kinds:
            kinds.append(kind)
    yield from groups.items()
