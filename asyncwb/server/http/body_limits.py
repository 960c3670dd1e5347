"""Bodies of requests: how large, for how long, and how many at a time.

Whoever needs a body says what it may come to (`read`): each route has a limit of its own, and one
that lets anybody in takes `PUBLIC_LIMIT` at most, whatever its handler says. A body as a whole has
to be there in the time that its limit would take at `LEAST_RATE`, besides the patience for silence
(`connection`). And all bodies that are under way together, or wait for their turn, take a bounded
amount of memory, of which one user gets half (`Memory`): what is beyond that is to come again.
Public bodies are left out of the account, or strangers could fill it; one is smaller than what its
connection takes.

aiohttp is told to leave compression alone (`connection`): where it meets a damaged body, the
client gets no answer at all. What a body grows to when decompressed is bounded like one that came
plain, and counts.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler
from anyio import to_thread

from asyncwb.server.http.auth import is_public
from asyncwb.server.http.connection import Slow
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import STATE, USER
from asyncwb.server.store.people.users import User

PUBLIC_LIMIT: Final = 4096
"""bytes of a body on a route that needs no key: a key, or a token, a name and an address"""
LEAST_RATE: Final = 64 * 2**10
"""bytes a second at which a body of its route's full size would just arrive in time"""
_GZIP: Final = 16 + zlib.MAX_WBITS


class Memory:
    """Counts the bytes that bodies take together. Belongs to one event loop.

    Args:
        most: bytes; one owner may have half of them.

    Mutable state: `held`, bytes that are taken now, and `_held`, the same by owner.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[Hashable] = Counter()
        self.held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Give what one request takes; all of it is given back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            for owner, size in share.taken.items():
                self.held -= size
                self._held[owner] -= size
                if not self._held[owner]:
                    del self._held[owner]

    def take(self, owner: Hashable, size: int) -> None:
        """Count bytes.

        Raises:
            ApiError: 503: there is no room for them.
        """
        if self.held + size > self._most or self._held[owner] + size > self._most // 2:
            raise ApiError(
                503,
                "unavailable",
                "The server has as many requests in its memory as it can take. Nothing was "
                "written; send it again.",
                {"Retry-After": "2"},
            )
        self.held += size
        self._held[owner] += size


class Share:
    """The bytes that one request takes of a `Memory`, by owner."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.taken: Counter[Hashable] = Counter()

    def take(self, owner: Hashable, size: int) -> None:
        """Take more; raises as `Memory.take`."""
        self._memory.take(owner, size)
        self.taken[owner] += size


MEMORY: web.AppKey[Memory] = web.AppKey("memory", Memory)
UPLOADS: web.AppKey[Memory] = web.AppKey("uploads", Memory)
_SHARE: web.RequestKey[Share] = web.RequestKey("share", Share)


@web.middleware
async def holding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request hold the memory of its body until it is answered."""
    with request.app[MEMORY].share() as share:
        request[_SHARE] = share
        return await handler(request)


async def read(request: web.Request, limit: int) -> bytes:
    """Return a request's body, decompressed where it says that it is gzip.

    Args:
        request: whose body nobody has read yet.
        limit: bytes that it may have, as it comes and when it is decompressed.

    Raises:
        ApiError: 400: damaged; 408: too slow; 413: too large; 415: another compression; 503: the
            server has too many bodies in its memory.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ApiError(415, "encoded", "Send the body plain, or as gzip. Nothing was written.")
    if is_public(request.match_info.handler):
        limit = min(limit, PUBLIC_LIMIT)
    body = await _raw(request, limit)
    if encoding == "identity":
        return body
    plain = await to_thread.run_sync(_gunzip, body, limit)
    _count(request, len(plain))
    return plain


async def _raw(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    patience = request.app[STATE].config.patience
    body = bytearray()
    try:
        with anyio.fail_after(patience + limit / LEAST_RATE):
            async for piece in request.content.iter_any():
                _count(request, len(piece))
                body += piece
                if len(body) > limit:
                    raise too_large(limit)
    except TimeoutError:
        raise Slow("The body as a whole did not come in time.") from None
    return bytes(body)


def _count(request: web.Request, size: int) -> None:
    user = request.get(USER)
    if user is not None:
        request[_SHARE].take(user.id, size)


async def pieces(request: web.Request, share: Share, user: User, most: int) -> AsyncIterator[bytes]:
    """Give a user's upload piece by piece; the server holds `most` bytes of it at a time.

    There is a deadline for the whole of it, too: what its size takes at a quarter of `LEAST_RATE`.
    """
    clock = asyncio.get_running_loop().time
    patience = request.app[STATE].config.patience
    until = clock() + patience + 4 * (request.content_length or 0) / LEAST_RATE
    held = 0
    async for piece in request.content.iter_any():
        more = min(len(piece), most - held)
        share.take(user.id, more)
        held += more
        yield piece
        if clock() > until:
            raise Slow("The file as a whole did not come in time.")


def too_large(limit: int) -> ApiError:
    """Return the refusal of a body of more than `limit` bytes."""
    return ApiError(
        413,
        "body_too_large",
        f"The body has more than the {limit} bytes that this address takes. Nothing was written; "
        "send less.",
    )


def _gunzip(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        body = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise _damaged() from error
    if len(body) > limit:
        raise ApiError(
            413,
            "body_too_large",
            f"The body decompresses to more than {limit} bytes. Nothing was written; send less.",
        )
    if not stream.eof or stream.unused_data:
        raise _damaged()
    return body


def _damaged() -> ApiError:
    return ApiError(400, "bad_body", "The body is damaged gzip. Nothing was written; send again.")
