"""The whole history: what was logged, merged by step, wherever its rows are kept."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwb.server.history import rows
from asyncwb.server.history.rows import Selection
from asyncwb.server.history.sources import Sources
from asyncwb.server.http.errors import ApiError
from asyncwb.server.objects.damage import Missing
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store.runs.segments import RunRef
from asyncwb.wire.rows.keys import SYSTEM
from tests.fix_server import both_databases
from tests.server.history_lab import BEGAN, Lab, Row, exactly, merged

pytestmark = both_databases

KEYS = ("loss", "a.b", "a", "val/é ü", "_hidden", "x:float")
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.sampled_from(["text", None, [1, None], {"x": math.nan}, ""]),
)
ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)),
    max_size=12,
)
STEPS = st.lists(
    st.one_of(st.tuples(ROWS, st.sampled_from("wv")), st.sampled_from(["seal", "end"])),
    max_size=8,
)


InLab: TypeAlias = Callable[[Callable[[Lab], Coroutine[Any, Any, None]]], None]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=STEPS,
    low=st.none() | st.integers(0, 30),
    high=st.none() | st.integers(0, 30),
    keys=st.sets(st.sampled_from(KEYS), min_size=1),
)
def test_rows_of_any_writers_sealed_at_any_points_are_the_model(
    in_lab: InLab, steps: list[Any], low: int | None, high: int | None, keys: set[str]
) -> None:
    async def check(lab: Lab) -> None:
        run, logged = await lab.run(), list[Row]()
        for step in steps:
            if step == "seal":
                await lab.sealer().turn()
            elif step == "end":
                await lab.set(run, state="finished")
            else:
                await lab.log(run, step[0], step[1])
                logged += step[0]
        expected = merged(logged)
        assert exactly(await lab.read(run)) == exactly(expected)
        part = [
            {key: row[key] for key in row if key in keys or key in SYSTEM}
            for row in expected
            if (low is None or row["_step"] >= low)
            and (high is None or row["_step"] < high)
            and keys & row.keys()
        ]
        found = await lab.read(run, Selection(tuple(keys), low, high))
        assert exactly(found) == exactly(part)
        await seal_all(lab)

    in_lab(check)


async def seal_all(lab: Lab) -> None:
    while await lab.sealer().turn():
        pass


@pytest.mark.anyio
async def test_a_large_history_comes_in_windows(lab: Lab, monkeypatch: Any) -> None:
    run = await lab.run()
    monkeypatch.setattr("asyncwb.server.history.parquet.GROUP_ROWS", 100)
    monkeypatch.setattr("asyncwb.server.history.parquet._LEAST_GROUP_ROWS", 100)
    logged = [(step, {"loss": step * 0.5}) for step in range(1_000)]
    await lab.log(run, logged[:620])
    await seal_all(lab)
    await lab.log(run, logged[620:])
    sizes = []
    async for table in rows.read(lab.sources, run):
        sizes.append(table.n)
        assert table.steps[0] == sum(sizes[:-1])
    assert sum(sizes) == 1_000
    assert max(sizes) <= 100


@pytest.mark.anyio
async def test_reading_goes_on_when_segments_are_merged_under_it(
    lab: Lab, monkeypatch: Any
) -> None:
    run = await lab.run()
    monkeypatch.setattr("asyncwb.server.history.parquet.GROUP_ROWS", 10)
    monkeypatch.setattr("asyncwb.server.history.parquet._LEAST_GROUP_ROWS", 10)
    logged: list[Row] = [(step, {"loss": step * 0.5}) for step in range(80)]
    await lab.log(run, logged[:40])
    await seal_all(lab)
    await lab.log(run, logged[40:])
    found: list[dict[str, Any]] = []
    async for table in rows.read(lab.sources, run):
        found += table.iter_rows()
        if len(found) == 20:
            await lab.set(run, state="finished")
            await seal_all(lab)  # deletes the file that is being read
            assert await lab.counts(run) == (0, 1)
    assert exactly(found) == exactly(merged(logged))


@pytest.mark.anyio
async def test_a_bucket_serves_as_well_as_a_folder(lab: Lab) -> None:
    lab.objects = Objects.open("memory:///")  # read by ranges, as s3:// is
    lab.sources = Sources(lab.store, lab.objects)
    run = await lab.run()
    logged: list[Row] = [(step, {"loss": math.sin(step), "n": step}) for step in range(70_000)]
    await lab.log(run, logged)
    await seal_all(lab)
    assert await lab.counts(run) == (0, 1)
    found = await lab.read(run, Selection(("n",), 65_000, 66_000))
    assert [row["n"] for row in found] == list(range(65_000, 66_000))
    assert exactly(await lab.read(run)) == exactly(merged(logged))


@pytest.mark.anyio
@pytest.mark.parametrize("bucket", [False, True])
async def test_a_file_that_is_really_lost_is_told_and_the_rest_given(
    lab: Lab, bucket: bool
) -> None:
    if bucket:
        lab.objects = Objects.open("memory:///")
        lab.sources = Sources(lab.store, lab.objects)
    run = await lab.run()
    await lab.log(run, [(0, {"loss": 1.0})])
    await seal_all(lab)
    await lab.read(run)  # its footer is known from here on
    (path,) = lab.files(run)
    lab.objects.delete(path)
    await lab.log(run, [(1, {"loss": 2.0})])
    with pytest.raises(ApiError, match="the object is not there") as refused:
        await lab.read(run)
    assert refused.value.status == 410
    missing: list[Missing] = []
    found = [table async for table in rows.read(lab.sources, run, Selection(), missing)]
    assert [table.steps.tolist() for table in found] == [[1]]
    assert [(one.place, one.first_step, one.last_step, one.rows) for one in missing] == [
        (path, 0, 0, 1)
    ]


@pytest.mark.anyio
async def test_sealing_beside_readers_never_shows_a_row_twice_or_not_at_all(lab: Lab) -> None:
    run = await lab.run()
    written = 0

    async def write() -> None:
        nonlocal written
        for n in range(40):
            await lab.log(run, [(n * 5 + i, {"loss": 1.0 * i}) for i in range(5)])
            written = n * 5 + 5

    async def seal() -> None:
        while not writer.done():
            if not await lab.sealer().turn():
                await asyncio.sleep(0)

    async def watch() -> None:
        while not writer.done():
            before = written
            found = [row["_step"] for row in await lab.read(run)]
            assert found == list(range(len(found)))
            assert len(found) >= before

    writer = asyncio.create_task(write())
    async with asyncio.timeout(50):
        await asyncio.gather(writer, seal(), watch())
    assert len(await lab.read(run)) == 200


@pytest.mark.parametrize("size", [1, 2, 7, 50, 333, 5_000])
@pytest.mark.anyio
async def test_a_sample_is_even_and_keeps_both_ends(lab: Lab, size: int) -> None:
    run = await lab.run()
    for start in range(0, 1_000, 90):
        part: list[Row] = [(step, {"loss": 1.0}) for step in range(start, min(start + 90, 1_000))]
        await lab.log(run, part)
    found = (await rows.sample(rows.read(lab.sources, run), size)).steps
    again = (await rows.sample(rows.read(lab.sources, run), size)).steps
    assert len(found) == min(size, 1_000)
    assert found[0] == 0
    np.testing.assert_array_equal(found, again)
    if size > 1:
        assert found[-1] == 999
        gaps = np.diff(found)
        assert gaps.min() >= 1
        assert gaps.max() <= 2 * math.ceil(1_000 / size)


@pytest.mark.anyio
async def test_runtime_counts_from_the_beginning_of_the_run(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(0, {"loss": 1.0}), (1, {"loss": 1.0})])
    early = RunRef(run.id, BEGAN - 60)
    tables = [table async for table in rows.read(lab.sources, early)]
    column = tables[0].get("_runtime", "f")
    assert column is not None
    assert column.values.tolist() == [60.0, 61.0]
    late = RunRef(run.id, BEGAN + 0.5)  # the clock was set back after the start
    assert [row["_runtime"] for row in await lab.read(late)] == [0.0, 0.5]
