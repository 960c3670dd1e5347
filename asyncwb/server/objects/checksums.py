"""Checksums of what lies in the object store, kept in the database with its name.

    segments   a CRC-32 of the footer, and one of every column chunk: who reads one column of some
               row groups checks what it reads, and a flipped bit costs a chunk and not the file
    files      a CRC-32 of every MiB, so that a range is checked without reading the whole

A checksum inside the file would not do for segments: Parquet's own cover the data of pages, but
neither their headers nor the footer, and a bit flipped there gives other numbers, well-formed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow import parquet

from asyncwb.server.objects.damage import MISMATCH, DamagedError

PIECE: Final = 2**20
"""bytes of a file under one checksum"""
_MAGIC: Final = b"PAR1"
_HEAD: Final = struct.Struct("<QI")

Range: TypeAlias = tuple[int, int]
"""bytes [start, stop) of a file"""


def chunks_of(footer: parquet.FileMetaData) -> list[Range]:
    """Return where a segment's column chunks are: those of the first row group first."""
    return [
        _chunk(footer.row_group(group).column(column))
        for group in range(footer.num_row_groups)
        for column in range(footer.num_columns)
    ]


def _chunk(column: parquet.ColumnChunkMetaData) -> Range:
    start: int = column.data_page_offset
    if column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    return start, start + column.total_compressed_size


@dataclass(frozen=True, slots=True, eq=False)
class SegmentSums:
    """The checksums of one segment: of the footer, from byte `footer_at`, and of the chunks."""

    footer_at: int
    footer: int
    chunks: NDArray[np.uint32]

    @classmethod
    def of(cls, data: bytes) -> SegmentSums:
        """Compute those of a segment's file."""
        view = memoryview(data)
        places = chunks_of(parquet.read_metadata(pa.BufferReader(data)))
        footer_at = places[-1][1]
        chunks = [zlib.crc32(view[start:stop]) for start, stop in places]
        return cls(footer_at, zlib.crc32(view[footer_at:]), np.array(chunks, np.uint32))

    def encode(self) -> bytes:
        """Return the bytes that the database keeps."""
        return _HEAD.pack(self.footer_at, self.footer) + self.chunks.astype("<u4").tobytes()

    @classmethod
    def decode(cls, data: bytes) -> SegmentSums:
        """Read what `encode` wrote."""
        footer_at, footer = _HEAD.unpack_from(data)
        return cls(footer_at, footer, np.frombuffer(data, "<u4", offset=_HEAD.size))

    def fit(self, data: bytes) -> bool:
        """Tell whether these bytes are those of the file, all of them."""
        try:
            now = SegmentSums.of(data)
        except (pa.ArrowException, ValueError, OSError):
            return False
        same = (now.footer_at, now.footer) == (self.footer_at, self.footer)
        return same and np.array_equal(now.chunks, self.chunks) and data[:4] == _MAGIC


class FileSums:
    """Computes the checksums of a file as its bytes come. Mutable state: the last MiB's."""

    def __init__(self) -> None:
        self._done: list[int] = []
        self._size = 0
        self._crc = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            part = view[: PIECE - self._size]
            self._crc = zlib.crc32(part, self._crc)
            self._size += len(part)
            view = view[len(part) :]
            if self._size == PIECE:
                self._next()

    def _next(self) -> None:
        self._done.append(self._crc)
        self._size = self._crc = 0

    def encode(self) -> bytes:
        """Return the bytes that the database keeps, once all have come."""
        done = [*self._done, self._crc] if self._size else self._done
        return np.array(done, "<u4").tobytes()


def whole_pieces(start: int, stop: int, size: int) -> Range:
    """Return the range that has to be read of a file to check [start, stop)."""
    return start // PIECE * PIECE, min(size, -(-stop // PIECE) * PIECE)


async def checked(
    stream: AsyncIterator[bytes], sums: bytes, start: int, stop: int, place: str
) -> AsyncIterator[bytes]:
    """Yield bytes [start, stop) of a file, each after the MiB that holds it was checked.

    Args:
        stream: the bytes of `whole_pieces(start, stop, size)`.
        sums: what `FileSums.encode` returned.
        start, stop: what is wanted.
        place: what the object is called.

    Raises:
        DamagedError: the bytes are not those that were stored.
    """
    expected = np.frombuffer(sums, "<u4")
    number, at = start // PIECE, start // PIECE * PIECE
    held = bytearray()
    async for data in stream:
        held += data
        while len(held) >= PIECE:
            _check(held[:PIECE], expected, number, place)
            yield _wanted(held[:PIECE], at, start, stop)
            del held[:PIECE]
            number, at = number + 1, at + PIECE
    if held:
        _check(held, expected, number, place)
        yield _wanted(held, at, start, stop)
        at += len(held)
    if at < stop:
        raise DamagedError(place, f"it ends at byte {at}")


def _check(data: bytearray, expected: NDArray[np.uint32], number: int, place: str) -> None:
    if number >= len(expected) or zlib.crc32(data) != expected[number]:
        raise DamagedError(place, MISMATCH)


def _wanted(data: bytearray, at: int, start: int, stop: int) -> bytes:
    return bytes(data[max(0, start - at) : stop - at])
