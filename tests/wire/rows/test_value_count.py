"""How many values a text holds: what a walk over them finds, whatever stands in strings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.wire.rows import value_count
from asyncwb.wire.rows.value_count import MAX_VALUES, count, has_too_many
from asyncwb.wire.rows.values import dumps, loads_each

_TEXTS = st.text(alphabet='\\",[]{}:é\u2424 a', max_size=6)
_VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=20,
)


def walked(value: Any) -> int:
    """Count as `count` says that it does."""
    names = len(value) if isinstance(value, dict) else 0
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + names + (sum(map(walked, value)) or 1)
    return 1


@given(_VALUES, st.booleans(), st.integers(1, 9))
def test_it_is_what_a_walk_finds(value: Any, ascii: bool, piece: int) -> None:
    text = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_count, "_PIECE", piece)
        assert count(text) == walked(value)
    spaced = json.dumps(value, indent=2).encode()
    assert count(spaced) == walked(value)


@given(_VALUES, st.integers(1, 30))
def test_too_many_is_more_than_the_most(value: Any, most: int) -> None:
    text = dumps(value)
    assert has_too_many(text, most) is (walked(value) > most)
    assert has_too_many(text.decode(), most) is (walked(value) > most)


def test_a_long_text_is_one_value_and_100_000_metrics_are_few() -> None:
    assert not has_too_many(dumps({"csv": 'a,"b",[{\n' * 1_000_000}))
    assert not has_too_many(dumps({f"metric {i}": 0.5 for i in range(100_000)}))
    assert not has_too_many(dumps({f"k{i}": {"value": 1, "desc": None} for i in range(49_999)}))
    assert not has_too_many(dumps([0] * (MAX_VALUES - 1)))
    assert has_too_many(dumps([0] * MAX_VALUES))


@pytest.mark.parametrize(
    "text", [b"", b'"', b'["a', b'["\\', b"[1,2", b"\\\\,", b'"\\",[[', b",,,,"]
)
def test_what_is_no_json_is_counted_as_far_as_it_goes(text: bytes) -> None:
    assert count(text) >= 1


def test_texts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwb.wire.rows.values._AT_ONCE", 10)
    texts = [dumps([i, "x" * (i % 13), float("nan")]).decode() for i in range(50)]
    assert repr(loads_each(texts)) == repr([[i, "x" * (i % 13), float("nan")] for i in range(50)])
    assert loads_each([]) == []
    for bad in ("1,2", "1],[2", "{", '"'):
        with pytest.raises(ValueError, match=r"JSON|unexpected|expected|column"):
            loads_each([*texts, bad])
