"""Samples of a history: the same rows each time, the extremes of a single key among them."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import pytest

from asyncwb.server.history import rows, sample, seal
from asyncwb.server.history.sample import Spec
from asyncwb.server.store.runs.segments import RunRef
from tests.server.history_lab import Lab, Row, exactly

pytestmark = pytest.mark.anyio


def _ramp(first: int, n: int) -> list[Row]:
    return [(first + i, {"loss": float(first + i), "name": f"s{first + i}"}) for i in range(n)]


async def _sealed(lab: Lab, run: RunRef, logged: list[Row]) -> None:
    await lab.log(run, logged)
    while await lab.sealer().turn():
        pass


async def _whole(lab: Lab, run: RunRef, samples: int) -> list[dict[str, Any]]:
    return list((await sample.of_history(lab.sources, run, samples)).iter_rows())


async def test_a_small_history_is_given_whole(lab: Lab) -> None:
    run = await lab.run()
    await _sealed(lab, run, _ramp(0, 300))
    await lab.log(run, _ramp(300, 100))
    assert exactly(await _whole(lab, run, 500)) == exactly(await lab.read(run))


async def test_a_sample_is_spread_from_end_to_end_without_reading_segments(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await lab.run()
    await _sealed(lab, run, _ramp(0, 5000))
    await lab.log(run, _ramp(5000, 1000))
    monkeypatch.setattr(lab.sources, "open", lambda row: pytest.fail(f"{row.path} was opened"))
    found = await _whole(lab, run, 100)
    steps = [row["_step"] for row in found]
    assert (steps[0], steps[-1], len(steps)) == (0, 5999, 100)
    assert max(b - a for a, b in pairwise(steps)) < 75
    assert all(row["loss"] == row["_step"] and row["name"] == f"s{row['_step']}" for row in found)
    assert all(row["_runtime"] == row["_timestamp"] - run.began for row in found)
    assert exactly(found) == exactly(await _whole(lab, run, 100))


async def test_more_samples_than_were_kept_are_read(lab: Lab) -> None:
    run = await lab.run()
    await _sealed(lab, run, _ramp(0, 4 * seal.SAMPLE_ROWS))
    found = await _whole(lab, run, 3 * seal.SAMPLE_ROWS)
    assert len(found) > 2 * seal.SAMPLE_ROWS


async def test_where_segments_overlap_the_later_value_counts(lab: Lab) -> None:
    run = await lab.run()
    await _sealed(lab, run, _ramp(0, 3000))
    await lab.log(run, [(step, {"loss": -1.0}) for step in range(3000)])
    assert {row["loss"] for row in await _whole(lab, run, 50)} == {-1.0}


async def test_a_run_without_rows_has_no_sample(lab: Lab) -> None:
    assert await _whole(lab, await lab.run(), 5) == []


async def test_the_extremes_of_a_single_key_are_kept(lab: Lab) -> None:
    run, chance = await lab.run(), random.Random(7)
    values = [chance.random() for _ in range(2000)]
    values[700], values[701], values[900] = 99.0, -99.0, math.nan
    await _sealed(lab, run, [(i, {"v": v}) for i, v in enumerate(values)])
    found = await sample.with_keys(lab.sources, run, Spec(("_step", "v"), 40))
    assert len(found) == 40
    assert [row["_step"] for row in found] == sorted({row["_step"] for row in found})
    assert {"_step": 700, "v": 99.0} in found
    assert {"_step": 701, "v": -99.0} in found
    assert found == await sample.with_keys(lab.sources, run, Spec(("_step", "v"), 40))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
async def test_the_extremes_are_in_the_smallest_sample(lab: Lab, size: int) -> None:
    run = await lab.run()
    values = [float((step * 37) % 101) for step in range(101)]
    await lab.log(run, [(step, {"v": value}) for step, value in enumerate(values)])
    found = await sample.with_keys(lab.sources, run, Spec(("_step", "v"), size))
    assert len(found) == size
    assert {0.0, 100.0} <= {row["v"] for row in found}
    assert [row["_step"] for row in found] == sorted({row["_step"] for row in found})
    one = await sample.with_keys(lab.sources, run, Spec(("_step", "v"), 1))
    assert [row["_step"] for row in one] == [0]


async def test_only_rows_with_every_key_and_only_those_keys(lab: Lab) -> None:
    run = await lab.run()
    await _sealed(lab, run, [(0, {"a": 1, "b": 1.5}), (1, {"a": 2}), (2, {"b": 2.5})])
    await lab.log(run, [(3, {"a": 0.5, "b": "x", "c": 1}), (4, {"c": 1})])
    found = await sample.with_keys(lab.sources, run, Spec(("_step", "a", "b")))
    assert found == [{"_step": 0, "a": 1, "b": 1.5}, {"_step": 3, "a": 0.5, "b": "x"}]
    assert await sample.with_keys(lab.sources, run, Spec(("a", "nothing"))) == []
    window = Spec(("_step",), min_step=1, max_step=3)
    assert await sample.with_keys(lab.sources, run, window) == [{"_step": 1}, {"_step": 2}]


async def test_a_dotted_key_is_found_nested_and_literal(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(0, {"val.acc": 1}), (1, {r"val\.acc": 2})])
    found = await sample.with_keys(lab.sources, run, Spec(("val.acc",)))
    assert found == [{"val.acc": 1}, {"val.acc": 2}]


async def test_rows_are_shown_under_names_that_people_know(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(5, {r"val\.acc": 2, "x": 1, "a.b": 3, r"a\.b": 4})])
    (table,) = [table async for table in rows.read(lab.sources, run)]
    (row,) = sample.displayed(table)
    assert list(row)[:3] == ["_step", "_runtime", "_timestamp"]
    assert (row["val.acc"], row["a.b"], row[r"a\.b"]) == (2, 3, 4)
