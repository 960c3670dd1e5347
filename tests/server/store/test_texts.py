"""Text in the tables: what both databases can hold, and what compares as the original does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.store.texts import is_storable, original_text, storable, stored_text

TEXTS = st.text(st.one_of(st.sampled_from("\x00\x01\x02a"), st.characters()), max_size=8)
"""`stored_text` has signs of its own for the first three"""


@given(TEXTS)
def test_a_stored_text_has_no_nul_and_comes_back(text: str) -> None:
    assert "\x00" not in stored_text(text)
    assert original_text(stored_text(text)) == text


@given(TEXTS, TEXTS)
def test_stored_texts_compare_as_the_originals_do(one: str, other: str) -> None:
    assert (stored_text(one) < stored_text(other)) == (one < other)


@given(st.text(st.one_of(st.sampled_from("\x00\ud800a"), st.characters()), max_size=8))
def test_what_databases_cannot_hold_is_taken_out_or_told(text: str) -> None:
    kept = storable(text)
    assert "\x00" not in kept
    kept.encode()
    assert is_storable(kept)
    assert is_storable("a", text) == (kept == text)


def test_a_text_that_they_can_hold_stays_as_it_is() -> None:
    assert storable("tab\tand \u20ac") == "tab\tand \u20ac"
    assert storable("a\x00b\ud800") == "ab?"
    assert not is_storable("a", "\x00")
    assert not is_storable("\udfff")
