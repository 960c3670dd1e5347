"""Frames: the bytes in which rows leave the client, cross the wire and rest in the store.

A frame holds a contiguous range of one writer's sequence numbers: the rows of a `Table` and the
events (config, summary, finish, ...) between them, in order. It is encoded once, by the engine;
the server checks the crc, keeps the very bytes, and whoever reads the history decodes them.

    header    36 bytes: magic, version, flags, first_seq, count, rows, raw size, body size, crc32
    body      zstd of:  u32 directory size, directory (JSON), then for each block its row
              positions and its words byte-shuffled (all first bytes, all second bytes, ...),
              each JSON column, the events

Shuffling makes neighbours of bytes that resemble each other (exponents, high bytes): zstd level 1
then takes 77 ns and 37 bytes for a row of ten floats, against 211 ns and 42 bytes without.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeAlias, cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from asyncwb.errors import FrameError, FrameTooLargeError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import JSON, Block, Column, Rows, Table, Words, empty
from asyncwb.wire.rows.value_count import has_too_many
from asyncwb.wire.rows.values import dumps, loads

Event: TypeAlias = tuple[int, JsonObject]
"""(row position, what happened just before that row)."""

MAGIC: Final = b"AWF1"
VERSION: Final = 1
MAX_RAW: Final = 256 * 2**20
"""bytes a frame's body may decompress to, unless the reader says otherwise."""

MAX_FRAME: Final = 32 * 2**20 - 64 * 2**10
"""bytes of a frame that a request can carry: what a server takes, less the batch's own head."""

_HEADER: Final = struct.Struct("<4sHHQIIIII")
_SIZE: Final = struct.Struct("<I")
HEADER_SIZE: Final = _HEADER.size
_ZSTD_LEVEL: Final = 1
_LOST: Final = 1
_DIRECTORIES: Final = 4
"""directories that are kept"""
_LARGEST: Final = 4 * 2**20
"""bytes of such a directory; one of 100,000 columns has 2 MB, and takes some 15 MB of memory"""
_PLACE: Final = 20
"""values that stand around those of one row or event in the JSON of its frame, at most: the lists
that they are in, the columns that every table has"""
_ENTRY: Final = 4
"""values that a cell has in the directory, where it is all of its column"""


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What a frame's header says; `size` and `raw_size` in bytes."""

    first_seq: int
    count: int
    rows: int
    raw_size: int
    body_size: int
    crc: int
    lost: bool = False

    @property
    def last_seq(self) -> int:
        """The last sequence number in the frame."""
        return self.first_seq + self.count - 1

    @property
    def size(self) -> int:
        """The whole frame, header included, in bytes."""
        return HEADER_SIZE + self.body_size


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Decoded rows and events of one writer, in order of their sequence numbers.

    Where the writer lost rows before they could be sent, a frame stands in for them so that the
    sequence has no hole: `lost` is how many numbers it covers, and its one event says why.
    """

    first_seq: int
    table: Table
    events: tuple[Event, ...] = ()
    lost: int = 0

    @property
    def count(self) -> int:
        """How many sequence numbers the frame covers."""
        return self.lost or self.table.n + len(self.events)

    def encode(self) -> bytes:
        """Return the frame's bytes (after `skip`, those of what is left)."""
        if self.lost:
            return encode_lost(self.first_seq, self.lost, self.events[0][1]["reason"])
        return encode(self.first_seq, self.table, self.events)

    def first(self, count: int) -> Frame:
        """Return the first `count` rows or events of a frame that is no stand-in."""
        kept = tuple(e for index, e in enumerate(self.events) if e[0] + index < count)
        return Frame(self.first_seq, self.table.slice(0, count - len(kept)), kept)

    def skip(self, count: int) -> Frame:
        """Return the frame without its first `count` sequence numbers (rows or events)."""
        if not 0 <= count <= self.count:
            raise ValueError(f"cannot skip {count} of {self.count}")
        if self.lost and count == self.lost:
            return Frame(self.first_seq + count, empty())
        if self.lost:
            return _lost_frame(
                self.first_seq + count, self.lost - count, self.events[0][1]["reason"]
            )
        rows = count
        kept: tuple[Event, ...] = ()
        for index, (position, _) in enumerate(self.events):
            if position + index >= count:  # the event's own offset in the sequence
                rows = count - index
                kept = tuple((at - rows, event) for at, event in self.events[index:])
                break
        else:
            rows = count - len(self.events)
        return Frame(self.first_seq + count, self.table.slice(rows, self.table.n), kept)


