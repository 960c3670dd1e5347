"""Compiled queries: on either database they find what `evaluate` finds, in order, page by page."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from asyncwb.errors import FilterError
from asyncwb.server.queries import document as bounds
from asyncwb.server.queries.conditions import Filter, Order, holds, sort_key
from asyncwb.server.queries.document import Document
from asyncwb.server.queries.filters import parse, parse_order
from asyncwb.server.store.database import Database
from asyncwb.server.store.queries import left_out
from asyncwb.server.store.queries.fields import document
from asyncwb.server.store.queries.query import RunQuery
from asyncwb.server.store.schema import projects, runs
from asyncwb.wire.rows.values import dumps
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

pytestmark = [pytest.mark.anyio, both_databases]

InLab = Callable[[Callable[[Lab], Coroutine[Any, Any, None]]], None]

# Values meet operands: both are drawn from the same few.
TEXTS = ("", "a", "A", "ab", "q\"'%_\\", "é\U0001f600", "x\x00y", "x\x01y", "10", "NaN")
LONG = tuple("ü" * 119 + end for end in ("", "a", "ab", "b" * 5, "c\x00" * 4000))
NUMBERS = (0, -0.0, 1, 1.0, -1, 2**53, 2**53 + 1, 2**60, 1e-300, 1.5, -(2**63), 2**64 - 1)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from((*NUMBERS, *NOT_FINITE)),
    st.sampled_from(TEXTS),
    st.integers(0, len(LONG) - 1).map(lambda number: LONG[number]),
    st.floats(),
    st.integers(-(2**63), 2**64 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
# Deferred: hypothesis writes strategies out, and these would be long.
items = st.recursive(
    st.deferred(lambda: scalars),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("k", "value", "k.l")), inner, max_size=2)
    ),
    max_leaves=4,
)
mappings = st.dictionaries(st.sampled_from(("a", "b", "a.k", "ü", "x" * 200)), items, max_size=4)
METRICS = ("a", "b", "a.k", "never")

attributes = st.fixed_dictionaries(
    {
        "state": st.sampled_from(("running", "finished")),
        "name": st.sampled_from(("one", "two", "%")),
        "created_at": st.sampled_from((0.0, 1.7e9, 1.7e9 + 0.5)),
        "heartbeat_at": st.sampled_from((1.7e9, 1.8e9)),
        "group_name": st.sampled_from((None, "", "g")),
        "sweep": st.sampled_from((None, "s1", "s2")),
        "tags": st.lists(st.sampled_from(("t", "u", "")), max_size=2),
        "config": mappings,
        "summary": mappings,
        "logged": st.sets(st.sampled_from(METRICS)),
    }
)

NAMES = (
    *("config.a", "config.a.value", "config.a.k", "config.b", "config.b.k.l", "config.ü"),
    *("config.a.0", "config.b.1.k", "config.a.k.0", "config.a.1", "config.b.2.0", "config.a.k.l"),
    *("summary_metrics.a", "summaryMetrics.b", f"config.{'x' * 200}", "config.nobody"),
)
sizes = st.sampled_from(("$gt", "$gte", "$lt", "$lte"))
comparable = st.deferred(lambda: scalars.filter(lambda item: item is not None))
patterns = st.sampled_from(("", "a", "^a$", "(?i)A", "%", "^x.y$", "[^\\x00-\\x7f]", "b+$", "N|1"))
anything = st.deferred(lambda: items)
plain = st.one_of(
    anything,
    anything.map(lambda item: {"$eq": item}),
    anything.map(lambda item: {"$ne": item}),
    st.lists(anything, max_size=3).map(lambda some: {"$in": some}),
    st.lists(anything, max_size=3).map(lambda some: {"$nin": some}),
    st.booleans().map(lambda there: {"$exists": there}),
    st.tuples(sizes, comparable).map(lambda pair: {pair[0]: pair[1]}),
    patterns.map(lambda pattern: {"$regex": pattern}),
)
operators = st.deferred(
    lambda: plain.filter(lambda item: isinstance(item, dict) and any("$" in key for key in item))
)
conditions = st.one_of(
    st.deferred(lambda: plain),
    operators.map(lambda inner: {"$not": inner}),
    st.tuples(operators, operators).map(lambda pair: {**pair[0], **pair[1]}),
)
leaves = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.deferred(lambda: conditions)).map(
        lambda pair: {pair[0]: pair[1]}
    ),
    st.sampled_from(
        (
            {"state": "running"},
            {"state": {"$ne": "running"}},
            {"tags": "t"},
            {"tags": {"$in": ["t", "u"]}},
            {"tags": {"$nin": ["t", ""]}},
            {"tags": ["t", "u"]},
            {"tags": {"$exists": True}},
            {"group": None},
            {"group": {"$in": ["g", None]}},
            {"sweep": "s1"},
            {"sweep": None},
            {"sweep": {"$in": ["s2", None]}},
            {"sweep": {"$regex": "^s"}},
            {"displayName": {"$regex": "o"}},
            {"display_name": {"$regex": "%"}},
            {"created_at": {"$gt": "2023-11-14T22:13:20Z"}},
            {"createdAt": 1.7e9},
            {"heartbeatAt": {"$lt": "2025"}},
            {"duration": {"$gte": 1}},
            {"username": None},
            {"entity": "lab"},
            {"project": {"$ne": "elsewhere"}, "entity": {"$regex": "^l"}},
            *(
                {f"keys_info.keys.{name}": {"$exists": there}}
                for name in METRICS
                for there in (0, 1)
            ),
        )
    ),
)
filters = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.sampled_from(("$and", "$or", "$nor")), st.lists(inner, min_size=1, max_size=3)
    ).map(lambda pair: {pair[0]: pair[1]}),
    max_leaves=5,
)
orders = st.tuples(
    st.sampled_from(("+", "-", "")),
    st.sampled_from(
        (*NAMES, "created_at", "heartbeat_at", "name", "group", "sweep", "state", "duration")
    ),
).map("".join)


async def new_project(database: Database, name: str = "p") -> int:
    async with database.transaction() as connection:
        row = {"entity": "lab", "name": name, "created_at": 0.0}
        found = await connection.execute(insert(projects).values(row).returning(projects.c.id))
        return int(found.scalar_one())


async def add_runs(database: Database, project_id: int, some: Sequence[dict[str, Any]]) -> None:
    async with database.transaction() as connection:
        last = (await connection.execute(select(runs.c.id).order_by(runs.c.id.desc()))).first()
        first = last[0] + 1 if last else 1
        rows = [_row(project_id, f"r{first + i}", run) for i, run in enumerate(some)]
        await connection.execute(insert(runs), rows)


def _row(project_id: int, name: str, run: dict[str, Any]) -> dict[str, Any]:
    leaves = {key: ["f", 1, 0, 0, False, {}] for key in run.get("logged", ())}
    fold: dict[str, Any] = {
        "v": 1,
        "started_at": None,
        "step": None,
        "leaves": leaves,
        "rules": [],
        "writers": {},
    }
    given = {key: item for key, item in run.items() if key not in ("logged", "summary")}
    return {
        "project_id": project_id,
        "run": name,
        "name": name,
        "state": "finished",
        "created_at": 0.0,
        "heartbeat_at": 0.0,
        "group_name": None,
        "sweep": None,
        "tags": [],
        "rows": 0,
        "lost": 0,
        "version": 1,
        **given,
        "config": dumps(run.get("config", {})).decode(),
        "summary": dumps(run.get("summary", {})).decode(),
        "fold": dumps({**fold, "leaves": leaves}).decode(),
    }


async def documents(database: Database, project_id: int) -> dict[int, Document]:
    statement = select(runs).where(runs.c.project_id == project_id)
    async with database.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    constant = {"entity": "lab", "project": "p"}
    return {row["id"]: _document(row, constant) for row in rows}


def _document(row: Mapping[Any, Any], constant: dict[str, Any]) -> Document:
    return Document({**document({**row, "username": None}), **constant})


def expected(known: dict[int, Document], tree: Filter, order: Order) -> list[int]:
    """Return what a query must find, by plain evaluation."""
    keys = {number: sort_key(order, v) for number, v in known.items() if holds(tree, v)}
    there = [(key, number) for number, key in keys.items() if key is not None]
    missing = [number for number, key in keys.items() if key is None]
    by_value = [number for _, number in sorted(there, reverse=order.descending)]
    return by_value + sorted(missing, reverse=order.descending)


async def walk(
    query: RunQuery, project_id: int, tree: Filter, order: Order, size: int
) -> list[int]:
    found: list[int] = []
    after = None
    while True:
        page = await query.page(project_id, tree, order, size, after)
        found += [row.id for row in page.rows]
        assert len(page.rows) == len(page.cursors) <= size
        if not page.has_next:
            return found
        after = page.cursors[-1]


asked_of = st.lists(st.tuples(filters, orders), min_size=1, max_size=8)
Asked = list[tuple[dict[str, Any], str]]
many = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def check_queries(lab: Lab, some: list[dict[str, Any]], asked: Asked) -> None:
    async with lab.database.transaction() as connection:
        await connection.execute(delete(runs))
        await connection.execute(delete(projects))
    project_id = await new_project(lab.database)
    await add_runs(lab.database, project_id, some)
    known, query = await documents(lab.database, project_id), RunQuery(lab.database)
    for mapping, name in asked:
        tree, order = parse(mapping), parse_order(name)
        right = expected(known, tree, order)
        assert await walk(query, project_id, tree, order, 2) == right
        assert await query.count(project_id, tree) == len(right)


@pytest.mark.timeout(240)
@given(st.lists(attributes, min_size=1, max_size=7), asked_of)
@many
def test_compiled_queries_find_what_evaluation_finds(
    in_lab: InLab, some: list[dict[str, Any]], asked: Asked
) -> None:
    in_lab(lambda lab: check_queries(lab, some, asked))


@pytest.mark.timeout(240)
@given(
    st.lists(attributes, min_size=1, max_size=7),
    asked_of,
    st.fixed_dictionaries(
        {
            "MAX_ELEMENTS": st.sampled_from((1, 2, 1000)),
            "MAX_POSITIONS": st.sampled_from((0, 1, 16)),
            "MAX_LISTS": st.sampled_from((0, 1, 3)),
            "MAX_VALUES": st.integers(0, 40),
            "MAX_DEPTH": st.sampled_from((1, 2, 32)),
        }
    ),
)
@many
def test_what_the_index_leaves_out_is_found_all_the_same(
    in_lab: InLab, some: list[dict[str, Any]], asked: Asked, small: dict[str, int]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        for name, bound in small.items():
            patched.setattr(bounds, name, bound)
        in_lab(lambda lab: check_queries(lab, some, asked))


async def test_pages_stay_right_while_runs_come_and_go(lab: Lab) -> None:
    project_id = await new_project(lab.database)
    losses = [5, 3, None, 3, 1, None, 4]
    await add_runs(lab.database, project_id, [{"summary": {"loss": n}} for n in losses])
    query, order = RunQuery(lab.database), parse_order("-summary_metrics.loss")
    page = await query.page(project_id, order=order, first=3)
    assert [row.id for row in page.rows] == [1, 7, 4]
    await add_runs(lab.database, project_id, [{"summary": {"loss": n}} for n in (9, 2, None)])
    async with lab.database.transaction() as connection:
        await connection.execute(delete(runs).where(runs.c.id.in_([4, 6])))
    rest = await query.page(project_id, order=order, first=3, after=page.cursors[-1])
    assert [row.id for row in rest.rows] == [2, 9, 5]
    assert rest.has_next
    last = await query.page(project_id, order=order, first=3, after=rest.cursors[-1])
    assert [row.id for row in last.rows] == [10, 3]
    assert not last.has_next


async def test_default_order_is_the_oldest_first(lab: Lab) -> None:
    project_id = await new_project(lab.database)
    await add_runs(lab.database, project_id, [{"created_at": at} for at in (3.0, 1.0, 2.0, 1.0)])
    query = RunQuery(lab.database)
    assert await walk(query, project_id, parse(None), parse_order(None), 1) == [2, 4, 3, 1]
    newest = parse_order("-created_at")
    assert await walk(query, project_id, parse(None), newest, 3) == [1, 3, 4, 2]


async def test_a_query_sees_what_was_committed_before_it(lab: Lab) -> None:
    project_id = await new_project(lab.database)
    await add_runs(lab.database, project_id, [{"config": {"lr": n}} for n in range(120)])
    query, tree = RunQuery(lab.database), parse({"config.lr": {"$lt": 60}})
    assert await query.count(project_id, tree) == 60
    async with lab.database.transaction() as connection:
        changed = {"config": '{"lr": [70, 1]}', "version": runs.c.version + 1}
        await connection.execute(update(runs).where(runs.c.id > 119).values(changed))
        await connection.execute(delete(runs).where(runs.c.id < 11))
    assert await query.count(project_id, tree) == 51
    assert await query.count(project_id, parse({"config.lr": {"$gt": 69}})) == 50


async def test_projects_do_not_see_each_other(lab: Lab) -> None:
    one, two = await new_project(lab.database), await new_project(lab.database, "q")
    await add_runs(lab.database, one, [{"config": {"a": 1}}])
    await add_runs(lab.database, two, [{"config": {"a": 1}}, {"config": {"a": 2}}])
    query = RunQuery(lab.database)
    for mapping, counts in (
        ({"config.a": 1}, (1, 1)),
        ({"config.a": {"$ne": 1}}, (0, 1)),
        ({"project": "q"}, (0, 2)),
        ({"$or": [{"config.a": 2}, {"project": {"$regex": "^p"}}]}, (1, 1)),
    ):
        tree = parse(mapping)
        assert (await query.count(one, tree), await query.count(two, tree)) == counts


async def test_the_largest_filter_is_answered(lab: Lab) -> None:
    project_id = await new_project(lab.database)
    await add_runs(lab.database, project_id, [{"config": {"a": n}} for n in range(3)])
    query = RunQuery(lab.database)
    either = {"$or": [{f"config.a{'' if n else '.k'}": n} for n in range(149)]}
    assert await query.count(project_id, parse(either)) == 2
    every = {"$and": [{"config.a": {"$ne": -n - 1}} for n in range(149)]}
    assert await query.count(project_id, parse(every)) == 3
    many = {"config.a": {"$in": list(range(10_000))}}
    assert await query.count(project_id, parse(many)) == 3
    deep: dict[str, Any] = {"config.a": 1}
    for _ in range(31):
        deep = {"$nor": [deep]}
    assert await query.count(project_id, parse(deep)) == 2


async def test_of_a_list_the_least_or_the_greatest_counts_in_an_order(lab: Lab) -> None:
    project_id = await new_project(lab.database)
    lists: list[Any] = [[5, 1], 3, [], [2, 9], 4]
    some = [{"config": {"a": item, "opt": [{"lr": 1}, {"lr": n}]}} for n, item in enumerate(lists)]
    await add_runs(lab.database, project_id, some)
    query, known = RunQuery(lab.database), await documents(lab.database, project_id)
    first = min(known)
    for name, right in (
        ("+config.a", [0, 3, 1, 4, 2]),
        ("-config.a", [3, 0, 4, 1, 2]),
        ("+config.a.1", [0, 3, 1, 2, 4]),
        ("-config.opt.lr", [4, 3, 2, 1, 0]),
        ("+config.opt.1.lr", [0, 1, 2, 3, 4]),
    ):
        order = parse_order(name)
        found = await walk(query, project_id, parse(None), order, 2)
        assert [number - first for number in found] == right, name
        assert found == expected(known, parse(None), order)


LARGE: dict[str, Any] = {
    "list": list(range(1500)),
    "positions": [*range(30), {"k": "far"}],
    "by_epoch": {"30": {"loss": 1}},
    "nested": [[[[{"k": 1}]]]],
    "histogram": {"_type": "histogram", "bins": [1.5, 2.5]},
    "media": [{"_type": "image", "sizes": [3, 4]}],
    "deep": {},
    "last": {f"key{n}": n for n in range(25_000)},
}
_inner = LARGE["deep"]
for _level in range(40):
    _inner = _inner.setdefault("a", {"level": _level})


FAR: dict[str, Any] = {
    "list": 1499,
    "list.1400": 1400,
    "positions.16": 16,
    "positions.30.k": "far",
    "positions.k": "far",
    "by_epoch.30.loss": 1,
    "nested.0.0.0.0.k": 1,
    "histogram.bins.1": 2.5,
    "media.sizes.1": 4,
    "deep." + "a." * 40 + "level": 39,
    "last.key24999": 24_999,
}


async def test_values_beyond_the_bounds_of_the_index_are_found(lab: Lab) -> None:
    project_id = await new_project(lab.database)
    await add_runs(lab.database, project_id, [{"config": LARGE}, {"config": {"list": [5]}}])
    query = RunQuery(lab.database)
    first = (await query.page(project_id)).rows[0].id
    for path, value in FAR.items():
        name = f"config.{path}"
        for tree, found in (
            ({name: value}, [first]),
            ({name: {"$exists": True}, "config.list": {"$gt": 1000}}, [first]),
            ({name: {"$ne": value}}, [first + 1]),
            ({"$nor": [{name: value}]}, [first + 1]),
        ):
            assert await walk(query, project_id, parse(tree), parse_order("name"), 1) == found, tree
        order = parse_order(f"-{name}")
        assert await walk(query, project_id, parse(None), order, 1) == [first, first + 1], name


async def test_what_is_too_much_to_read_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = await new_project(lab.database)
    some = [{"config": {"a": list(range(40)), "n": n}} for n in range(4)]
    await add_runs(lab.database, project_id, some)
    query = RunQuery(lab.database)
    asked, order = parse({"config.a.20": 20}), parse_order("config.a.20")
    for name, bound in (("MAX_RUNS", 3), ("MAX_SIZE", 400)):
        with monkeypatch.context() as patched:
            patched.setattr(left_out, name, bound)
            with pytest.raises(FilterError, match="Narrow it"):
                await query.count(project_id, asked)
            with pytest.raises(FilterError, match="Narrow it"):
                await query.page(project_id, order=order)
            narrow = parse({"config.a.20": 20, "config.n": {"$lt": 2}})
            assert await query.count(project_id, narrow) == 2
            assert len((await query.page(project_id, narrow, order)).rows) == 2
            assert await query.count(project_id, parse({"config.a.2": 2})) == 4


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "W10", "WzEsMl0", "bnVsbA", "A" * 9999, "WzEsIitjcmVhdGVkQXQiLDksMS4wLCIiLDFd"],
)
async def test_cursors_from_elsewhere_are_refused(lab: Lab, cursor: str) -> None:
    project_id = await new_project(lab.database)
    with pytest.raises(FilterError, match="cursor"):
        await RunQuery(lab.database).page(project_id, after=cursor)


async def test_a_cursor_belongs_to_its_project_and_order(lab: Lab) -> None:
    one, two = await new_project(lab.database), await new_project(lab.database, "q")
    for project_id in (one, two):
        await add_runs(lab.database, project_id, [{}, {}])
    query = RunQuery(lab.database)
    cursor = (await query.page(one, first=1)).cursors[0]
    assert len((await query.page(one, after=cursor)).rows) == 1
    with pytest.raises(FilterError, match="same project and order"):
        await query.page(two, after=cursor)
    with pytest.raises(FilterError, match="same project and order"):
        await query.page(one, order=parse_order("-created_at"), after=cursor)
