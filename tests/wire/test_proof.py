"""A server proves that it reads the folder; for other ports, secrets, numbers it proves nothing."""

from __future__ import annotations

import pytest

from asyncwb.wire.proof import prove, proves

_CHALLENGE = "0123456789abcdef" * 2


def test_the_answer_holds_for_what_was_asked_and_for_nothing_else() -> None:
    answer = prove("secret", 8080, _CHALLENGE)
    assert proves("secret", 8080, _CHALLENGE, answer)
    assert not proves("secret", 8081, _CHALLENGE, answer), "it was passed on"
    assert not proves("other", 8080, _CHALLENGE, answer)
    assert not proves("secret", 8080, _CHALLENGE[::-1], answer)


@pytest.mark.parametrize("answer", [None, "", "\u20ac", "0" * 64])
def test_no_other_answer_holds(answer: str | None) -> None:
    assert not proves("secret", 8080, _CHALLENGE, answer)


@pytest.mark.parametrize("challenge", ["", "ab", "0" * 129, _CHALLENGE.upper(), f"{_CHALLENGE}\n"])
def test_what_is_no_challenge_is_not_signed(challenge: str) -> None:
    assert prove("secret", 8080, challenge) is None
    assert not proves("secret", 8080, challenge, "")
