"""Rows as plain dicts, the model that tables and frames are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Column, Kind, Table
from asyncwb.wire.rows.frames import Frame
from asyncwb.wire.rows.keys import OPEN, STEP, TIME

Row = dict[str, Any]
_KINDS: dict[type, Kind] = {float: FLOAT, int: INT, bool: BOOL}
_TYPES: dict[str, Any] = {FLOAT: np.float64, INT: np.int64, BOOL: np.bool_}

_INT64 = st.integers(-(2**63), 2**63 - 1)
_EXTREMES = st.sampled_from([-(2**63), 2**63 - 1, 0, -1])
_NUMBERS = st.one_of(st.floats(), st.sampled_from([-0.0, 5e-324]), _INT64, _EXTREMES, st.booleans())
_JSON = st.recursive(
    st.one_of(st.none(), st.text(), _NUMBERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
).filter(lambda value: type(value) not in _KINDS)

# Few names, so that one key meets itself in several kinds; and any text, for the codec.
keys = st.one_of(st.sampled_from(["a", "b", "c/d", "ü"]), st.text(min_size=1, max_size=8)).filter(
    lambda key: key not in (STEP, TIME, OPEN)
)
values = st.one_of(_NUMBERS, _JSON)
steps = st.one_of(st.integers(0, 5), st.sampled_from([2**62, 2**63 - 2]))


@st.composite
def rows(draw: st.DrawFn, max_size: int = 8) -> list[Row]:
    """Draw rows in the order in which they were logged."""
    found = draw(st.lists(st.dictionaries(keys, values, max_size=4), max_size=max_size))
    at = draw(st.lists(steps, min_size=len(found), max_size=len(found)))
    flags = draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=len(found))))
    whole = [
        {**row, STEP: step, TIME: 1e9 + i}
        for i, (row, step) in enumerate(zip(found, at, strict=True))
    ]
    return [{**row, OPEN: flags[i]} for i, row in enumerate(whole)] if flags else whole


def table_of(rows: Sequence[Row]) -> Table:
    """Build the table that holds exactly these rows."""
    found: dict[tuple[str, Kind], tuple[list[int], list[Any]]] = {}
    for name, kind in ((STEP, INT), (TIME, FLOAT)):
        found[name, kind] = ([], [])
    for at, row in enumerate(rows):
        for key, value in row.items():
            places, values = found.setdefault((key, _KINDS.get(type(value), JSON)), ([], []))
            places.append(at)
            values.append(value)
    return Table.from_columns(
        len(rows),
        [
            Column(
                key,
                kind,
                values if kind == JSON else np.array(values, _TYPES[kind]),
                None if len(places) == len(rows) else np.array(places, np.int32),
            )
            for (key, kind), (places, values) in found.items()
        ],
    )


def told(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say a row so that equal means equal: 1, 1.0 and True differ, NaN is NaN, -0.0 is not 0.0."""
    return sorted((key, repr(value)) for key, value in row.items())


def tell(table: Table) -> list[list[tuple[str, str]]]:
    """Say a table's rows."""
    return [told(row) for row in table.iter_rows()]


def sequence(frame: Frame) -> list[tuple[str, Any]]:
    """List what a frame says, one entry for each sequence number."""
    found: list[tuple[str, Any]] = []
    for at, row in enumerate([*frame.table.iter_rows(), None]):
        found += [("event", repr(event)) for place, event in frame.events if place == at]
        if row is not None:
            found.append(("row", told(row)))
    return found
