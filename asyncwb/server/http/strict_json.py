"""Strict JSON, which browsers can read: floats that are not finite are strings."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from asyncwb.wire.rows.values import dumps


def json_response(value: Any) -> web.Response:
    """Return an answer in strict JSON."""
    return web.Response(body=strict(value), content_type="application/json")


def strict(value: Any) -> bytes:
    """Encode JSON; floats that are not finite become strings."""
    return dumps(_finite(value))


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
    return value
