"""Charts of a run: what bucketing all of its rows would give, wherever they are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.parquet.core import ParquetReader  # type: ignore[import-untyped]
from sqlalchemy import delete, event

from asyncwb.server.history import chart, segment, series, wide
from asyncwb.server.history.chart import AXES, Query
from asyncwb.server.history.series import Buckets
from asyncwb.server.history.sources import Sources
from asyncwb.server.store import schema
from asyncwb.server.store.runs.segments import RunRef, Segments
from tests.fix_server import both_databases
from tests.server.history.test_series import same
from tests.server.history_lab import BEGAN, Lab, Row, merged

pytestmark = both_databases

InLab: TypeAlias = Callable[[Callable[[Lab], Coroutine[Any, Any, None]]], None]

VALUES = st.one_of(
    st.integers(-1000, 1000),
    st.floats(-1e6, 1e6),
    st.booleans(),
    st.sampled_from([math.nan, math.inf]),
    st.none(),  # a row that lacks the key
)
PARTS = st.lists(
    st.tuples(
        st.integers(0, 200),  # where its steps begin
        st.sampled_from([1, 2, 10]),  # how far apart they are
        st.lists(VALUES, max_size=120),
        st.booleans(),  # sealed after it
    ),
    max_size=4,
)
BOUND = st.none() | st.integers(-10, 1500)


def expected(logged: Sequence[Row], query: Query) -> Buckets:
    found = [row for row in merged(logged) if isinstance(row.get(query.key), int | float)]
    found.sort(key=lambda row: row[query.axis])
    x = np.array([row[query.axis] for row in found], dtype=np.float64)
    y = np.array([row[query.key] for row in found], dtype=np.float64)
    return series.bucketise(x, y, query.buckets, query.lo, query.hi)


async def ask(lab: Lab, run: RunRef, query: Query) -> Buckets:
    (answer,) = await chart.read(lab.sources, run.id, [query])
    assert not answer.missing
    return answer.buckets


@contextmanager
def statements_of(lab: Lab) -> Iterator[list[str]]:
    found, engine = list[str](), lab.database.engine.sync_engine

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


async def seal_all(lab: Lab) -> None:
    while await lab.sealer().turn():
        pass


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    parts=PARTS,
    buckets=st.integers(1, 30),
    lo=BOUND,
    hi=BOUND,
    ended=st.booleans(),
    is_wide=st.booleans(),
)
def test_any_rows_sealed_anywhere_are_charted_as_the_rows_themselves(
    in_lab: InLab,
    parts: list[Any],
    buckets: int,
    lo: int | None,
    hi: int | None,
    ended: bool,
    is_wide: bool,
) -> None:
    async def check(lab: Lab) -> None:
        run, logged = await lab.run(), list[Row]()
        for first, gap, values, sealed in parts:
            rows: list[Row] = [
                (first + i * gap, {"b": 1} if v is None else {"a.b/é": v})
                for i, v in enumerate(values)
            ]
            await lab.log(run, rows)
            logged += rows
            if sealed:
                await seal_all(lab)
        if ended:
            await lab.set(run, state="finished")
            await seal_all(lab)
        query = Query("a.b/é", "_step", buckets, lo, hi)
        same(await ask(lab, run, query), expected(logged, query))
        lacking = any(None in values for _, _, values, _ in parts)
        for axis in () if lacking else ("_timestamp", "_runtime"):  # the second corner of `chart`
            query = Query("a.b/é", axis, buckets, began=BEGAN)
            answer, model = await ask(lab, run, query), expected(logged, query)
            assert answer.count.sum() == model.count.sum()
            assert len(answer) <= buckets
            if len(model):
                assert np.nanmin(answer.min, initial=9e9) == np.nanmin(model.min, initial=9e9)
                assert np.nanmax(answer.max, initial=-9e9) == np.nanmax(model.max, initial=-9e9)
                assert answer.x_last[-1] == model.x_last[-1]
                np.testing.assert_equal(answer.last[-1], model.last[-1])
        await seal_all(lab)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide, "_COLUMNS", 1 if is_wide else 2**14)
        in_lab(check)


def wave(first: int, n: int) -> list[Row]:
    return [
        (step, {"loss": math.sin(step) + (1e9 if step == 777 else 0)})
        for step in range(first, first + n)
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("axis", chart.AXES)
async def test_the_whole_chart_of_a_sealed_run_needs_no_file(lab: Lab, axis: chart.Axis) -> None:
    run = await lab.run()
    await lab.log(run, wave(0, 3_000))
    await seal_all(lab)
    await lab.log(run, wave(3_000, 3_000))
    await seal_all(lab)
    await lab.log(run, wave(6_000, 10))
    for name in lab.files(run):
        lab.objects.delete(name)
    query = Query("loss", axis, 20, began=BEGAN)
    answer, model = await ask(lab, run, query), expected(wave(0, 6_010), query)
    assert answer.max.max() == model.max.max() > 1e8
    assert answer.count.sum() == 6_010
    if axis == "_step":
        same(answer, model)
    finer = Query("loss", axis, 1_000, began=BEGAN)
    (coarse,) = await chart.read(lab.sources, run.id, [finer])
    assert {one.why for one in coarse.missing} == {"the object is not there"}


@pytest.mark.anyio
async def test_a_zoom_that_is_finer_than_the_pyramid_reads_the_rows(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, wave(0, 3_000))
    await seal_all(lab)
    for query in (Query("loss", "_step", 100, 700.0, 800.0), Query("loss", "_step", 50, 700, 800)):
        answer = await ask(lab, run, query)
        same(answer, expected(wave(0, 3_000), query))
        assert answer.exact == (query.buckets == 100)
        assert answer.max.max() > 1e8


@pytest.mark.anyio
async def test_a_clock_that_jumps_back_is_charted_from_the_rows(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(2 * step, {"loss": step}) for step in range(2_000)])
    await lab.log(run, [(2 * step + 1, {"loss": -step}) for step in range(2_000)])
    await seal_all(lab)  # by step, times now go to and fro
    logged: list[Row] = [(2 * step, {"loss": step}) for step in range(2_000)]
    logged += [(2 * step + 1, {"loss": -step}) for step in range(2_000)]
    query = Query("loss", "_runtime", 10, began=BEGAN)
    same(await ask(lab, run, query), expected(logged, query))


@pytest.mark.anyio
async def test_what_a_clock_that_was_set_back_puts_before_the_beginning_is_charted_there(
    lab: Lab,
) -> None:
    run = await lab.run()
    await lab.log(run, wave(0, 3_000))
    late = BEGAN + 2_500
    for axis_of in ("tail", "sealed"):
        for buckets in (10, 5_000):
            answer = await ask(lab, run, Query("loss", "_runtime", buckets, began=late))
            assert answer.count.sum() == 3_000, axis_of
            assert (answer.x_first[0], answer.x_last[-1]) == (0.0, 499.0)
            inside = Query("loss", "_runtime", buckets, 0.0, 10.0, began=late)
            assert (await ask(lab, run, inside)).x_first[0] == 0.0
        await seal_all(lab)


@pytest.mark.anyio
async def test_a_key_without_numbers_is_an_empty_series(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(0, {"note": "text"})])
    assert len(await ask(lab, run, Query("note"))) == 0
    await seal_all(lab)
    assert len(await ask(lab, run, Query("note"))) == 0
    assert len(await ask(lab, run, Query("never"))) == 0


@pytest.mark.anyio
async def test_keys_that_no_index_takes_are_charted(lab: Lab) -> None:
    keys = ("k" * 5_000, "nul\0", "k" * 4_999 + "j", "")
    run = await lab.run()
    await lab.log(run, [(step, {key: i for i, key in enumerate(keys)}) for step in range(3)])
    await seal_all(lab)
    assert await lab.counts(run) == (0, 1)
    for i, key in enumerate(keys):
        assert (await ask(lab, run, Query(key))).last.tolist() == [i, i, i]


@pytest.mark.anyio
@pytest.mark.parametrize("columns", [1, 2**14])
async def test_few_points_need_no_file_nor_many_of_a_segment_that_is_wide(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(wide, "_COLUMNS", columns)
    n = 20 if columns > 1 else 500
    run = await lab.run()
    logged = wave(0, n) + [(10_000 + 7 * i, {"loss": float(i)}) for i in range(20)]
    await lab.log(run, logged)
    await seal_all(lab)
    monkeypatch.setattr(Sources, "open", None)
    for axis in AXES:
        query = Query("loss", axis, 1_000, began=BEGAN)
        same(await ask(lab, run, query), expected(logged, query))
    zoom = Query("loss", "_step", 1_000, 5.0, 10_100.0)
    same(await ask(lab, run, zoom), expected(logged, zoom))


@pytest.mark.anyio
async def test_rows_without_a_time_are_left_off_a_time_axis(lab: Lab) -> None:
    run = RunRef((await lab.run()).id, BEGAN)
    await lab.log(run, [(step, {"loss": step}) for step in range(10)])
    lab.skew = math.nan
    await lab.log(run, [(step, {"loss": step}) for step in range(10, 12)])
    for _ in range(2):
        assert (await ask(lab, run, Query("loss"))).count.sum() == 12
        assert (await ask(lab, run, Query("loss", "_timestamp"))).count.sum() == 10
        await seal_all(lab)


@pytest.mark.anyio
async def test_many_charts_of_a_run_cost_one_statement_and_one_opened_file(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, keys = await lab.run(), [f"m{i}" for i in range(50)]
    values = [{key: step + n for n, key in enumerate(keys)} for step in range(90)]
    logged: list[Row] = list(enumerate(values))
    await lab.log(run, logged)
    assert await lab.sealer().turn()
    opened = list[str]()
    reader = lab.objects.reader

    def counted(name: str, size: int) -> Any:
        opened.append(name)
        return reader(name, size)

    lab.objects.reader = counted  # type: ignore[method-assign]
    # A zoom into a part: it takes the rows themselves.
    queries = [Query(key, lo=10.0, hi=20.5, buckets=100) for key in keys]
    made = list[ParquetReader]()

    def counted_reader() -> ParquetReader:
        made.append(ParquetReader())
        return made[-1]

    monkeypatch.setattr(segment, "ParquetReader", counted_reader)
    with statements_of(lab) as statements:
        answers = await chart.read(lab.sources, run.id, queries)
    assert len(made) == 1, "which looks at all columns of the file"
    for n, answer in enumerate(answers):
        assert answer.buckets.last.tolist() == [step + n for step in range(10, 21)]
    assert len(opened) == 1
    assert sum("FROM rollups" in statement for statement in statements) == 1


async def told(lab: Lab, run: RunRef, *queries: Query) -> list[bytes]:
    """What readers are told, which is what the charts are."""
    found = await chart.read_json(lab.sources, run.id, queries)
    answers = await chart.read(lab.sources, run.id, queries)
    for query, answer, data in zip(queries, answers, found, strict=True):
        option = orjson.OPT_SERIALIZE_NUMPY
        assert data == orjson.dumps(chart.as_json(query, answer), option=option)
    return found


@pytest.mark.anyio
async def test_a_chart_is_made_once_for_all_who_look_at_the_same_rows(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = await lab.run(), await lab.run()
    for each in (run, other):
        await lab.log(each, wave(0, 300))
    await seal_all(lab)
    queries = [Query("loss"), Query("loss", buckets=10), Query("loss", lo=5.0), Query("nothing")]
    first = await told(lab, run, *queries)
    made = chart._answers

    def none(*_: Any) -> Any:
        raise AssertionError("it is made anew")

    monkeypatch.setattr(chart, "_answers", none)
    assert await chart.read_json(lab.sources, run.id, queries) == first
    monkeypatch.setattr(chart, "_answers", made)
    await lab.log(run, [(300, {"loss": 5e9})])
    later = await told(lab, run, *queries)
    assert [b"5000000000.0" in data for data in later] == [True, True, True, False]
    assert not any(b"5000000000.0" in data for data in await told(lab, other, *queries))
    await seal_all(lab)
    assert await told(lab, run, *queries) == later


@pytest.mark.anyio
async def test_columns_are_read_only_where_a_key_is_not_in_every_segment(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(step, {"a": step, "text": "x"}) for step in range(5)])
    await seal_all(lab)
    expected = [(["a"], False, 5), (["b"], True, 0), (["a", "text"], True, 5)]
    for keys, reads, found in expected:
        with statements_of(lab) as statements:
            answers = await chart.read(lab.sources, run.id, [Query(key) for key in keys])
        assert any("segments.columns" in statement for statement in statements) == reads
        assert [len(answer.buckets) for answer in answers] == [found, 0][: len(keys)]


class Merging(Segments):
    """A store in which others merge segments before a reader comes to the rollups."""

    merge: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def rollups(self, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], bytes]:
        merge, self.merge = self.merge, None
        if merge is not None:
            await merge()
        return await super().rollups(wanted)


@pytest.mark.anyio
async def test_a_segment_that_is_merged_away_meanwhile_costs_no_row(lab: Lab) -> None:
    run, store = await lab.run(), Merging(lab.database, lab.claims)
    sources = Sources(store, lab.objects)
    await lab.log(run, [(step, {"a": step}) for step in range(5)])
    await seal_all(lab)

    async def merge() -> None:
        await lab.log(run, [(step, {"b": step}) for step in range(5, 11)])
        await seal_all(lab)
        assert await lab.counts(run) == (0, 1)

    store.merge = merge
    of_a, of_b = await chart.read(sources, run.id, [Query("a"), Query("b")])
    sources.threads.close()
    assert (len(of_a.buckets), len(of_b.buckets)) == (5, 6)
    assert not of_a.missing


@pytest.mark.anyio
async def test_a_rollup_that_is_gone_is_made_anew(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(step, {"a": step}) for step in range(5)])
    await seal_all(lab)
    async with lab.database.transaction() as connection:
        await connection.execute(delete(schema.rollups).where(schema.rollups.c.key == "a"))
    assert len(await ask(lab, run, Query("a"))) == 5
