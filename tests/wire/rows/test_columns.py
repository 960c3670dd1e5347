"""Tables are rows: whatever is done to columns is what would be done to a list of dicts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire.rows.columns import Kind, Table, concat, empty
from asyncwb.wire.rows.keys import OPEN, STEP, TIME
from tests.wire.rows_model import Row, rows, table_of, tell, told


@given(rows())
def test_a_table_holds_its_rows(logged: list[Row]) -> None:
    table = table_of(logged)
    assert tell(table) == list(map(told, logged))
    assert table.keys == list(dict.fromkeys(k for k in table.keys))
    assert set(table.keys) == {key for row in logged for key in row} - {STEP, TIME, OPEN}
    assert table.open.tolist() == [row.get(OPEN, False) for row in logged]


@given(rows(), st.data())
def test_slice_is_a_slice(logged: list[Row], data: st.DataObject) -> None:
    start, stop = (data.draw(st.integers(-2, len(logged) + 2)) for _ in range(2))
    table = table_of(logged).slice(start, stop)
    expected = logged[max(0, start) : max(0, start, stop)] if start < stop else []
    assert tell(table) == list(map(told, expected))
    assert table.n == len(expected)


@given(rows(), st.data())
def test_take_is_any_selection_in_any_order(logged: list[Row], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(logged))))
    order = order[: data.draw(st.integers(0, len(order)))]
    table = table_of(logged).take(np.array(order, dtype=np.intp))
    assert tell(table) == [told(logged[i]) for i in order]


@given(st.lists(rows(max_size=4), max_size=4))
def test_concat_is_plus(parts: list[list[Row]]) -> None:
    joined = concat([table_of(part) for part in parts])
    assert tell(joined) == [told(row) for part in parts for row in part]
    assert joined.n == sum(map(len, parts))


@given(rows(), st.data())
def test_slices_put_together_again_are_the_table(logged: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(logged)))
    table = table_of(logged)
    assert tell(concat([table.slice(0, at), table.slice(at, len(logged))])) == tell(table)


def merged(logged: list[Row]) -> list[Row]:
    """Join the rows of one step, the later value of a key winning; the model of merge_steps."""
    found: dict[int, Row] = {}
    for row in logged:
        joined = found.setdefault(row[STEP], {})
        joined.update({key: value for key, value in row.items() if key != OPEN})
    return [found[step] for step in sorted(found)]


@given(rows(max_size=12))
def test_merge_steps_lets_the_later_value_win(logged: list[Row]) -> None:
    table = table_of(logged).merge_steps()
    assert tell(table) == list(map(told, merged(logged)))
    assert tell(table.merge_steps()) == tell(table)


@given(rows(), st.sets(st.sampled_from(["a", "b", "c/d", "ü"])))
def test_select_keeps_every_row(logged: list[Row], wanted: set[str]) -> None:
    kept = wanted | {STEP, TIME, OPEN}
    expected = [told({k: v for k, v in row.items() if k in kept}) for row in logged]
    assert tell(table_of(logged).select(wanted)) == expected


def test_a_table_without_steps_is_refused_when_they_are_asked_for() -> None:
    table: Any = table_of([{STEP: 0, TIME: 0.0, "a": 1}, {STEP: 1, TIME: 1.0}])
    with pytest.raises(ValueError, match="'a'"):
        table._dense("a", "i")
    assert empty().n == 0 == len(empty().steps)
    assert "a" in table
    assert "b" not in table


def test_what_a_table_works_out_holds_up_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a child that is forked meanwhile: it has the lock, and not the thread that holds it."""
    one, other = (table_of([{STEP: step, TIME: 0.0}]) for step in (1, 2))
    begun, go_on = threading.Event(), threading.Event()
    dense = Table._dense

    def slow(self: Table, key: str, kind: Kind) -> object:
        if self is one:
            begun.set()
            assert go_on.wait(60)
        return dense(self, key, kind)

    monkeypatch.setattr(Table, "_dense", slow)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(lambda: one.last_step)
        try:
            assert begun.wait(60)
            assert threads.submit(lambda: other.last_step).result(timeout=5) == 2
        finally:
            go_on.set()
        assert first.result(timeout=60) == 1
