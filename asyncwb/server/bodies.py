"""Bodies of requests, compressed or not; what they grow to is bounded.

aiohttp is told to leave compression alone (`connection`): where it meets a damaged body, the
client gets no answer at all.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from aiohttp import web

from asyncwb.server.errors import ApiError

_GZIP: Final = 16 + zlib.MAX_WBITS


async def read(request: web.Request, limit: int) -> bytes:
    """Return a request's body, decompressed where it says that it is gzip.

    Args:
        request: of which at most `client_max_size` bytes are read.
        limit: bytes that it may decompress to.

    Raises:
        ApiError: 400: damaged; 413: too large; 415: another compression.
    """
    body = await request.read()
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ApiError(415, "encoded", "Send the body plain, or as gzip. Nothing was written.")
    return await asyncio.to_thread(_gunzip, body, limit)


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
