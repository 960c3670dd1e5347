"""Opaque ids: base64 of what a thing is and which one, the way W&B clients expect them.

Clients keep ids and send them back; some decode them. The forms are

    Run:v1:<run>:<project>:<entity>     Project:v1:<name>:<entity>     ProjectInternalId:<number>
    Sweep:v1:<sweep>:<project>:<entity>
    User:<number>  Entity:<number>  File:<number>  View:<number>  ApiKey:<number>  Invite:<number>
    Member:<user's number>@<team>

A ":" or "%" within a name is escaped as in an address. An id says what somebody asks for, and
never that they may have it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from asyncwb.server.http.errors import ApiError

_NAMED: Final = {"Run": 3, "Project": 2, "Sweep": 3}
_MAX_LENGTH: Final = 4096
_MAX_NUMBER: Final = 2**63 - 1


def encode(kind: str, *parts: str | int) -> str:
    """Return the id of one thing.

    Args:
        kind: the type's name, such as "Run".
        parts: which one: a number, or the parts of its name (a run's: run, project, entity).
    """
    version = ["v1"] if kind in _NAMED else []
    escaped = [str(part).replace("%", "%25").replace(":", "%3A") for part in parts]
    return base64.b64encode(":".join([kind, *version, *escaped]).encode()).decode()


def decode(text: str, kind: str) -> tuple[str, ...]:
    """Return the parts that `encode` was given, as text.

    Raises:
        ApiError: the id is of another kind, or none of this server's ids.
    """
    head, _, rest = _plain(text).partition(":")
    if head != kind:
        raise _bad(text, kind)
    count = _NAMED.get(kind)
    if count is None:
        return (rest,)
    version, _, name = rest.partition(":")
    parts = tuple(name.split(":"))
    if version != "v1" or len(parts) != count or not all(parts):
        raise _bad(text, kind)
    return tuple(part.replace("%3A", ":").replace("%25", "%") for part in parts)


def kind(text: str) -> str:
    """Return what an id is of; "" for what is none of this server's ids."""
    return _plain(text).partition(":")[0]


def number(text: str, kind: str) -> int:
    """Return the number in an id of a kind that is numbered.

    Raises:
        ApiError: as `decode`.
    """
    (part,) = decode(text, kind)
    if not (part.isascii() and part.isdecimal()) or len(part) > 19 or int(part) > _MAX_NUMBER:
        raise _bad(text, kind)
    return int(part)


def _plain(text: str) -> str:
    if len(text) > _MAX_LENGTH:
        return ""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _bad(text: str, kind: str) -> ApiError:
    shown = text if len(text) <= 100 else f"{text[:100]}..."
    return ApiError(
        400, "bad_id", f"{shown!r} is not the id of a {kind}. Nothing was done; query the id again."
    )
