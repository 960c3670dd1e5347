"""Signed, expiring tokens: the right to do one thing, in an address that carries no key.

A token says what for, with which ids, and until when, and is signed with HMAC-SHA256. The secret
is made once and rests in the database, so that every process of a server takes the tokens of the
others. Nothing is stored per token, and none can be taken back before it expires: so whoever takes
one asks whether the key and the right that it was given for still are (`files`).

    token = base64url(JSON [purpose, expires, id, ...]) + "." + base64url(HMAC-SHA256)
"""

# Why not itsdangerous (2.2): it would save some twenty lines, signs in 27 us what takes 7 here, of
# which a page of 1,000 files needs 2,000, and signs the payload's base64, not the payload: the
# addresses of the last day would be worth nothing after the upgrade, and a W&B client that holds
# one loses its upload. Sessions and sign-in links are not signed: they are random, kept as digests.

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

import orjson

from asyncwb.server.http.errors import ApiError

MAX_TOKEN: Final = 1024
"""characters; a longer one is refused unread"""


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_hex(32)


class Signer:
    """Signs and checks tokens with one secret, given once the database is open."""

    def __init__(self, secret: str | None = None) -> None:
        self._secret = secret.encode() if secret else b""

    def use(self, secret: str) -> None:
        """Take the secret that the server's processes share."""
        self._secret = secret.encode()

    def sign(self, purpose: str, *ids: int, expires: float) -> str:
        """Return a token.

        Args:
            purpose: what it allows; a token for one purpose is worth nothing for another.
            ids: what it allows that with.
            expires: unix seconds.
        """
        payload = orjson.dumps([purpose, int(expires), *ids])
        return f"{_encode(payload)}.{_encode(self._digest(payload))}"

    def check(self, token: str, purpose: str, now: float) -> tuple[int, ...]:
        """Return the ids that a token holds.

        Raises:
            ApiError: 403: not a token of this server, for another purpose, or expired.
        """
        payload = self._verified(token)
        if payload is None:
            raise refused("This address is not one that the server gave out.")
        said, expires, *ids = orjson.loads(payload)
        if said != purpose:
            raise refused("This address is for something else.")
        if now >= expires:
            raise refused("This address has expired; ask for a new one.")
        return tuple(ids)

    def _verified(self, token: str) -> bytes | None:
        first, dot, second = token.partition(".")
        if not dot or len(token) > MAX_TOKEN:
            return None
        payload, digest = _decode(first), _decode(second)
        if payload is None or digest is None:
            return None
        return payload if hmac.compare_digest(digest, self._digest(payload)) else None

    def _digest(self, payload: bytes) -> bytes:
        if not self._secret:
            raise RuntimeError("the signer has no secret: the server has not started up")
        return hmac.digest(self._secret, payload, hashlib.sha256)


def refused(why: str) -> ApiError:
    """Return the refusal of a token."""
    return ApiError(403, "bad_signature", f"{why} Nothing was read or written.")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
