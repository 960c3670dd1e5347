"""Samples: spread from end to end, alike however the history was cut, with what must be in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire.picking import EvenRows, even, extremes, including
from asyncwb.wire.rows.tabular import from_rows


@given(sizes=st.lists(st.integers(0, 60), max_size=12), wanted=st.integers(1, 12))
def test_rows_are_kept_evenly_and_alike_however_they_were_cut(
    sizes: list[int], wanted: int
) -> None:
    n = sum(sizes)
    history = from_rows([{"_step": step, "_timestamp": 0.0} for step in range(n)]).table
    rows, at = EvenRows(wanted), 0
    for size in sizes:
        rows.add(history.slice(at, at + size))
        at += size
    stride = next(2**k for k in range(12) if len(range(0, n, 2**k)) <= 4 * wanted)
    assert rows.kept().steps.tolist() == list(range(0, n, stride))
    assert (None if rows.last is None else rows.last.steps.tolist()) == ([n - 1] if n else None)


@given(count=st.integers(0, 300), size=st.integers(1, 40))
def test_places_are_spread_from_the_first_to_the_last(count: int, size: int) -> None:
    places = even(count, size).tolist()
    assert places == sorted(set(places))
    assert len(places) == min(count, size)
    if count and size > 1:
        assert (places[0], places[-1]) == (0, count - 1)
    gaps = np.diff(places)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@given(st.lists(st.floats(), max_size=12))
def test_extremes_are_the_first_of_the_finite_ones(values: list[float]) -> None:
    finite = [value for value in values if np.isfinite(value)]
    wanted = [values.index(min(finite)), values.index(max(finite))] if finite else []
    assert extremes(np.array(values, np.float64)) == wanted


@given(
    count=st.integers(1, 200),
    size=st.integers(1, 12),
    wanted=st.lists(st.integers(0, 199), max_size=2),
)
def test_what_must_be_in_a_sample_takes_a_neighbours_place(
    count: int, size: int, wanted: list[int]
) -> None:
    wanted = [row % count for row in wanted]
    places = even(count, size)
    found = including(places, wanted, count).tolist()
    assert len(found) == len(places)
    assert found == sorted(set(found))
    if len(set(wanted)) <= len(places):
        assert set(wanted) <= set(found)
    else:
        assert found == places.tolist()
    if len(places) >= 2 + len(set(wanted)):
        assert (found[0], found[-1]) == (0, count - 1)
