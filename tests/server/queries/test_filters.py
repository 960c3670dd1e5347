"""The language of filters: what each operator means, how fields are called, and what is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.errors import FilterError
from asyncwb.server.queries.conditions import sort_key
from asyncwb.server.queries.document import MAX_VALUES, Document, Values, value_of
from asyncwb.server.queries.filters import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_LIST,
    Order,
    evaluate,
    field_of,
    parse,
    parse_order,
)
from asyncwb.wire.rows.values import dumps

NAN, INF = float("nan"), float("inf")

RUN: dict[str, Any] = {
    "name": "abc123",
    "displayName": "brave-sun-1",
    "state": "finished",
    "group": None,
    "username": "ana",
    "tags": ["baseline", "v2"],
    "createdAt": datetime(2024, 5, 31, 12, 30, tzinfo=UTC).timestamp(),
    "duration": 61.5,
    "entity": "lab",
    "config": {
        "lr": 0.1,
        "big": 2**53 + 1,
        "flag": True,
        "none": None,
        "nan": NAN,
        "inf": INF,
        "name": "resnet50",
        "layers": [1, 3, "x", [5], {"k": 1}, None],
        "opt": [{"lr": 0.1}, {"lr": 0.2, "betas": [0.9, 0.99], "groups": [{"n": 1}, {"n": 2}]}],
        "hist": {"_type": "histogram", "bins": [1, 2]},
        "empty": {},
        "optimizer": {"name": "adam", "betas": {"one": 0.9}},
        "a.b": 1,
        "a": {"b": 2},
        "value": 7,
        "boxed": {"value": 8},
        "long": "y" * 500 + "z",
    },
    "summary_metrics": {"loss": 0.5, "val/acc": {"max": 0.9, "min": 0.2}, "by_hand": 3},
    "keys": ["loss", "val/acc", "gone"],
}

TRUE: list[dict[str, Any]] = [
    {},
    {"$and": []},
    {"config.lr": 0.1},
    {"config.lr.value": 0.1},
    {"config.lr": {"$eq": 0.1}},
    {"config.lr": {"$gt": 0, "$lt": 1}, "state": "finished"},
    {"config.flag": True},
    {"config.flag": {"$ne": 1}},  # a boolean is no number
    {"config.flag": {"$gt": False}},
    {"config.lr": {"$ne": False}},
    {"config.big": 2**53},  # numbers are 64-bit floats
    {"config.none": None},
    {"config.nobody": None},
    {"config.none": {"$exists": True}},
    {"config.nobody": {"$exists": False}},
    {"config.nobody": {"$ne": 3}},
    {"config.nobody": {"$nin": [3]}},
    {"config.nobody": {"$not": {"$gt": 3}}},
    {"config.nobody": {"$in": [3, None]}},
    {"config.nan": NAN},
    {"config.nan": {"$gte": NAN}},
    {"config.inf": INF},
    {"config.inf": {"$gt": 1e308}},
    {"config.name": {"$regex": "net"}},
    {"config.name": {"$regex": "(?i)^RES.*0$"}},
    {"config.name": {"$gt": "resnet101", "$lte": "resnet50"}},
    {"config.layers": 3},
    {"config.layers": {"$in": ["x", "nothing"]}},
    {"config.layers": {"$gt": 2}},
    {"config.layers": {"$gt": 2, "$lt": 2}},  # another element for each
    {"config.layers": [5]},
    {"config.layers": {"k": 1}},
    {"config.layers": [1, 3, "x", [5], {"k": 1.0}, None]},
    {"config.layers": None},
    {"config.layers": {"$regex": "^x$"}},
    {"config.layers.0": 1},
    {"config.layers.1": {"$gt": 2}},
    {"config.layers.3.0": 5},
    {"config.layers.4.k": 1},
    {"config.layers.k": 1},
    {"config.layers.6": None},
    {"config.opt.lr": 0.1},
    {"config.opt.lr": {"$gt": 0.15}},
    {"config.opt.1.lr": 0.2},
    {"config.opt.betas.0": 0.9},
    {"config.opt.1.groups.n": 2},
    {"config.opt.groups.n": 2},
    {"config.hist.bins.1": 2},
    {"config.empty": {}},
    {"config.empty": {"$exists": 1}},
    {"config.optimizer": {"$exists": True}},
    {"config.optimizer": {"betas": {"one": 0.9}, "name": "adam"}},
    {"config.optimizer.name": "adam"},
    {"config.optimizer.value.name": "adam"},
    {"config.optimizer.betas.one.value": {"$gte": 0.9}},
    {"config.a.b": 1},
    {"config.a.b": 2},
    {"config.value": 7},
    {"config.boxed.value.value": 8},
    {"config.long": {"$regex": "yz$"}},
    {"config.long": "y" * 500 + "z"},
    {"config.long": {"$gt": "y" * 500}},
    {"summary_metrics.loss": 0.5},
    {"summaryMetrics.loss": {"$lte": 0.5}},
    {"summary_metrics.val/acc.max": {"$gt": 0.8}},
    {"keys_info.keys.loss": {"$exists": True}},
    {"keys_info.keys.gone": {"$exists": True}},
    {"keys_info.keys.by_hand": {"$exists": False}},
    {"keys_info.keys.by_hand": {"$not": {"$exists": True}}},
    {"tags": "v2"},
    {"tags": {"$in": ["v1", "v2"]}},
    {"tags": {"$nin": ["v1"]}},
    {"tags": ["baseline", "v2"]},
    {"tags": {"$regex": "^base"}},
    {"group": None},
    {"group": {"$exists": False}},
    {"sweep": None},
    {"display_name": {"$regex": "sun"}, "displayName": "brave-sun-1"},
    {"name": "abc123", "username": "ana", "user": "ana"},
    {"created_at": {"$gte": "2024-05-31T12:30:00Z", "$lt": "2024-05-31T12:30:00.000001"}},
    {"createdAt": {"$gt": "2024"}},
    {"createdAt": {"$gt": "2024-05", "$lt": "2024-06-01"}},
    {"createdAt": {"$gt": "2024-05-31T12"}},
    {"createdAt": "2024-05-31T14:30:00+02:00"},
    {"createdAt": {"$gt": 1_700_000_000}},
    {"duration": {"$gt": 60}},
    {"$or": [{"state": "running"}, {"config.lr": 0.1}]},
    {"$nor": [{"state": "running"}, {"config.lr": 0.2}]},
    {"$and": [{"state": "finished"}, {"$or": [{"entity": "lab"}, {"entity": "x"}]}]},
]


@pytest.mark.parametrize("filters", TRUE, ids=str)
def test_what_a_filter_means(filters: dict[str, Any]) -> None:
    tree = parse(filters)
    assert evaluate(tree, RUN)
    assert parse(dumps(filters).decode()) == tree  # the text says the same
    assert not evaluate(parse({"$nor": [filters]}), RUN)


FALSE: list[dict[str, Any]] = [
    {"config.lr": "0.1"},
    {"config.lr": {"$gt": "0"}},
    {"config.name": {"$gt": 0}},
    {"config.flag": 1},
    {"config.flag": {"$gte": 0}},
    {"config.lr": {"$lt": True}},
    {"config.nan": {"$gt": 0}},
    {"config.nan": {"$lte": INF}},
    {"config.lr": {"$gt": NAN}},
    {"config.none": {"$lt": 1}},
    {"config.none": {"$ne": None}},
    {"config.nobody": {"$lt": 1}},
    {"config.nobody": {"$regex": ""}},
    {"config.lr": {"$regex": "0"}},
    {"config.lr": {"$in": []}},
    {"config.layers": 5},  # only elements, not theirs
    {"config.layers.0": 3},
    {"config.layers.6": {"$exists": True}},
    {"config.opt.0.lr": 0.2},
    {"config.opt.betas.1": 0.1},
    {"config.layers": {"$ne": 3}},
    {"config.layers": {"$nin": [9, "x"]}},
    {"config.layers": {"$not": {"$gt": 2}}},
    {"config.name": {"$regex": "^net"}},
    {"config.optimizer": {"name": "adam"}},
    {"config.boxed.value": 8},
    {"config.long": "y" * 500 + "x"},
    {"summary_metrics.gone": {"$exists": True}},
    {"tags": "v"},
    {"tags": ["v2", "baseline"]},
    {"state": "running"},
    {"created_at": {"$lt": "2024-05-31"}},
]


@pytest.mark.parametrize("filters", FALSE, ids=str)
def test_what_it_does_not_mean(filters: dict[str, Any]) -> None:
    assert not evaluate(parse(filters), RUN)


@pytest.mark.parametrize("nothing", [None, "", "null", "{}", {}])
def test_no_filter_is_everything(nothing: Any) -> None:
    assert parse(nothing) == EVERYTHING


def deep(levels: int) -> dict[str, Any]:
    filters: dict[str, Any] = {"state": "running"}
    for _ in range(levels):
        filters = {"$and": [filters]}
    return filters


BAD: list[tuple[Any, str, str]] = [
    ({"$where": "1"}, "$where", "$and, $or, $nor"),
    ({"$or": []}, "$or", "empty"),
    ({"$and": {"state": "x"}}, "$and", "list of filters"),
    ({"$and": [{"state": "x"}, 3]}, "$and[1]", "not 3 of type int"),
    ({"$or": [{"config.a": {"$near": 1}}]}, "$or[0].config.a.$near", "no such operator"),
    ({"config.a": {"$regex": "a", "$options": "i"}}, "config.a.$options", "(?i)"),
    ({"config.a": {"$gt": 1, "b": 2}}, "config.a.b", "operators cannot be mixed"),
    ({"config.a": {"$gt": None}}, "config.a.$gt", "number, text"),
    ({"config.a": {"$gt": [1]}}, "config.a.$gt", "number, text"),
    ({"config.a": {"$in": 3}}, "config.a.$in", "list of values"),
    ({"config.a": {"$exists": "yes"}}, "config.a.$exists", "true or false"),
    ({"config.a": {"$not": 3}}, "config.a.$not", "conditions"),
    ({"config.a": {"$not": {"b": 3}}}, "config.a.$not", "conditions"),
    ({"config.a": {"$regex": 3}}, "config.a.$regex", "text"),
    ({"config.a": {"$regex": "("}}, "config.a.$regex", "RE2"),
    ({"config.a": {"$regex": "(?=x)"}}, "config.a.$regex", "look-around"),
    ({"config.a": {"$regex": "(a{1000}){1000}"}}, "config.a.$regex", "RE2"),
    ({"config.a": {"$regex": "a" * 1001}}, "config.a.$regex", "1000"),
    ({"config.a": {1, 2}}, "config.a", "JSON"),
    ({"config.a": "\ud800"}, "config.a", "surrogate"),
    ({"config": 3}, "config", "there is no field"),
    ({"learning_rate": 3}, "learning_rate", "config.KEY"),
    ({"keys_info.keys.loss": 3}, "keys_info.keys.loss", "$exists"),
    ({"state": 3}, "state", "is text"),
    ({"tags": 3}, "tags", "list of text"),
    ({"duration": "long"}, "duration", "is a number"),
    ({"created_at": {"$gt": "yesterday"}}, "created_at.$gt", "2024-05-31T12:00:00Z"),
    ({"created_at": {"$regex": "2024"}}, "created_at.$regex", "no text"),
    ({"created_at": True}, "created_at", "a date"),
    ({3: 3}, "", "keys are text"),
    ({"config." + "a" * 20_000: 3}, "config." + "a" * 93, "at most"),
    ([], "", "an object"),
    ("[]", "", "an object"),
    ("{", "", "not JSON"),
    ("[" * 100_000, "", "not JSON"),
    (" " * 2_000_000, "", "at most"),
    (deep(33), "$and[0]." * 32 + "$and[0]", "deep"),
    ({"$or": [{"state": "x"}] * (MAX_CONDITIONS + 1)}, "$or", "conditions"),
    ({"config.a": {"$in": list(range(MAX_LIST + 1))}}, "config.a.$in", "values"),
    ({"$or": [{"config.a": {"$regex": str(n)}} for n in range(21)]}, "", "patterns"),
]


@pytest.mark.parametrize(("filters", "place", "hint"), BAD, ids=range(len(BAD)))
def test_bad_filters_are_refused_with_the_place(filters: Any, place: str, hint: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(filters)
    assert hint in caught.value.message
    assert caught.value.place.startswith(place)
    assert len(caught.value.message) < 1200


def test_a_pattern_takes_linear_time() -> None:
    run = {"config": {"text": "a" * 200_000}}
    began = time.process_time()
    assert not evaluate(parse({"config.text": {"$regex": "(a*)*(a|a)*(a+)+b$"}}), run)
    assert time.process_time() - began < 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(("$and", "$or", "$not", "$in", "$regex", "$gt", "config.a", "tags"))
                | st.text(),
                inner,
            )
        ),
    )
)
def test_whatever_is_sent_is_parsed_or_refused(filters: Any) -> None:
    try:
        tree = parse(filters)
    except FilterError:
        return
    evaluate(tree, RUN)


@pytest.mark.parametrize(
    ("text", "path", "descending"),
    [
        (None, "createdAt", False),
        ("", "createdAt", False),
        ("+created_at", "createdAt", False),
        ("-heartbeatAt", "heartbeatAt", True),
        ("created_at", "createdAt", True),
        ("config.lr.value", "config.lr", True),
        ("-summary_metrics.val/acc.max", "summary_metrics.val/acc.max", True),
        ("+summaryMetrics.loss", "summary_metrics.loss", False),
    ],
)
def test_orders(text: str | None, path: str, descending: bool) -> None:
    order = parse_order(text)
    assert (order.field.path, order.descending) == (path, descending)


@pytest.mark.parametrize("text", ["-", "loss", "tags", "-keys_info.keys.a", "config.", "$and"])
def test_bad_orders_are_refused(text: str) -> None:
    with pytest.raises(FilterError, match="order"):
        parse_order(text)


def test_what_cannot_be_sorted_by_has_no_place_in_an_order() -> None:
    values = Document(RUN)

    def key(name: str) -> Any:
        return sort_key(Order(field_of(name)), values)

    assert key("config.flag") < key("config.lr") < key("config.inf") < key("config.name")
    for name in ("nan", "none", "nobody", "optimizer"):
        assert key(f"config.{name}") is None


def test_of_a_list_the_least_or_the_greatest_is_sorted_by() -> None:
    values = Document(RUN)
    for name, least, greatest in (("layers", 1, "x"), ("opt.lr", 0.1, 0.2), ("layers.1", 3, 3)):
        path = f"config.{name}"
        assert values.sort_value(path) == value_of(least)
        assert values.sort_value(path, descending=True) == value_of(greatest)


def test_lists_in_lists_are_seen_within_the_bounds() -> None:
    nested: Any = 1
    for _ in range(25):
        nested = [{"a": nested}]
    deep = Values({"config": {"x": nested}})
    assert deep.by_path["config.x.a.a.a"]
    assert len(deep.by_path) < 30, "what stands in lists must not double with each of them"
    wide = [[{"k": n, "m": [n]} for n in range(1000)] for _ in range(20)]
    values = Values({"config": {"w": wide}, "summary_metrics": {"loss": 2}})
    assert values.by_path["summary_metrics.loss"] == [value_of(2)]
    assert sum(map(len, values.by_path.values())) <= MAX_VALUES


def test_a_path_is_looked_up_in_time_that_grows_with_the_document() -> None:
    nested: Any = "end"
    for _ in range(40):  # each part may be a position or a key: 2**40 ways
        nested = [{"0": nested}]
    path = "config.x" + ".0" * 60
    found = list(Document({"config": {"x": nested}}).at(path))
    assert value_of("end") in found
    assert len(found) < 100
    assert not list(Document({"config": {"x": nested}}).at(path + ".0" * 30))
