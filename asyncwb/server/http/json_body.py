"""The JSON bodies that the native routes take: objects of a few named fields, checked at once.

A field that is not known is refused, not ignored: whoever mistypes one learns of it.
"""

from __future__ import annotations

from types import UnionType
from typing import Final

import orjson
from aiohttp import web

from asyncwb.server.http import body_limits
from asyncwb.server.http.errors import ApiError
from asyncwb.typing import JsonObject

_LIMIT: Final = 2**20
"""bytes; the longest text that a field takes fits, however it is spelled in JSON"""


async def fields(request: web.Request, **kinds: type[object] | UnionType) -> JsonObject:
    """Read an object whose fields are of these kinds; what is missing is None.

    A field whose kind has no None must be there.

    Raises:
        ApiError: 400; 408, 413 and 503 as `bodies.read`.

    Example:
        `await fields(request, name=str, description=str | None)`
    """
    try:
        said: object = orjson.loads(await body_limits.read(request, _LIMIT) or b"{}")
    except orjson.JSONDecodeError as error:
        raise _bad("The body must be a JSON object.") from error
    if not isinstance(said, dict):
        raise _bad("The body must be a JSON object.")
    unknown = said.keys() - kinds.keys()
    if unknown:
        known = ", ".join(kinds) or "none"
        raise _bad(f"There is no field {min(unknown)[:100]!r} here; known are: {known}.")
    for name, kind in kinds.items():
        if not isinstance(said.get(name), kind):
            raise _bad(f"The field {name} is missing or of the wrong kind.")
    return {name: said.get(name) for name in kinds}


def _bad(what: str) -> ApiError:
    return ApiError(400, "bad_request", f"{what} Nothing was written.")
