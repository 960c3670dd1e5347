"""What changed between two trees is found, is small, and leaves the rest alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire.changes import Changes, same

_LEAVES = st.none() | st.booleans() | st.integers(0, 2) | st.floats() | st.just([1, {"a": 2}])
_KEYS = st.sampled_from(("a", "b", "a.b", "", "\\", "_type"))
_TREES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    _KEYS,
    st.recursive(_LEAVES, lambda inner: st.dictionaries(_KEYS, inner, max_size=2), max_leaves=4),
    max_size=3,
)


@given(_TREES, _TREES)
def test_changes_lead_from_one_tree_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    changes = Changes.from_json(Changes.between(old, new).as_json())
    assert same(changes.applied(old), new)
    assert bool(changes) is not same(old, new)


def test_changes_touch_nothing_else_and_change_no_argument() -> None:
    old = {"opt": {"lr": 1, "eps": 2}, "img": {"_type": "image", "size": 1}, "gone": {"x": 1}}
    new = {"opt": {"lr": 3, "eps": 2}, "img": {"_type": "image", "size": 2}}
    changes = Changes.between(old, new)
    assert changes.set == {"opt.lr": 3, "img": {"_type": "image", "size": 2}}
    assert changes.delete == ("gone",)
    now = {"opt": {"lr": 9, "eps": 8, "new": 7}, "else": 1}
    there = {"opt": {"lr": 3, "eps": 8, "new": 7}, "else": 1, "img": new["img"]}
    assert changes.applied(now) == there
    assert now["opt"] == {"lr": 9, "eps": 8, "new": 7}
    assert Changes({"opt.lr": 3}, ("else.x",)).applied({"opt": 5}) == {"opt": {"lr": 3}}


@pytest.mark.parametrize(
    "odd", [None, [], {"set": []}, {"delete": {}}, {"set": {}, "more": 1}, {"delete": [1]}]
)
def test_what_is_no_change_is_refused(odd: Any) -> None:
    with pytest.raises(ValueError, match="changes are"):
        Changes.from_json(odd)


def test_same_knows_nan_and_bools() -> None:
    assert same({"a": [math.nan, 1]}, {"a": [math.nan, 1.0]})
    assert not same(True, 1)
    assert not same({"a": 1}, {"a": 1, "b": None})