class Codec(threading.local):
    """A compressor and a decompressor for each thread: one under two threads raises ZstdError."""

    def __init__(self, level: int) -> None:
        self.compressor = zstandard.ZstdCompressor(level=level)
        self.decompressor = zstandard.ZstdDecompressor()


_codec = Codec(_ZSTD_LEVEL)


def encode(first_seq: int, table: Table, events: Sequence[Event] = ()) -> bytes:
    """Encode rows and events as one frame; about 0.2 us a row of ten floats."""
    blocks: list[JsonObject] = []
    texts: list[JsonObject] = []
    payload: list[bytes | Words] = []
    for block in table.blocks:
        blocks.append({"k": block.keys, "t": block.kinds, "r": _put_rows(block.rows, payload)})
        payload.append(block.words)
    for column in table.texts:
        count = _put_rows(column.rows, payload)
        text = dumps(column.values)
        payload.append(text)
        texts.append({"k": column.key, "r": count, "s": len(text)})
    if events:
        payload.append(dumps(list(events)))
    directory = dumps({"b": blocks, "x": texts, "e": len(events)})
    raw = _joined((_SIZE.pack(len(directory)), directory, *payload))
    return _seal(first_seq, table.n + len(events), table.n, raw)


def encode_lost(first_seq: int, count: int, reason: str) -> bytes:
    """Encode the frame that stands in for `count` sequence numbers whose data is gone."""
    return _seal(first_seq, count, 0, dumps({"rows": count, "reason": reason}), _LOST)


def _lost_frame(first_seq: int, count: int, reason: str) -> Frame:
    event = {"t": "lost", "rows": count, "reason": reason}
    return Frame(first_seq, empty(), ((0, event),), lost=count)


def _seal(first_seq: int, count: int, rows: int, raw: bytes | bytearray, flags: int = 0) -> bytes:
    body = _codec.compressor.compress(raw)
    head = _HEADER.pack(MAGIC, VERSION, flags, first_seq, count, rows, len(raw), len(body), 0)
    crc = zlib.crc32(body, zlib.crc32(head))
    return head[:-4] + _SIZE.pack(crc) + body


def peek(data: bytes | memoryview, offset: int = 0) -> FrameInfo:
    """Read the header at `offset`, without looking at the body.

    Raises:
        FrameError: this is not a frame, or not all of its header is there.
    """
    if len(data) - offset < HEADER_SIZE:
        raise FrameError("the frame ends inside its header")
    magic, version, flags, first, count, rows, raw, body, crc = _HEADER.unpack_from(data, offset)
    if magic != MAGIC:
        raise FrameError("these bytes are not a frame: the magic number is wrong")
    if version != VERSION:
        raise FrameError(f"the frame has version {version}; this asyncwb reads version {VERSION}")
    if rows > count or count == 0:
        raise FrameError(f"the frame says that {rows} of its {count} entries are rows")
    return FrameInfo(first, count, rows, raw, body, crc, bool(flags & _LOST))


def verify(data: bytes | memoryview, offset: int = 0) -> FrameInfo:
    """Read the header and check the crc over the whole frame, without decompressing it.

    Raises:
        FrameError: not a frame, cut short, or damaged.
    """
    info = peek(data, offset)
    view = memoryview(data)[offset : offset + info.size]
    if len(view) < info.size:
        raise FrameError(f"the frame is cut short: {len(view)} of {info.size} bytes")
    zeroed = bytes(view[: HEADER_SIZE - 4]) + b"\0\0\0\0"
    if zlib.crc32(view[HEADER_SIZE:], zlib.crc32(zeroed)) != info.crc:
        raise FrameError("the frame is damaged: its checksum does not match")
    return info


