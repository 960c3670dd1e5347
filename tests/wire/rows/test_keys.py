"""Key paths: nested keys and dotted keys never collide, and every path finds its way back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.errors import LogTypeError
from asyncwb.wire.rows import keys

SEGMENTS = st.lists(st.text(alphabet="ab.\\*_/ é", max_size=5), min_size=1, max_size=4)
NESTED = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.text(alphabet="ab.\\", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(SEGMENTS)
def test_join_and_split_are_inverse(segments: list[str]) -> None:
    path = keys.join(segments)
    assert keys.split(path) == tuple(segments)
    assert keys.display(path) == ".".join(segments)


@given(SEGMENTS, SEGMENTS)
def test_different_keys_have_different_paths(one: list[str], other: list[str]) -> None:
    assert (keys.join(one) == keys.join(other)) == (one == other)


def _leaves(value: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {above: value}
    found: dict[tuple[str, ...], Any] = {}
    for key, inner in value.items():
        found |= _leaves(inner, (*above, key))
    return found


@given(st.dictionaries(st.text(alphabet="ab.\\", max_size=3), NESTED, max_size=4))
def test_flatten_keeps_every_leaf_at_its_place(data: dict[str, Any]) -> None:
    assert {keys.split(p): v for p, v in keys.flatten(data).items()} == _leaves(data)


def test_flatten_stringifies_inner_keys_and_skips_empty_levels() -> None:
    import numpy as np

    data = {"a": {1: {2: "x"}, 0.5: "y", None: "z"}, "n": {np.int64(3): 1}, "gone": {"deep": {}}}
    assert keys.flatten(data) == {"a.1.2": "x", r"a.0\.5": "y", "a.None": "z", "n.3": 1}


def test_a_mapping_with_a_type_is_a_leaf() -> None:
    media = {"_type": "histogram", "bins": [0, 1], "values": [3]}
    assert keys.flatten({"a": {"h": media}, "b": {"_type": 1}}) == {"a.h": media, "b._type": 1}


def test_flatten_refuses_what_has_no_path() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["again"] = cyclic
    with pytest.raises(LogTypeError, match=r"'loop'.*itself"):
        keys.flatten({"loop": cyclic})
    with pytest.raises(LogTypeError, match=r"tuple inside 'a\.b'"):
        keys.flatten({"a": {"b": {(1, 2): 3}}})


def test_levels_are_counted_from_the_outermost() -> None:
    value: Any = 1
    assert not keys.is_too_deep(value, 0)
    for level in range(1, 6):
        value = {"a": value, "b": 0} if level % 2 else [0, value]
        assert not keys.is_too_deep(value, level)
        assert keys.is_too_deep(value, level - 1)
    cyclic: dict[str, Any] = {}
    cyclic["again"] = [cyclic]
    assert keys.is_too_deep(cyclic)


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("loss", "loss", True),
        ("loss", "loss2", False),
        ("val/*", "val/acc", True),
        ("val/*", "val", False),
        ("*", "anything.at.all", True),
        ("*", "_timestamp", False),
        ("_x*", "_xy", False),
        ("_x", "_x", True),
        (r"a\.*", r"a\.b", True),
        ("a.*", r"a\.b", False),
    ],
)
def test_matches(pattern: str, path: str, covered: bool) -> None:
    assert keys.matches(pattern, path) is covered
