"""The arithmetic that every claim of the report rests on."""

from __future__ import annotations

import math

import pytest

from bench.statistics import (
    Spread,
    advantage,
    growth_percent,
    paired_advantage,
    percentile,
    spread,
)


def test_percentile_is_a_value_that_occurred() -> None:
    ordered = list(range(1, 201))
    assert percentile(ordered, 50) == 100
    assert percentile(ordered, 99) == 198
    assert percentile(ordered, 100) == 200
    assert percentile([7.0], 1) == 7.0


@pytest.mark.parametrize(("values", "q"), [([], 50), ([1.0], 0), ([1.0], 100.5)])
def test_percentile_refuses_what_has_none(values: list[float], q: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, q)


def test_spread_of_odd_and_even_numbers_of_rounds() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert spread([4.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.0, 4.0)
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_advantage_looks_in_the_direction_that_is_better() -> None:
    assert advantage(2.0, 120.0, lower_is_better=True) == 60.0
    assert advantage(300.0, 500.0, lower_is_better=False) == 0.6
    assert advantage(0.0, 1.0, lower_is_better=True) == math.inf


def test_rounds_are_compared_with_themselves() -> None:
    """The machine was twice as slow in the second round; the ratio does not notice."""
    ours, theirs = [1.0, 2.0, 1.0], [60.0, 120.0, 70.0]
    assert paired_advantage(ours, theirs, lower_is_better=True) == Spread(60.0, 60.0, 70.0)


def test_growth_counts_the_worst_later_sample() -> None:
    assert growth_percent([100.0, 103.0, 110.0, 101.0]) == pytest.approx(10.0)
    assert growth_percent([100.0, 90.0]) == pytest.approx(-10.0)
