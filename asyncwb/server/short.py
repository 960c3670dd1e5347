"""Values of config and summary as lists, events and the page have them: what is long is cut.

    {"_type": "cut", "bytes": 2000017, "crc": 1804289383, "start": "the first characters of it"}

stands for a long text or list. Whoever wants all of it asks for the run by itself. `crc` is of the
whole value, so that a change in what is left out is a change here, too.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from asyncwb.wire.values import dumps

MAX_TEXT: Final = 1024
"""characters of a text that is left whole"""
MAX_LIST: Final = 4096
"""bytes of JSON of a list that is left whole"""
_START: Final = 200


def short(value: Any) -> Any:
    """Return a value with its long texts and lists cut; what is short is the same."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else _cut(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        data = dumps(value)
        return value if len(data) <= MAX_LIST else _cut(data)
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return value


def _cut(data: bytes) -> dict[str, Any]:
    start = data[:_START].decode("utf-8", "ignore")
    return {"_type": "cut", "bytes": len(data), "crc": zlib.crc32(data), "start": start}
