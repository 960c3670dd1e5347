"""A sealed segment, open for reading: what its footer says, and its columns, each byte checked.

A column is decoded from bytes whose checksum was right, so what comes out is what was sealed, or
a `DamagedError` that names the keys. Of files that were sealed before there were checksums, only
what cannot be decoded is noticed.

Everything here blocks: run it in a worker thread.
"""

from __future__ import annotations

import errno
import io
import math
import zlib
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from propcache.api import cached_property
from pyarrow import parquet
from pyarrow.parquet.core import ParquetReader  # type: ignore[import-untyped]

from asyncwb.server.history.parquet import METADATA, Name
from asyncwb.server.objects.checksums import Range, SegmentSums, chunks_of
from asyncwb.server.objects.damage import MISMATCH, DamagedError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import BOOL, FLOAT, JSON, Column, Kind, Table
from asyncwb.wire.rows.keys import STEP, TIME
from asyncwb.wire.rows.values import loads, loads_each

Part: TypeAlias = tuple[int, memoryview]
"""Where some bytes of a file begin, and they."""

_SYSTEM: Final = (STEP, TIME)
_HOLE: Final = 64 * 2**10
"""bytes between two chunks that are read along rather than asked for in two requests"""
_MOST: Final = 32 * 2**20
"""bytes of one request, unless a chunk is larger"""


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: its rows, and the least and greatest `_step` and `_timestamp` in it."""

    index: int
    rows: int
    min_step: int
    max_step: int
    min_time: float
    max_time: float


class Segment:
    """An open file, and what its footer says. One thread at a time.

    Args:
        source: the file; it is closed with the segment.
        place: what the object is called.
        size: of the file, in bytes.
        sums: what `SegmentSums.encode` returned; None: sealed before there were checksums.
        footer: of the same file, where it has been read before.

    Raises:
        DamagedError: the footer is not what was written.
    """

    def __init__(
        self,
        source: io.IOBase,
        place: str,
        size: int,
        sums: bytes | None,
        footer: parquet.FileMetaData | None = None,
    ) -> None:
        self._source = source
        self.place = place
        self._loaded = _Loaded(size)
        self._sums = None if sums is None else SegmentSums.decode(sums)
        self.footer = self._read_footer(size) if footer is None else footer

    def _read_footer(self, size: int) -> parquet.FileMetaData:
        if self._sums is None:
            try:
                return parquet.read_metadata(self._source)
            except (pa.ArrowException, ValueError) as error:
                raise DamagedError(self.place, f"it has no footer: {error}") from error
        data = self._bytes(self._sums.footer_at, size)
        if zlib.crc32(data) != self._sums.footer:
            raise DamagedError(self.place, f"{MISMATCH} in the footer")
        return parquet.read_metadata(pa.BufferReader(data))

    def _bytes(self, start: int, stop: int) -> bytes:
        try:
            self._source.seek(start)
            data: bytes = self._source.read(stop - start)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""  # the disk has lost it, which is damage like any other
        return data

    def close(self) -> None:
        """Close the file under it."""
        self._source.close()

    @cached_property
    def _about(self) -> JsonObject:
        about: JsonObject = loads(self.footer.metadata[METADATA])
        return about

    @cached_property
    def columns(self) -> tuple[Name, ...]:
        """The columns of the file."""
        return tuple(Name(*entry) for entry in self._about["columns"])

    @property
    def writers(self) -> frozenset[str]:
        """Whose rows these are."""
        return frozenset(self._about["writers"])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The row groups, in order."""
        return tuple(self._group(i) for i in range(self.footer.num_row_groups))

    @cached_property
    def _chunks(self) -> list[Range]:
        return chunks_of(self.footer)

    def _group(self, index: int) -> Group:
        group = self.footer.row_group(index)
        steps, times = (group.column(i).statistics for i in (0, 1))
        # Of nothing but NaN there are no statistics.
        least, most = (times.min, times.max) if times.has_min_max else (-math.inf, math.inf)
        return Group(index, group.num_rows, steps.min, steps.max, least, most)

    def read(
        self,
        groups: Sequence[int],
        keys: Collection[str] | None = None,
        system: Collection[str] = _SYSTEM,
        without: Collection[str] = (),
    ) -> dict[tuple[str, Kind], Column]:
        """Read these keys (None: all) of some row groups, and `_step` and `_timestamp`.

        Args:
            groups: numbers of row groups.
            keys: which keys.
            system: which of `_step` and `_timestamp`.
            without: keys that are left out of `keys`.

        Raises:
            DamagedError: some of these bytes are not what was written; `keys` says of which keys,
                None where it is one of `_step` and `_timestamp`.
        """
        wanted = [
            at
            for at, c in enumerate(self.columns)
            if (
                c.key in system
                if c.key in _SYSTEM
                else (keys is None or c.key in keys) and c.key not in without
            )
        ]
        names = [self.columns[at] for at in wanted]
        self._loaded.parts = self._load(groups, wanted)
        try:
            # Not by their names: a name with a dot in it would stand for what it begins, too.
            # A thread of Arrow's own may let go of the file after this has returned, and aborts the
            # process where the interpreter exits at that moment.
            data = self._reader.read_row_groups(
                list(groups), column_indices=wanted, use_threads=False
            )
            columns = [_column(data.column(c.name), c) for c in names]
        except (pa.ArrowException, ValueError, OSError) as error:
            if self._sums is not None:
                raise  # the bytes are right
            raise DamagedError(self.place, f"it cannot be decoded: {error}") from error
        finally:
            self._loaded.parts = []
        return {(c.key, c.kind): c for c in columns if c is not None}

    @cached_property
    def _reader(self) -> ParquetReader:
        """Arrow's reader of what is loaded. It looks at all columns when it is made: once a
        segment, and not by way of `ParquetFile`, which goes on to do so in Python."""
        reader = ParquetReader()
        reader.open(self._loaded, metadata=self.footer, pre_buffer=False)
        return reader

    def check(self, groups: Sequence[int], keys: Collection[str] | None = None) -> None:
        """Check the bytes that `table` would decode, with the same errors."""
        wanted = [
            at
            for at, c in enumerate(self.columns)
            if c.key in _SYSTEM or keys is None or c.key in keys
        ]
        self._load(groups, wanted)

    def table(
        self,
        groups: Sequence[int],
        keys: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> Table:
        """Read these keys (None: all) of some row groups as a table; raises as `read`."""
        n = sum(self.groups[i].rows for i in groups)
        return Table.from_columns(n, self.read(groups, keys, without=without).values())

    def _load(self, groups: Sequence[int], columns: Sequence[int]) -> list[Part]:
        """Read the chunks of these columns in a few large reads, and check each of them."""
        width = len(self.columns)
        numbers = [group * width + column for group in groups for column in columns]
        parts: list[Part] = []
        bad: set[str] = set()
        for some in _coalesced(sorted(numbers), self._chunks):
            start, stop = self._chunks[some[0]][0], self._chunks[some[-1]][1]
            data = memoryview(self._bytes(start, stop))
            parts.append((start, data))
            bad.update(self._damaged(some, data, start))
        if bad:
            keys = None if bad & set(_SYSTEM) else frozenset(bad)
            raise DamagedError(self.place, MISMATCH, keys)
        return parts

    def _damaged(self, numbers: Sequence[int], data: memoryview, start: int) -> list[str]:
        """Return the keys of those of these chunks whose bytes are not what was written."""
        if self._sums is None:
            return []
        return [
            self.columns[number % len(self.columns)].key
            for number in numbers
            for lo, hi in [self._chunks[number]]
            if zlib.crc32(data[lo - start : hi - start]) != self._sums.chunks[number]
        ]


def _coalesced(numbers: Sequence[int], chunks: Sequence[Range]) -> list[list[int]]:
    """Put chunks that lie near each other together, to be read at once."""
    found: list[list[int]] = []
    for number in numbers:
        start, stop = chunks[number]
        if found:
            first, last = chunks[found[-1][0]][0], chunks[found[-1][-1]][1]
            if start - last <= _HOLE and stop - first <= _MOST:
                found[-1].append(number)
                continue
        found.append([number])
    return found


class _Loaded(io.RawIOBase):
    """A file of `size` bytes of which some parts are in memory, in order: Arrow reads those."""

    def __init__(self, size: int) -> None:
        self.parts: list[Part] = []
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += self._size
        self._at = offset if whence != io.SEEK_CUR else self._at + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        place = bisect_right(self.parts, self._at, key=itemgetter(0)) - 1
        begin, data = self.parts[place] if place >= 0 else (0, memoryview(b""))
        start = self._at - begin
        if size < 0 or place < 0 or start + size > len(data):
            raise ValueError(f"bytes {self._at} to {self._at + size} were not asked for")
        self._at += size
        return bytes(data[start : start + size])


def _column(data: pa.ChunkedArray, name: Name) -> Column | None:
    rows = None
    if data.null_count:
        present = np.concatenate([_bits(c, 0) for c in data.chunks])
        rows = np.flatnonzero(present).astype(np.int32)
        if not len(rows):
            return None
    values: list[object] | NDArray[np.generic]
    if name.kind == JSON:
        texts = [text for text in data.to_pylist() if text is not None]
        values = loads_each(texts)
    else:
        values = np.concatenate([_numbers(c, name.kind) for c in data.chunks])
        values = values if rows is None else values[rows]
    return Column(name.key, name.kind, values, rows)


def _numbers(chunk: pa.Array, kind: Kind) -> NDArray[np.generic]:
    if kind == BOOL:
        return _bits(chunk, 1)
    dtype = np.float64 if kind == FLOAT else np.int64
    flat = np.frombuffer(chunk.buffers()[1] or b"", dtype)
    return flat[chunk.offset : chunk.offset + len(chunk)]


def _bits(chunk: pa.Array, buffer: int) -> NDArray[np.bool_]:
    """Unpack an array's validity (buffer 0) or, of bools, its values (buffer 1)."""
    packed = chunk.buffers()[buffer]
    if packed is None:
        return np.ones(len(chunk), dtype=np.bool_)
    start, stop = chunk.offset, chunk.offset + len(chunk)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=stop, bitorder="little")
    return bits[start:].astype(np.bool_)
