"""Segments of very many columns: each key's values by themselves, for a chart to read.

To open a Parquet file of 100,000 columns takes a second, whatever is read of it, and to build as
many pyramids takes ten times as long as to write it. It has few rows. So in the place of pyramids
there stand, in the database, each key's values as they are, and once for all of them the axis: the
steps and times of the segment's rows.

A key's values are `_HEADER`, then under zstd: float64[n], byte-shuffled, and where some rows lack
the key a bit for each row of the segment, 1 where it is; then a CRC-32 of all that.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asyncwb.server.history.points import of_columns
from asyncwb.server.history.series import Floats, Ints, Rollup
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Column, Table
from asyncwb.wire.rows.frames import Codec

_COLUMNS: Final = 2**14
"""columns from which a segment is wide"""
_ROWS: Final = 1024
"""rows from which pyramids are so much smaller that they are built all the same"""
_HEADER: Final = struct.Struct("<4s?xxxI")
_MAGIC: Final = b"AWV1"
_CRC: Final = struct.Struct("<I")


def is_wide(table: Table) -> bool:
    """Tell whether a merged table is sealed with values in the place of pyramids."""
    return table.width >= _COLUMNS and table.n <= _ROWS


def axis_of(table: Table) -> bytes:
    """Return the steps and times of a table's rows, as a frame."""
    return frames.encode(0, table.select(()))


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The rows of a wide segment: `steps` int64[n] ascending, `times` float64[n]."""

    steps: Ints
    times: Floats

    @classmethod
    def decode(cls, data: bytes) -> Axis:
        """Read what `axis_of` wrote.

        Raises:
            FrameError: these bytes are damaged.
        """
        table = frames.decode(data).table
        return cls(table.steps, table.times)


def encode(columns: list[Column], steps: Ints) -> bytes:
    """Return the bytes of a key's values, whose columns (one a kind) these are; `steps`: of all."""
    points = of_columns(steps, np.zeros(len(steps)), columns)
    raw = points.values.view(np.uint8).reshape(-1, 8).T.tobytes()
    some = len(points) < len(steps)
    if some:
        raw += np.packbits(np.isin(steps, points.steps, assume_unique=True)).tobytes()
    body = _HEADER.pack(_MAGIC, some, len(points)) + _codec.compressor.compress(raw)
    return body + _CRC.pack(zlib.crc32(body))


def is_values(data: bytes) -> bool:
    """Tell whether these bytes are a key's values, as opposed to a pyramid."""
    return data.startswith(_MAGIC)


def check(data: bytes) -> None:
    """Check the bytes of a key's values.

    Raises:
        ValueError: they are damaged.
    """
    if len(data) < _HEADER.size + _CRC.size:
        raise ValueError("these bytes are no values")
    if zlib.crc32(memoryview(data)[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise ValueError("the checksum of the values does not match")


def decode(data: bytes, axis: Axis | None) -> Rollup:
    """Read a key's values, as the rollup whose chunks are the points themselves.

    Args:
        data: the values.
        axis: of their segment; None where it is damaged.

    Raises:
        ValueError: they are damaged, or those of another segment.
    """
    check(data)
    if axis is None:
        raise ValueError("the axis of its segment is damaged")
    _, some, n = _HEADER.unpack_from(data)
    rows = len(axis.steps)
    mask = -(-rows // 8) if some else 0
    packed = memoryview(data)[_HEADER.size : -_CRC.size]
    raw = _codec.decompressor.decompress(packed, max_output_size=8 * n + mask)
    values = _joined(raw[: 8 * n])
    where = slice(None) if not some else _present(raw[8 * n :], rows)
    steps, times = axis.steps[where], axis.times[where]
    if not len(steps) == len(values) == n:
        raise ValueError(f"{n} values are not those of {rows} rows")
    return Rollup.of_points(steps, times, values)


def _joined(planes: bytes) -> Floats:
    shuffled = np.frombuffer(planes, np.uint8).reshape(8, -1)
    return np.ascontiguousarray(shuffled.T).view(np.float64).reshape(-1)


def _present(bits: bytes, rows: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows).astype(np.bool_)


_codec = Codec(level=1)
