"""Reading protobuf messages by field number, without their schema.

The logs that other trackers leave behind are sequences of protobuf messages, of which an import
needs a few dozen fields. This reads the wire format (https://protobuf.dev/programming-guides/encoding)
and leaves it to the caller to know which number means what, so that neither generated classes nor
a runtime for them is needed. A field that is absent reads as its type's zero, as the format says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Raw: TypeAlias = "int | bytes"
T = TypeVar("T", int, bytes)

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_MAX_VARINT: Final = 10
"""bytes of the longest number, 64 bits."""


class Message:
    """One message, taken apart; numbers of fields are those of its `.proto` file.

    Raises:
        ValueError: the bytes are no message (when it is made, or when a field has another type).
    """

    __slots__ = ("_fields",)

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[Raw]] = {}
        for number, value in _split(data):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    @property
    def numbers(self) -> list[int]:
        """The numbers of the fields that are there, in the order of their first appearance."""
        return list(self._fields)

    def integer(self, number: int) -> int:
        """Read an int32, int64 or enum."""
        return _signed(self._last(number, int, 0))

    def flag(self, number: int) -> bool:
        """Read a bool."""
        return self._last(number, int, 0) != 0

    def text(self, number: int) -> str:
        """Read a string; bytes that are not UTF-8 are replaced."""
        return self.raw(number).decode("utf-8", "replace")

    def texts(self, number: int) -> list[str]:
        """Read a repeated string."""
        return [value.decode("utf-8", "replace") for value in self.raws(number)]

    def raw(self, number: int) -> bytes:
        """Read bytes, or a message that is not taken apart."""
        return self._last(number, bytes, b"")

    def raws(self, number: int) -> list[bytes]:
        """Read repeated bytes."""
        values = self._fields.get(number, [])
        if not all(isinstance(value, bytes) for value in values):
            raise ValueError(f"field {number} is no sequence of bytes")
        return [value for value in values if isinstance(value, bytes)]

    def message(self, number: int) -> Message:
        """Read a message; an empty one where it is absent."""
        return Message(self.raw(number))

    def messages(self, number: int) -> list[Message]:
        """Read a repeated message."""
        return [Message(value) for value in self.raws(number)]

    def double(self, number: int) -> float:
        """Read a double or, by its width, a float."""
        raw = self.raw(number)
        if not raw:
            return 0.0
        if len(raw) not in (4, 8):
            raise ValueError(f"field {number} is no floating-point number")
        return float(struct.unpack("<f" if len(raw) == 4 else "<d", raw)[0])

    def doubles(self, number: int) -> NDArray[np.float64]:
        """Read a repeated double, packed or not: float64[n]."""
        return np.frombuffer(b"".join(self.raws(number)), "<f8")

    def floats(self, number: int) -> NDArray[np.float32]:
        """Read a repeated float, packed or not: float32[n]."""
        return np.frombuffer(b"".join(self.raws(number)), "<f4")

    def integers(self, number: int) -> list[int]:
        """Read a repeated integer, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(_signed(value))
            else:
                at = 0
                while at < len(value):
                    one, at = _varint(value, at)
                    found.append(_signed(one))
        return found

    def _last(self, number: int, kind: type[T], absent: T) -> T:
        values = self._fields.get(number)
        if not values:
            return absent
        if not isinstance(values[-1], kind):
            raise ValueError(f"field {number} has another type")
        return values[-1]


def _split(data: bytes) -> Iterator[tuple[int, Raw]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("these bytes are no protobuf message")
        if size > end - at:
            raise ValueError("the protobuf message is cut short")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + _MAX_VARINT]:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError("the protobuf message is cut short")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
