"""A run that nobody named has a name."""

from __future__ import annotations

from asyncwb.wire.run_names import made_name


def test_a_made_name_has_two_words_and_the_number() -> None:
    name = made_name("abc", 12)
    assert name == made_name("abc", 12)
    assert name.split("-")[2] == "12"
    assert len({made_name(f"r{i}", 1) for i in range(200)}) > 150
