from __future__ import annotations

from typing import Any

import pytest

from asyncwb.client.query.requests.report_filters import query_of


def leaf(section: str, name: str, op: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"key": {"section": section, "name": name}, "op": op, "value": value, **more}


def test_a_reports_filters_are_the_servers() -> None:
    tree = {
        "op": "OR",
        "filters": [
            {
                "op": "AND",
                "filters": [
                    leaf("config", "lr", ">=", 0.1),
                    leaf("summary", "loss", "<", 1, disabled=True),
                    leaf("run", "state", "IN", ["finished"]),
                    leaf("config", "any", "=", "*"),
                ],
            },
        ],
    }
    sort = {"keys": [{"key": {"section": "summary", "name": "loss"}, "ascending": False}]}
    filters, order = query_of({"filters": tree, "sort": sort}, only_selected=True)
    assert filters == {
        "$or": [
            {
                "$and": [
                    {"config.lr": {"$gte": 0.1}},
                    {"state": {"$in": ["finished"]}},
                    {"config.any": {"$exists": True}},
                ]
            }
        ]
    }
    assert order == "-summary_metrics.loss"


def test_only_what_is_selected_and_the_newest_first() -> None:
    run_set = {"selections": {"tree": ["a"]}}
    assert query_of(run_set, only_selected=True) == (
        {"$and": [{}, {"name": {"$in": ["a"]}}]},
        "-created_at",
    )
    assert query_of(run_set, only_selected=False) == ({}, "-created_at")


@pytest.mark.parametrize("bad", [leaf("run", "state", "~", 1), leaf("moon", "x", "=", 1)])
def test_what_has_no_meaning_is_a_value_error(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a report's"):
        query_of({"filters": {"op": "AND", "filters": [bad]}}, only_selected=False)
