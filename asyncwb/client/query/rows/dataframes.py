"""Rows as the DataFrames of pandas and polars, which are loaded only when somebody wants one."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Final

from asyncwb.client.query.rows.formats import Names, as_columns
from asyncwb.errors import ArgumentError, UnsupportedError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import Table

FORMATS: Final = ("default", "pandas", "polars")


def has_pandas() -> bool:
    """Tell whether pandas is installed."""
    return importlib.util.find_spec("pandas") is not None


def pandas_frame(rows: Table | Sequence[JsonObject], names: Names) -> Any:
    """Make a pandas DataFrame of a table or of rows."""
    pandas = _load("pandas")
    if isinstance(rows, Table):
        return pandas.DataFrame(as_columns(rows, names))
    return pandas.DataFrame.from_records(rows)


def joined(histories: Sequence[tuple[str, list[JsonObject]]], kind: str) -> Any:
    """Join the rows of several runs, each with its `run_id`.

    Args:
        histories: run ids and rows.
        kind: "default" for a list of dicts, "pandas" or "polars" for a DataFrame, columns sorted.
    """
    rows = [{**row, "run_id": run} for run, found in histories for row in found]
    if kind == "default":
        return rows
    names = sorted({name for row in rows for name in row})
    if kind == "pandas":
        return _load("pandas").DataFrame.from_records(rows, columns=names)
    return _load("polars").DataFrame(
        {name: [row.get(name) for row in rows] for name in names}, strict=False
    )


def check_format(kind: str) -> str:
    """Check that rows can be had as this; raises ValueError, or UnsupportedError."""
    if kind not in FORMATS:
        raise ArgumentError(f"format is one of {', '.join(FORMATS)}, not {kind!r}")
    if kind != "default":
        _load(kind)
    return kind


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            f'{name} is not installed, which a DataFrame of its needs: pip install "{name}"'
        ) from error
