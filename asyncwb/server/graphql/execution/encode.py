"""Answers as JSON, written piece by piece: one call for all would hold up the whole process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

import orjson

from asyncwb.server.graphql.execution.pace import pause
from asyncwb.typing import JsonObject

CHUNK: Final = 256 * 2**10
"""bytes"""
_AT_ONCE: Final = 200
"""texts, numbers or small objects of a list that are written in one call"""
_TEXT: Final = 64 * 2**10
"""characters of a text above which it is written by itself: an object may have hundreds of them"""


async def encode(answer: JsonObject) -> AsyncIterator[bytes]:
    """Write an answer in chunks; NaN and infinities, which JSON does not have, become null."""
    chunk = bytearray()
    for piece in _pieces(answer):
        await pause()
        chunk += piece
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _pieces(value: object) -> Iterator[bytes]:
    """Write a value in pieces: an object field by field, a long list some items at a time."""
    if isinstance(value, dict) and any(_is_long(item) for item in value.values()):
        yield b"{"
        for number, (key, item) in enumerate(value.items()):
            yield (b"," if number else b"") + orjson.dumps(key) + b":"
            yield from _pieces(item)
        yield b"}"
    elif isinstance(value, list) and any(_is_long(item) for item in value):
        yield b"["
        for number, item in enumerate(value):
            if number:
                yield b","
            yield from _pieces(item)
        yield b"]"
    elif isinstance(value, list) and len(value) > _AT_ONCE:
        yield b"["
        for start in range(0, len(value), _AT_ONCE):
            piece = orjson.dumps(value[start : start + _AT_ONCE])
            yield (b"," if start else b"") + piece[1:-1]
        yield b"]"
    else:
        yield orjson.dumps(value)


def _is_long(value: object) -> bool:
    if isinstance(value, list):
        parts = any(isinstance(item, dict | list) for item in value[:1])
        return parts or len(value) > _AT_ONCE or any(_is_long_text(item) for item in value)
    return _is_long_text(value) or (isinstance(value, dict) and bool(value))


def _is_long_text(value: object) -> bool:
    return isinstance(value, str) and len(value) > _TEXT
