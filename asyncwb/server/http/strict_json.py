"""Strict JSON, which browsers can read: floats that are not finite are strings."""

from __future__ import annotations

from aiohttp import web

from asyncwb.wire.rows.values import dumps, spelled


def json_response(value: object) -> web.Response:
    """Return an answer in strict JSON."""
    return web.Response(body=strict(value), content_type="application/json")


def strict(value: object) -> bytes:
    """Encode JSON; floats that are not finite become strings."""
    return dumps(spelled(value))
