"""Values of config and summary as lists, events and the page have them: what is long is cut.

    {"_type": "cut", "bytes": 2000017, "crc": 1804289383, "start": "the first characters of it"}

stands for a long text or list; of very many keys a list of runs has the first. Whoever wants all
of it asks for the run by itself. `crc` is of the whole value, so that a change in what is left out
is a change here, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

from asyncwb.server.http.answers import Cut
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import dumps

MAX_TEXT: Final = 1024
"""characters of a text that is left whole"""
MAX_LIST: Final = 4096
"""bytes of JSON of a list that is left whole"""
MAX_VALUES: Final = 1000
"""values of one summary in a list of runs, nested mappings among them"""
_START: Final = 200


def short(value: object) -> Any:
    """Return a value with its long texts and lists cut; what is short is the same."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else _cut(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        data = dumps(value)
        return value if len(data) <= MAX_LIST else _cut(data)
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return value


def head(tree: Mapping[str, object]) -> tuple[JsonObject, int]:
    """Return the first keys of a config or summary, short, and how many more it has."""
    kept: JsonObject = {}
    left = MAX_VALUES
    for key, item in tree.items():
        left -= _count(item, left + 1)
        if left < 0:
            break
        kept[key] = short(item)
    return kept, len(tree) - len(kept)


def _count(value: object, most: int) -> int:
    """Count a value and what is in it, up to a number."""
    if not isinstance(value, dict):
        return 1
    found = 1
    for item in value.values():
        found += _count(item, most - found)
        if found > most:
            break
    return found


def _cut(data: bytes) -> Cut:
    start = data[:_START].decode("utf-8", "ignore")
    return {"_type": "cut", "bytes": len(data), "crc": zlib.crc32(data), "start": start}
