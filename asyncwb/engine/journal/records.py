"""How rows and events lie in a journal segment.

    offset  0  XXH3 (64 bits) of all behind it, written last; 0 means: nothing yet
            8  size of the record in bytes, a multiple of 8 (u32)
           12  kind (u16): EVENT, JSON_ROW, DEFINE, or a schema's number
           14  flags (u16): OPEN
           16  time (f64, unix seconds)
           24  step (i64)
           32  values: 8 bytes each, in the order of the schema's keys; or JSON, padded with spaces

A process that is killed in the middle of a record (where a page has to be fetched for it, that is
not as unlikely as it seems) leaves one whose checksum is 0: its `log()` had not returned. Any other
checksum that is wrong means damage.

Rows of one schema have one size and follow each other, so that a reader looks at thousands of
them as one array. A DEFINE record announces a schema before its first row in each segment, so a
segment can be read without those before it; it takes no sequence number.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from typing import Final

from xxhash import xxh3_64_digest

from asyncwb.wire.rows.keys import escape
from asyncwb.wire.rows.values import dumps

EVENT: Final = 0
JSON_ROW: Final = 1
DEFINE: Final = 2
FIRST_SCHEMA: Final = 16

OPEN: Final = 1
"""flag: the row's step may still be added to."""

HEAD: Final = struct.Struct("<QIHHdq")
HEAD_SIZE: Final = HEAD.size
SUM_SIZE: Final = 8
checksum: Final = xxh3_64_digest
"""A hundred bytes take it a sixth of the time of a crc32, and it is the stronger one. It keeps the
interpreter lock below 100 KiB."""

MAX_RECORD: Final = 31 * 2**20
"""bytes of a row or an event in the journal: as a frame of its own it fits a request, however badly
it compresses"""

_FRONT: Final = struct.Struct("<IHH")
"""size, kind and flags: what the rows of one schema have in common"""
_REST: Final = "@8sdq" if sys.byteorder == "little" else "<8sdq"
"""all of a record from its size on; where it gives the same bytes, native order packs faster"""
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

    __slots__ = ("define", "front", "number", "open_front", "pack", "size", "types")

    def __init__(self, number: int, data: Mapping[str, object]) -> None:
        """Make the schema of a row; raises KeyError where a value is no plain number."""
        self.number = number
        self.types = [*map(type, data.values())]
        codes = [_CODES[f"{t.__module__}.{t.__qualname__}"] for t in self.types]
        self.size = HEAD_SIZE + 8 * len(codes)
        self.pack = struct.Struct(_REST + "".join(code for code, _ in codes)).pack
        self.front = _FRONT.pack(self.size, number, 0)
        self.open_front = _FRONT.pack(self.size, number, OPEN)
        keys = [escape(key) for key in data]
        text = dumps({"n": number, "k": keys, "t": "".join(kind for _, kind in codes)})
        self.define = pack_text(DEFINE, 0, 0.0, 0, text)


def pack_text(kind: int, flags: int, time: float, step: int, text: bytes) -> bytes:
    """Make the record of an event, a JSON row or a schema."""
    text += b" " * (-len(text) % 8)
    front = _FRONT.pack(HEAD_SIZE + len(text), kind, flags)
    return sealed(struct.pack(_REST, front, time, step) + text)


def sealed(record: bytes) -> bytes:
    """Give a record, packed from its size on, its checksum."""
    return checksum(record) + record


def is_whole(record: memoryview) -> bool:
    """Tell whether a record's checksum is right."""
    return record[:SUM_SIZE] == checksum(record[SUM_SIZE:])
