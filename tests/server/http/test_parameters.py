"""Whole numbers in addresses: what is one, within its bounds, and nothing that looks like it."""

from __future__ import annotations

import pytest

from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.parameters import whole_number


def test_the_default_stands_for_what_is_not_given() -> None:
    assert whole_number(None, "limit", default=100, least=1, most=1000) == 100
    assert whole_number(None, "min_step", default=None, least=1, most=1000) is None


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("1000", 1000), ("0012", 12), ("-5", -5), ("0", 0)]
)
def test_a_whole_number_is_taken(text: str, number: int) -> None:
    assert whole_number(text, "limit", default=0, least=-5, most=1000) == number


@pytest.mark.parametrize(
    "text", ["", "-", "--1", "+1", " 1", "1.0", "1e3", "1_000", "\u0661", "\u00b2", "-6", "1001"]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ApiError, match="limit must be a whole number from -5 to 1000"):
        whole_number(text, "limit", default=0, least=-5, most=1000)


def test_digits_without_end_are_not_read() -> None:
    """`int` takes a time that grows with their square, and refuses more than 4,300 of them."""
    with pytest.raises(ApiError):
        whole_number("9" * 5000, "cursor", default=0, least=0, most=2**62)
