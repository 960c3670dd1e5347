"""Who sends a request: deny by default.

The middleware lets a request through where its handler declared itself `@public`, or where it
carries what a user has: an API key (`Authorization: Bearer KEY`, or Basic with the key as the
password, as W&B clients do) or the page's session cookie. A cookie travels with requests that
other sites cause, so what changes something must then come from this server's own pages.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from asyncwb.private import write_private
from asyncwb.server.http.address import authority, base_url
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.open_requests import OPEN_REQUESTS
from asyncwb.server.http.state import STATE, USER, State
from asyncwb.server.store.people.users import User, Users, digest
from asyncwb.wire.proof import SECRET_FILE

COOKIE: Final = "asyncwb_session"
SESSION_LIFETIME: Final = 30 * 86400.0
LINK_LIFETIME: Final = 600.0
_CACHE_SECONDS: Final = 3.0
_CACHE_SIZE: Final = 1024
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_PUBLIC: Final = "__asyncwb_public__"
_NUL: Final = "__asyncwb_nul__"
_KEY: Final = re.compile(r"[!-~]{1,256}")


def public(handler: Handler) -> Handler:
    """Declare a handler open to requests without a key."""
    setattr(handler, _PUBLIC, True)
    return handler


def is_public(handler: object) -> bool:
    """Tell whether a handler declared itself open."""
    return bool(getattr(handler, _PUBLIC, False))


def takes_nul(handler: Handler) -> Handler:
    """Declare that a handler takes a NUL in its query: it asks no database for that text."""
    setattr(handler, _NUL, True)
    return handler


def _takes_nul(handler: object) -> bool:
    return bool(getattr(handler, _NUL, False))


@web.middleware
async def auth_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through, or answer 401; puts the user on the request."""
    if is_public(request.match_info.handler) or request.match_info.http_exception is not None:
        return await handler(request)
    users = request.app[STATE].users
    while True:
        changes = users.changes
        user, by_cookie = await _identify(request)
        if changes == users.changes:
            break  # else the key may have been revoked since it was looked up
    if user is None:
        raise ApiError(
            401,
            "unauthorized",
            "This needs an API key that the server knows. Nothing was written; check the key, or "
            "run `asyncwb login`.",
            {"WWW-Authenticate": "Bearer"},
        )
    if by_cookie and request.method not in _SAFE:
        require_same_origin(request)
    path, _, query = request.raw_path.partition("?")
    # PostgreSQL has no such text, so nothing has such a name, but a metric may.
    if "%00" in path or ("%00" in query and not _takes_nul(request.match_info.handler)):
        raise ApiError(400, "bad_request", "The address has a NUL in it. Nothing was written.")
    request[USER] = user
    with request.app[OPEN_REQUESTS].entered(request, user):
        return await handler(request)


async def _identify(request: web.Request) -> tuple[User | None, bool]:
    state = request.app[STATE]
    header = request.headers.get("Authorization")
    if header is not None:
        key = key_of(header)
        return (await request.app[KEYS].user(key, state.clock()) if key else None), False
    token = request.cookies.get(COOKIE)
    if token is None:
        return None, False
    return await state.users.by_session(token, state.clock()), True


def key_of(header: str) -> str | None:
    """Return the API key in an Authorization header; None where there is none."""
    scheme, _, rest = header.strip().partition(" ")
    key = rest.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return None
    elif scheme.lower() != "bearer":
        return None
    return key if _KEY.fullmatch(key) else None


def require_same_origin(request: web.Request) -> None:
    """Refuse a request that another site's page caused.

    Browsers say where a request comes from: `Sec-Fetch-Site`, older ones only `Origin`.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        fine = site == "same-origin"
    else:
        # A proxy may name another host.
        ours = (authority(request), urlsplit(base_url(request)).netloc)
        fine = origin is not None and urlsplit(origin).netloc in ours
    if not fine:
        raise ApiError(
            403, "cross_site", "Another site sent this request. Nothing was written; use the page."
        )


class KeyCache:
    """Users by key for a few seconds, so that a busy client costs no look-up a request.

    All are forgotten as soon as this process changes a key, a role or an account; what another
    process changed is known after a few.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._known: dict[str, tuple[User, float]] = {}
        self._changes = users.changes

    async def user(self, key: str, now: float) -> User | None:
        """Return whose key this is; None for one that lets nobody in."""
        name, changes = digest(key), self._users.changes
        if changes != self._changes:
            self._known.clear()
            self._changes = changes
        known = self._known.get(name)
        if known is not None and now - _CACHE_SECONDS < known[1] <= now:
            return known[0]
        user = await self._users.by_key(key)
        if user is None:
            self._known.pop(name, None)
            return None
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        if changes == self._users.changes:  # else what was read may be old already
            self._known[name] = user, now
        return user


KEYS: web.AppKey[KeyCache] = web.AppKey("keys", KeyCache)


def new_token() -> str:
    """Return 48 characters of [0-9a-f] that nobody can guess.

    Without a dash: W&B's clients take what stands before one for a prefix, and refuse a key whose
    rest is shorter than 40 characters.
    """
    return secrets.token_hex(24)


async def ensure_admin(state: State, name: str) -> bool:
    """Create the first user at first boot, with the configured key or a fresh one; tell whether.

    The key is written into the data folder before the account exists, so that a crash between
    the two leaves no account whose key nobody has. Of several servers that start on one new
    database one creates the account; the others take their file back.
    """
    if await state.users.first() is not None:
        return False
    path = state.config.data / "api_key"
    key = state.config.admin_key or read_key(path) or new_token()
    write_private(path, key.encode() + b"\n")
    made = await state.users.create_first_admin(name, key, state.clock())
    if not made:
        path.unlink()
    return made


def ensure_secret(folder: Path) -> str:
    """Return the secret of a data folder, by which clients know its server; made where it lacks."""
    path = folder / SECRET_FILE
    secret = read_key(path)
    if secret is None:
        secret = secrets.token_hex(32)
        write_private(path, secret.encode() + b"\n")
    return secret


def read_key(path: Path) -> str | None:
    """Return the key in a key file; None where there is no such file or nothing in it."""
    try:
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
