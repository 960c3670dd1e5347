"""Downsampling: extremes stay, the same question has the same answer, the pyramid is the rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.history import series
from asyncwb.server.history.series import Buckets, Floats, Ints, Rollup

VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e308, -1e308])
)


@st.composite
def rows(draw: st.DrawFn, most: int = 300) -> tuple[Ints, Floats]:
    """Steps that ascend with gaps, and a value each."""
    values = draw(st.lists(VALUES, min_size=1, max_size=most))
    gap = draw(st.sampled_from([1, 3, 1000]))
    seed = draw(st.integers(0, 2**16))
    gaps = np.random.default_rng(seed).integers(1, gap, len(values), endpoint=True)
    return np.cumsum(gaps) + draw(st.integers(-500, 10**9)), np.array(values)


def model(x: Floats, y: Floats, on: series.Grid) -> dict[int, list[float]]:
    """The values of each bucket, by Python's own arithmetic."""
    found: dict[int, list[float]] = {}
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        found.setdefault(math.floor(at / on.width), []).append(value)
    return found


def same(a: Buckets, b: Buckets) -> None:
    """Equal but for the rounding of means, which is relative to the values they are of."""
    for name in ("x_first", "x_last", "min", "max", "last", "count", "valid"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9, atol=rounding([*a.min, *a.max]))


def rounding(values: list[float]) -> float:
    """How far apart two sums of such values may come out in different orders."""
    return 1e-9 * max((abs(v) for v in values if math.isfinite(v)), default=0.0)


@given(rows(), st.integers(2, 40))
def test_buckets_agree_with_the_model(points: tuple[Ints, Floats], buckets: int) -> None:
    x, y = points[0].astype(float), points[1]
    found = series.bucketise(x, y, buckets)
    assert len(found) <= buckets
    assert found.count.sum() == len(x)
    assert np.all(np.diff(found.x_last) > 0)
    if len(x) <= buckets:
        assert found.exact
        np.testing.assert_array_equal(found.mean, y)
        return
    expected = model(x, y, series.grid(x[0], x[-1], buckets))
    assert len(found) == len(expected)
    for i, values in enumerate(expected.values()):
        numbers = [value for value in values if not math.isnan(value)]
        assert found.count[i] == len(values)
        assert found.valid[i] == len(numbers)
        np.testing.assert_equal(found.last[i], values[-1])
        if not numbers:
            assert math.isnan(found.min[i])
            assert math.isnan(found.max[i])
            assert math.isnan(found.mean[i])
            continue
        assert (found.min[i], found.max[i]) == (min(numbers), max(numbers))
        mean = sum(value / len(numbers) for value in numbers)
        np.testing.assert_allclose(found.mean[i], mean, rtol=1e-9, atol=rounding(numbers))


@given(rows(), st.integers(2, 40), st.data())
def test_the_pyramid_of_any_segments_says_what_the_rows_say(
    points: tuple[Ints, Floats], buckets: int, data: st.DataObject
) -> None:
    steps, y = points
    times = steps.astype(np.float64) / 2
    factor = data.draw(st.integers(2, 8))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(steps)), max_size=5)) | {len(steps)})
    starts = [0, *cuts[:-1]]
    parts = [
        Rollup.build(steps[a:b], times[a:b], y[a:b], factor)
        for a, b in zip(starts, cuts, strict=True)
    ]
    parts = [Rollup.decode(part.encode()) for part in parts]
    on = series.grid(float(steps[0]), float(steps[-1]), buckets)
    found = series.regroup([part.over_steps() for part in parts], on)
    raw = series.bucketise_on(steps.astype(float), y, on)
    assert sum(part.rows for part in parts) == found.count.sum() == len(steps)
    assert np.nanmin(found.min, initial=math.inf) == np.nanmin(y, initial=math.inf)
    assert np.nanmax(found.max, initial=-math.inf) == np.nanmax(y, initial=-math.inf)
    if all((on.width / 2**part.shift).is_integer() for part in parts):
        same(found, raw)


@given(rows(), st.integers(2, 40), st.data())
def test_a_zoom_shows_whole_buckets_of_the_same_grid(
    points: tuple[Ints, Floats], buckets: int, data: st.DataObject
) -> None:
    x, y = points[0].astype(float), points[1]
    lo = data.draw(st.floats(x[0] - 10, x[-1] + 10))
    hi = data.draw(st.floats(lo, x[-1] + 20, exclude_min=True))
    found = series.bucketise(x, y, buckets, lo, hi)
    start, stop = series.window(x, lo, hi)
    assert len(found) <= buckets
    assert found.count.sum() >= stop - start
    if stop - start <= buckets:
        np.testing.assert_array_equal(found.x_last, x[start:stop])
    else:
        on = series.grid(x[0], x[-1], buckets, lo, hi)
        assert on.lo <= max(lo, x[0])
        assert on.hi >= min(hi, x[-1])
        same(found, series.bucketise_on(x, y, on))


def test_buckets_of_a_growing_run_stay_where_they_are() -> None:
    x = np.arange(10_000.0)
    y = np.sin(x)
    before = series.bucketise(x[:9_000], y[:9_000], 1000)
    after = series.bucketise(x, y, 1000)
    kept = len(before) - 1  # the last one was still filling
    same(before.cut(0, kept), after.cut(0, kept))


@pytest.mark.parametrize("buckets", [2, 7, 1000])
def test_points_of_one_instant_and_of_a_huge_clock_fit(buckets: int) -> None:
    times = np.full(5_000, 1.7e9)
    times[2_500:] = np.nextafter(1.7e9, 2e9)
    found = series.bucketise(times, np.arange(5_000.0), buckets)
    assert 1 <= len(found) <= buckets
    assert (found.min.min(), found.max.max(), found.count.sum()) == (0.0, 4_999.0, 5_000)


def test_a_mean_beyond_the_range_of_sums_is_still_right() -> None:
    found = series.bucketise(np.arange(4.0), np.full(4, 1.5e308), 1)
    assert found.mean.tolist() == [1.5e308]


def test_rollups_refuse_other_bytes() -> None:
    steps = np.arange(200)
    numbers = steps.astype(np.float64)
    data = Rollup.build(steps, numbers, numbers).encode()
    with pytest.raises(ValueError, match="no rollup"):
        Rollup.decode(b"XXXX" + data[4:])


def test_no_rows_are_no_buckets() -> None:
    nothing = np.empty(0)
    assert len(series.bucketise(nothing, nothing, 10)) == 0
    assert len(series.join([])) == 0
    empty = Rollup.build(nothing.astype(np.int64), nothing, nothing)
    assert len(Rollup.decode(empty.encode())) == 0
