from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.client.query.rows.formats import (
    HistoryQuery,
    Sampler,
    as_columns,
    as_dicts,
    check_names,
    matching,
)
from asyncwb.wire.rows.columns import Column, Kind, Table


def sparse(key: str, kind: Kind, values: Any, rows: list[int]) -> Column:
    types = {"f": np.float64, "i": np.int64, "b": np.bool_}
    typed = values if kind == "j" else np.array(values, dtype=types[kind])
    return Column(key, kind, typed, np.array(rows, dtype=np.int32))


def table(n: int, *columns: Column, first: int = 0) -> Table:
    steps = Column("_step", "i", np.arange(first, first + n))
    return Table.from_columns(n, [steps, Column("_timestamp", "f", np.zeros(n)), *columns])


MIXED = table(
    4,
    Column("loss", "f", np.array([0.5, math.nan, math.inf, 2.0])),
    sparse("mixed", "i", [1, 2**60], [0, 2]),
    sparse("mixed", "f", [0.5], [1]),
    sparse(r"a\.b", "b", [True], [3]),
    sparse("text.deep", "j", [["x"], None], [1, 3]),
)


def test_rows_keep_their_types_and_lack_what_was_not_logged() -> None:
    rows = as_dicts(MIXED, None)
    assert [set(row) - {"_step", "_timestamp", "loss"} for row in rows] == [
        {"mixed"},
        {"mixed", "text.deep"},
        {"mixed"},
        {"a.b", "text.deep"},
    ]
    assert [row.get("mixed") for row in rows] == [1, 0.5, 2**60, None]
    assert [type(row.get("mixed")) for row in rows[:3]] == [int, float, int]
    assert rows[3]["a.b"] is True
    assert rows[1]["text.deep"] == ["x"]
    assert math.isnan(rows[1]["loss"])
    assert rows[2]["loss"] == math.inf
    assert type(rows[0]["_step"]) is int


def test_keys_ask_for_rows_that_have_them_all() -> None:
    names = ("mixed", "loss")
    found = matching(MIXED, names)
    assert found.steps.tolist() == [0, 1, 2]
    assert [list(row) for row in as_dicts(found, names)] == [["loss", "mixed"]] * 3
    assert matching(MIXED, ("loss", "absent")).n == 0
    assert matching(MIXED, ("a.b",)).steps.tolist() == [3]
    assert as_dicts(matching(MIXED, ("a.b",)), ("a.b", "_step")) == [{"a.b": True, "_step": 3}]


def test_columns_keep_their_types_where_they_have_no_gaps() -> None:
    columns = as_columns(MIXED, None)
    assert columns["_step"].dtype == np.int64
    assert columns["loss"].dtype == np.float64
    assert columns["mixed"].tolist()[:3] == [1, 0.5, 2**60]
    assert columns["a.b"].tolist()[3] is True
    assert columns["text.deep"].tolist()[1::2] == [["x"], None]
    gaps = as_columns(table(3, sparse("n", "i", [7], [1])), ("n",))
    assert gaps["n"].dtype == np.float64
    np.testing.assert_array_equal(gaps["n"], [np.nan, 7, np.nan])


def test_a_name_with_a_dot_may_be_a_level_or_a_key() -> None:
    selection = HistoryQuery(("a.b", "loss"), min_step=3)
    assert [value for name, value in selection.params(9) if name == "key"] == [
        "a.b",
        r"a\.b",
        "loss",
    ]
    assert ("min_step", "9") in selection.params(9)
    assert ("min_step", "3") in selection.params()


def test_a_level_and_a_key_that_look_alike_are_both_there() -> None:
    paths = ("a.b", r"a\.b", r"c\.d")
    both = table(1, *(Column(path, "i", np.array([i])) for i, path in enumerate(paths, 1)))
    (row,) = as_dicts(both, None)
    assert {name: row[name] for name in ("a.b", r"a\.b", "c.d")} == {"a.b": 1, r"a\.b": 2, "c.d": 3}
    assert as_dicts(both, ("a.b",)) == [{"a.b": 1}]
    assert as_dicts(both, (r"a\.b", "c.d")) == [{r"a\.b": 2, "c.d": 3}]


def test_the_server_takes_a_sample_that_fits_one_answer() -> None:
    asked = HistoryQuery(("a.b", "loss"), samples=500).params()
    assert [value for name, value in asked if name == "name"] == ["a.b", "loss"]
    assert ("samples", "500") in asked
    assert "key" not in dict(asked)
    many = tuple(map(str, range(200)))
    for streamed in (HistoryQuery(("loss",), samples=10**6), HistoryQuery(many, samples=5)):
        assert not {"samples", "name"} & set(dict(streamed.params()))
    assert "key" not in dict(HistoryQuery(many).params())


@pytest.mark.parametrize("keys", ["loss", 3, [3], [""], {"loss": 1}])
def test_keys_are_a_list_of_strings(keys: object) -> None:
    with pytest.raises(ValueError, match="list of strings"):
        check_names(keys)


@given(
    sizes=st.lists(st.integers(0, 60), max_size=12),
    wanted=st.integers(1, 20),
)
def test_a_sample_has_both_ends_and_does_not_depend_on_the_cuts(
    sizes: list[int], wanted: int
) -> None:
    n = sum(sizes)
    cut, whole = Sampler(wanted), Sampler(wanted)
    whole.add(table(n))
    for at, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        cut.add(table(size, first=int(at)))
    steps = cut.sample().steps.tolist()
    assert steps == whole.sample().steps.tolist()
    assert len(steps) == min(n, wanted)
    assert steps == sorted(set(steps))
    if wanted > 1 and n:
        assert (steps[0], steps[-1]) == (0, n - 1)


@pytest.mark.parametrize("size", [2, 3, 7, 500])
def test_a_sample_of_one_key_has_its_extremes_however_it_was_cut(size: int) -> None:
    values = np.sin(np.arange(5000) / 100)
    values[1], values[1234], values[4321] = np.inf, 9.0, -9.0
    cut, whole = Sampler(size, "v"), Sampler(size, "v")
    everything = table(5000, Column("v", "f", values))
    whole.add(everything)
    for start in range(0, 5000, 700):
        cut.add(everything.slice(start, min(start + 700, 5000)))
    found = whole.sample()
    assert found.n == size
    assert {1234, 4321} <= set(found.steps.tolist())
    assert bool(np.all(np.diff(found.steps) > 0))
    assert found.steps.tolist() == cut.sample().steps.tolist()
