"""Tokens: worth something to nobody but whom they were signed for, and not for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.signing import MAX_TOKEN, Signer, new_secret


def test_a_token_says_what_was_signed_until_it_expires() -> None:
    signer = Signer(new_secret())
    token = signer.sign("put", 7, 8, expires=100.0)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert signer.check(token, "put", 99.0) == (7, 8)
    with pytest.raises(ApiError, match="expired"):
        signer.check(token, "put", 100.0)
    with pytest.raises(ApiError, match="something else") as caught:
        signer.check(token, "get", 1.0)
    assert (caught.value.status, caught.value.code) == (403, "bad_signature")


def test_processes_with_one_secret_take_each_others_tokens() -> None:
    secret = new_secret()
    assert Signer(secret).check(Signer(secret).sign("get", 1, expires=9), "get", 0) == (1,)
    with pytest.raises(ApiError):
        Signer(new_secret()).check(Signer(secret).sign("get", 1, expires=9), "get", 0)


@given(st.data())
def test_no_changed_character_goes_unnoticed(data: st.DataObject) -> None:
    signer = Signer("secret")
    token = signer.sign("put", 12345, expires=1e9)
    at = data.draw(st.integers(0, len(token) - 2))  # the last one holds bits that say nothing
    other = data.draw(st.sampled_from("Ab9-_.=~\x00é").filter(lambda c: c != token[at]))
    with pytest.raises(ApiError):
        signer.check(token[:at] + other + token[at + 1 :], "put", 0.0)


@pytest.mark.parametrize("token", ["", ".", "a.b", "..", "é.é", "A" * (MAX_TOKEN + 1), "e30.e30"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ApiError):
        Signer("secret").check(token, "put", 0.0)


def test_without_a_secret_nothing_is_signed() -> None:
    with pytest.raises(RuntimeError):
        Signer().sign("put", 1, expires=1.0)
