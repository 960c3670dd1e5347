"""How rows and events lie in a journal segment.

    offset  0  crc32 of all that follows (u32), written last: a torn record has none
            4  size of the record in bytes, a multiple of 8 (u32); 0 means: nothing yet
            8  kind (u32): EVENT, JSON_ROW, DEFINE, or a schema's number
           12  flags (u32): OPEN
           16  time (f64, unix seconds)
           24  step (i64)
           32  values: 8 bytes each, in the order of the schema's keys; or JSON, padded with spaces

Rows of one schema have one size and follow each other, so that a reader looks at thousands of
them as one array. A DEFINE record announces a schema before its first row in each segment, so a
segment can be read without those before it; it takes no sequence number.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

from asyncwb.wire.keys import escape
from asyncwb.wire.values import dumps

EVENT: Final = 0
JSON_ROW: Final = 1
DEFINE: Final = 2
FIRST_SCHEMA: Final = 16

OPEN: Final = 1
"""flag: the row's step may still be added to."""

CRC: Final = struct.Struct("<I")
HEAD: Final = struct.Struct("<IIIIdq")
HEAD_SIZE: Final = HEAD.size

_HEAD_FORMAT: Final = "<IIIdq"
_CODES: Final[dict[str, tuple[str, str]]] = {
    "builtins.float": ("d", "f"),
    "builtins.int": ("q", "i"),
    "builtins.bool": ("q", "b"),
    "numpy.float64": ("d", "f"),
    "numpy.float32": ("d", "f"),
    "numpy.float16": ("d", "f"),
    **{f"numpy.{u}int{bits}": ("q", "i") for u in ("", "u") for bits in (8, 16, 32, 64)},
}


class Schema:
    """The shape of a row of plain numbers: its keys in order, and the exact type of each value.

    Types are compared, not coerced: `struct` would take an int for a float and 1 would come back
    as 1.0. `struct` itself still refuses what does not fit (an int beyond 64 bits).
    """

    __slots__ = ("define", "number", "pack", "size", "types")

    def __init__(self, number: int, data: Mapping[str, Any]) -> None:
        """Make the schema of a row; raises KeyError where a value is no plain number."""
        self.number = number
        self.types = [*map(type, data.values())]
        codes = [_CODES[f"{t.__module__}.{t.__qualname__}"] for t in self.types]
        self.pack = struct.Struct(_HEAD_FORMAT + "".join(code for code, _ in codes)).pack
        self.size = HEAD_SIZE + 8 * len(codes)
        keys = [escape(key) for key in data]
        text = dumps({"n": number, "k": keys, "t": "".join(kind for _, kind in codes)})
        self.define = pack_text(DEFINE, 0, 0.0, 0, text)


def pack_text(kind: int, flags: int, time: float, step: int, text: bytes) -> bytes:
    """Make the record of an event, a JSON row or a schema."""
    text += b" " * (-len(text) % 8)
    body = struct.pack(_HEAD_FORMAT, HEAD_SIZE + len(text), kind, flags, time, step) + text
    return CRC.pack(zlib.crc32(body)) + body