def decode(
    data: bytes | memoryview,
    offset: int = 0,
    *,
    max_raw: int = MAX_RAW,
    max_values: int | None = None,
) -> Frame:
    """Check and decode the frame at `offset`.

    Args:
        data: bytes that hold the frame; more may follow it.
        offset: where the frame starts, in bytes.
        max_raw: bytes that the body may decompress to; more is refused before decompressing.
        max_values: values that a row or an event may have; a frame whose events, or whose cells of
            one column, have more together is refused before they are read. None: any number.

    Raises:
        FrameTooLargeError: it is more than that; one of fewer rows and events may not be.
        FrameError: not a frame, cut short, damaged, or inconsistent.
    """
    info = verify(data, offset)
    if info.raw_size > max_raw:
        raise FrameTooLargeError(
            f"the frame decompresses to {info.raw_size} bytes; at most {max_raw} fit"
        )
    body = memoryview(data)[offset + HEADER_SIZE : offset + info.size]
    try:
        # The size that zstd itself would allocate, which need not be the one in our header.
        if zstandard.frame_content_size(body) != info.raw_size:
            raise FrameError("the frame lies about its size")
        raw = _codec.decompressor.decompress(body, max_output_size=info.raw_size)
        if info.lost:
            said = loads(_bounded(raw, max_values))
            return _lost_frame(info.first_seq, info.count, _string(said["reason"]))
        return _Reader(raw, info, max_values).frame()
    except FrameTooLargeError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise FrameError(f"the frame is inconsistent: {error}") from error
    except zstandard.ZstdError as error:
        raise FrameError(f"the frame cannot be decompressed: {error}") from error


@dataclass(frozen=True, slots=True)
class _Directory:
    """What a frame's directory says, checked but for sizes.

    `blocks` are (keys, kinds, rows), `texts` (key, rows, bytes); `rows` None is every row.
    """

    blocks: tuple[tuple[tuple[str, ...], str, object], ...]
    texts: tuple[tuple[str, object, int], ...]
    has_events: bool


def _directory(data: bytes) -> _Directory:
    said = loads(data)
    blocks = tuple(_block(entry) for entry in said["b"])
    texts = tuple((_string(entry["k"]), entry["r"], entry["s"]) for entry in said["x"])
    names = [(k, kind) for keys, kinds, _ in blocks for k, kind in zip(keys, kinds, strict=True)]
    names += [(key, JSON) for key, _, _ in texts]
    if len(set(names)) != len(names):
        raise ValueError("a key appears twice in one kind")
    return _Directory(blocks, texts, bool(said["e"]))


_kept_directory = lru_cache(maxsize=_DIRECTORIES)(_directory)
"""Frames of one training loop say the same, and share what is made of it."""


def _block(entry: JsonObject) -> tuple[tuple[str, ...], str, object]:
    keys, kinds = tuple(_string(key) for key in entry["k"]), _string(entry["t"])
    if len(keys) != len(kinds) or not set(kinds) <= set("fib"):
        raise ValueError(f"a block has {len(keys)} keys of kinds {kinds[:20]!r}")
    return keys, kinds, entry["r"]


def _bounded(text: bytes, most: int | None, each: int = 1) -> bytes:
    """Let JSON pass in which a row or event of `most` values has `each` times as many."""
    if most is not None and has_too_many(text, each * most + _PLACE):
        raise FrameTooLargeError(
            f"its events, or its cells of a column, have over {most:,} values and names"
        )
    return text


