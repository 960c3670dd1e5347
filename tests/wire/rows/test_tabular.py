"""Rows of another client's JSON become what our own client would have made of them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.errors import LogTypeError
from asyncwb.wire.rows.columns import INT
from asyncwb.wire.rows.tabular import MAX_COLUMNS, from_rows, lacks_steps
from asyncwb.wire.rows.values import convert_row

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.lists(st.integers(0, 9), max_size=2),
    st.fixed_dictionaries({"_type": st.just("image-file"), "size": st.integers(0, 9)}),
)
_NAMES = st.sampled_from(["a", "b", "c.d", "e\\f", "g"])
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.dictionaries(_NAMES, inner, max_size=3), max_leaves=5
)
_ROWS = st.lists(st.dictionaries(_NAMES, _VALUES, max_size=4), min_size=1, max_size=8)


@given(_ROWS)
def test_values_paths_and_types_are_those_of_a_native_row(rows: list[dict[str, Any]]) -> None:
    own = [{**row, "_step": i, "_timestamp": float(i)} for i, row in enumerate(rows)]
    table = from_rows(own).table
    found = list(table.iter_rows())
    for i, (row, made) in enumerate(zip(rows, found, strict=True)):
        assert (made.pop("_step"), made.pop("_timestamp")) == (i, float(i))
        wanted = convert_row(row).values
        assert made == wanted
        assert {k: type(v) for k, v in made.items()} == {k: type(v) for k, v in wanted.items()}


def test_own_columns() -> None:
    rows: list[dict[str, Any]] = [
        {"x": 1, "_step": 5, "_timestamp": 100.0, "_runtime": 2},
        {"x": 2, "_timestamp": math.nan},
        {"x": 3, "_step": "odd", "_timestamp": None, "_open": True},
        {"x": 4, "_step": 2**64},
    ]
    assert lacks_steps(rows)
    assert not lacks_steps(rows[:1])
    made = from_rows(rows, next_step=3, now=7.0)
    assert made.table.steps.tolist() == [5, 6, 7, 8]
    assert made.table.times.tolist() == [100.0, 7.0, 7.0, 7.0]
    assert made.began == 98.0
    assert made.table.keys == ["x", "_open_"]
    column = made.table.get("x", INT)
    assert column is not None
    assert column.rows is None
    assert (from_rows([]).table.n, from_rows([]).began) == (0, None)


def test_what_is_too_deep_or_too_wide_is_refused() -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    with pytest.raises(LogTypeError, match="nested deeper"):
        from_rows([{"a": deep}])
    nested: Any = 1
    for _ in range(150):
        nested = {"a": nested}
    with pytest.raises(LogTypeError, match="nested deeper"):
        from_rows([{"a": nested}])
    with pytest.raises(LogTypeError, match="keys"):
        from_rows([{f"k{i}": 1 for i in range(MAX_COLUMNS + 1)}])


def test_the_order_of_keys_makes_no_difference() -> None:
    rows = [{"_step": i, "a": i / 2, "b": i, "c": True, "d": {"x": i}} for i in range(50)]
    shuffled = [dict(Random(i).sample([*row.items()], len(row))) for i, row in enumerate(rows)]
    one, other = from_rows(rows).table, from_rows(shuffled).table
    assert {c.key: list(c.values) for c in other.columns} == {
        c.key: list(c.values) for c in one.columns
    }
    assert all(column.rows is None for column in other.columns)
    assert from_rows([{}, {"only": 1}, {"only": 2}]).table.n == 3
