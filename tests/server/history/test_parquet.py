"""A history as a Parquet file that is written while it is read."""

from __future__ import annotations

import io
import math

from pyarrow import parquet  # type: ignore[import-untyped]

from asyncwb.server.history.parquet import ParquetStream
from tests.server.history_lab import Row, table_of


def test_an_export_is_handed_on_row_group_by_row_group() -> None:
    stream = ParquetStream([("_step", ["i"]), ("v", ["f"])])
    parts = []
    for first in range(0, 400_000, 100_000):
        rows: list[Row] = [(step, {"v": step * 0.7}) for step in range(first, first + 100_000)]
        parts.append(stream.encode(table_of(rows)))
    end = stream.end()
    assert min(map(len, parts)) > 2 * len(end)
    file = parquet.ParquetFile(io.BytesIO(b"".join([*parts, end])))
    assert file.metadata.num_row_groups == 8
    assert file.read().column("_step").to_pylist() == list(range(400_000))


def test_readers_cannot_conclude_that_a_column_has_no_nan() -> None:
    """Statistics leave NaN out: DuckDB took `isnan(v)` for false in all of such a file."""
    stream = ParquetStream([("_step", ["i"]), ("v", ["f"])])
    data = stream.encode(table_of([(0, {"v": 1.0}), (1, {"v": math.nan})])) + stream.end()
    group = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    assert group.column(0).statistics.max == 1
    assert group.column(1).statistics is None