class _Reader:
    """A cursor over a decompressed body. Every length is checked by slicing against it."""

    def __init__(self, raw: bytes, info: FrameInfo, max_values: int | None) -> None:
        (size,) = _SIZE.unpack_from(raw)
        self.raw = raw
        self.info = info
        self.at = _SIZE.size + size
        self.most = max_values
        data = _bounded(self._checked(raw[_SIZE.size : self.at], size), max_values, _ENTRY)
        self.directory = _kept_directory(data) if size <= _LARGEST else _directory(data)

    def frame(self) -> Frame:
        n = self.info.rows
        blocks = [self._block(*said) for said in self.directory.blocks]
        texts = [self._text(*said) for said in self.directory.texts]
        has_events = self.directory.has_events
        events = loads(_bounded(self.raw[self.at :], self.most)) if has_events else []
        if len(events) != self.info.count - n:
            raise ValueError("its events are not as many as its header says")
        table = Table(n, blocks, texts)
        if len(table.steps) != n or len(table.times) != n:
            raise ValueError("its rows are not as many as its header says")
        ordered = tuple((self._position(at), dict(event)) for at, event in events)
        if any(a > b for (a, _), (b, _) in pairwise(ordered)):
            raise ValueError("its events are out of order")
        return Frame(self.info.first_seq, table, ordered)

    def _position(self, at: object) -> int:
        if not isinstance(at, int) or not 0 <= at <= self.info.rows:
            raise ValueError(f"an event stands at row {at!r}")
        return at

    def _take(self, size: int) -> bytes:
        self.at += size
        return self._checked(self.raw[self.at - size : self.at], size)

    @staticmethod
    def _checked(data: bytes, size: int) -> bytes:
        if size < 0 or len(data) != size:
            raise ValueError("it ends early")
        return data

    def _rows(self, count: object) -> tuple[int, Rows | None]:
        n = self.info.rows
        if count is None:
            return n, None
        if not isinstance(count, int) or not 0 <= count <= n:
            raise ValueError(f"a column has {count!r} of {n} rows")
        rows = np.frombuffer(self._take(4 * count), dtype="<i4")
        if count and not (rows[0] >= 0 and rows[-1] < n and bool(np.all(rows[1:] > rows[:-1]))):
            raise ValueError("a column's rows are out of order")
        return count, rows

    def _block(self, keys: tuple[str, ...], kinds: str, held: object) -> Block:
        count, rows = self._rows(held)
        words = _unshuffle(self._take(8 * count * len(keys)), len(keys), count)
        return Block(keys, kinds, words, rows)

    def _text(self, key: str, held: object, size: int) -> Column:
        count, rows = self._rows(held)
        values = loads(_bounded(self._take(size), self.most))
        if not isinstance(values, list) or len(values) != count:
            raise ValueError("a column of values is not as long as it says")
        return Column(key, JSON, values, rows)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a key")
    return value


def _put_rows(rows: Rows | None, payload: list[bytes | Words]) -> int | None:
    if rows is None:
        return None
    payload.append(rows.astype("<i4").tobytes())
    return len(rows)


def _joined(parts: Sequence[bytes | Words]) -> bytearray:
    """Join bytes and words, which are shuffled straight into their place."""
    sizes = [len(part) if isinstance(part, bytes) else part.nbytes for part in parts]
    joined = bytearray(sum(sizes))
    at = 0
    for part, size in zip(parts, sizes, strict=True):
        if isinstance(part, bytes):
            joined[at : at + size] = part
        else:
            _shuffle(part, np.frombuffer(joined, np.uint8, size, at))
        at += size
    return joined


def _shuffle(words: Words, into: NDArray[np.uint8]) -> None:
    """Put the bytes of the words, transposed: uint8[columns, rows, 8] to uint8[columns, 8, rows].

    Assigning is four times as fast as `transpose().tobytes()`.
    """
    columns, rows = words.shape
    planes = np.ascontiguousarray(words).view(np.uint8).reshape(columns, rows, 8)
    into.reshape(columns, 8, rows)[:] = planes.transpose(0, 2, 1)


def _unshuffle(data: bytes, columns: int, rows: int) -> Words:
    planes = np.frombuffer(data, dtype=np.uint8).reshape(columns, 8, rows)
    words = np.ascontiguousarray(planes.transpose(0, 2, 1))
    return cast("Words", words.view(np.uint64).reshape(columns, rows))
