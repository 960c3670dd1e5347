"""Downsampling: what a chart shows of a long series, and the pyramid that makes it quick.

Pure functions over numpy arrays, and four promises:

* **Extremes stay.** A bucket carries its minimum, maximum, mean and last value; a spike of one
  row in a million is in the answer. Few enough points are answered as they are.
* **The same question has the same answer.** Bucket edges are multiples of the bucket width, and
  widths come from a fixed ladder (2 and 3 times powers of two), so edges depend neither on how
  rows were stored nor on where a zoom began, and the buckets of a growing run stay where they
  are until the width changes.
* **The pyramid says what the rows say.** A `Rollup` holds one chunk for each `2**shift` steps.
  Every wider bucket on the ladder is a whole number of chunks, so on the step axis bucketing
  the chunks gives what bucketing the rows gives (means to rounding). On a time axis a chunk
  counts where its last row lies: true up to the edge of a bucket.
* **NaN is no number.** Minimum, maximum and mean skip it, the count does not; a bucket of only
  NaN says NaN. Infinities are numbers and stay.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from asyncwb.wire.rows.frames import Codec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FACTOR: Final = 50
"""rows that a rollup's chunk holds at most, where steps are evenly spaced."""

_HEADER: Final = struct.Struct("<4sBBHI")
_MAGIC: Final = b"AWR2"
_UNCHECKED: Final = b"AWR1"
"""what rollups began with before they had a checksum"""
_CRC: Final = struct.Struct("<I")
_LINES: Final = 10
_MAX_CHUNKS: Final = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Consecutive buckets of one series, ascending in x; empty ones are left out.

    `x_first` and `x_last` are the x of a bucket's first and last point, `count` its points and
    `valid` those of them that are not NaN. All arrays have one entry a bucket.
    """

    x_first: Floats
    x_last: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    count: Ints
    valid: Ints

    def __len__(self) -> int:
        return len(self.count)

    @property
    def exact(self) -> bool:
        """Whether each bucket is one point."""
        return bool(np.all(self.count == 1))

    def cut(self, start: int, stop: int) -> Buckets:
        """Return buckets [start, stop)."""
        return Buckets(*(getattr(self, f.name)[start:stop] for f in fields(self)))


def points(x: Floats, y: Floats) -> Buckets:
    """Return each point as its own bucket. `x`: float64[n] ascending, `y`: float64[n]."""
    return Buckets(x, x, y, y, y, y, np.ones(len(x), np.int64), (~np.isnan(y)).astype(np.int64))


def join(parts: Sequence[Buckets]) -> Buckets:
    """Put the buckets of several parts of one series behind each other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return points(np.empty(0), np.empty(0))
    return Buckets(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Buckets)))


@dataclass(frozen=True, slots=True)
class Grid:
    """Bucket edges: the multiples of `width` from `first * width` to `(last + 1) * width`."""

    width: float
    first: int
    last: int

    @property
    def lo(self) -> float:
        """The lower edge of the first bucket."""
        return self.first * self.width

    @property
    def hi(self) -> float:
        """The upper edge of the last bucket, not part of it."""
        return (self.last + 1) * self.width


def grid(
    x_first: float, x_last: float, buckets: int, lo: float | None = None, hi: float | None = None
) -> Grid:
    """Choose the bucket edges for a series that reaches from `x_first` to `x_last`.

    Args:
        x_first, x_last: the x of the series' first and last point.
        buckets: how many buckets there may be, >= 2: 0 is an edge, which a series may reach across.
        lo, hi: the part that is wanted, [lo, hi); None is the series' own end. The grid covers
            it and is widened to whole buckets.
    """
    start = x_first if lo is None else min(max(lo, x_first), x_last)
    stop = x_last if hi is None or hi > x_last else max(hi, start)
    below = hi is not None and stop == hi and stop > start  # hi itself is not wanted
    # Below the spacing of doubles at this magnitude an edge could not be told from the next.
    least = 4 * float(np.spacing(max(abs(start), abs(stop), 1e-300)))
    width = _ladder(max((stop - start) / buckets, least))
    while True:
        first = math.floor(start / width)
        last = math.ceil(stop / width) - 1 if below else math.floor(stop / width)
        if last - first < buckets:
            return Grid(width, first, last)
        width = _ladder(width * 1.01)


def _ladder(least: float) -> float:
    """Return the smallest of ..., 1, 1.5, 2, 3, 4, 6, 8, ... that is not below `least`."""
    mantissa, exponent = math.frexp(least)  # mantissa in [0.5, 1)
    for rung in (0.5, 0.75):
        if mantissa <= rung:
            return math.ldexp(rung, exponent)
    return math.ldexp(1.0, exponent)


def window(x: Floats, lo: float | None, hi: float | None) -> tuple[int, int]:
    """Return the positions [start, stop) of the ascending `x` that lie in [lo, hi)."""
    start = 0 if lo is None else int(np.searchsorted(x, lo))
    stop = len(x) if hi is None else int(np.searchsorted(x, hi))
    return start, max(start, stop)


def bucketise(
    x: Floats, y: Floats, buckets: int, lo: float | None = None, hi: float | None = None
) -> Buckets:
    """Reduce a series to at most `buckets` buckets; exact points where there are no more.

    About 5 ms for a million points.

    Args:
        x: float64[n], ascending. y: float64[n].
        buckets: the most entries of the answer, >= 2.
        lo, hi: the part of x wanted, [lo, hi). Unless the answer is exact it is widened to
            whole buckets.

    Example:
        >>> bucketise(np.arange(4.0), np.array([1.0, 9.0, 2.0, 3.0]), 2).max.tolist()
        [9.0, 3.0]
    """
    start, stop = window(x, lo, hi)
    if stop - start <= buckets:
        return points(x[start:stop], y[start:stop])
    return bucketise_on(x, y, grid(float(x[0]), float(x[-1]), buckets, lo, hi))


def bucketise_on(x: Floats, y: Floats, on: Grid) -> Buckets:
    """Reduce points to the buckets of a grid."""
    start, stop = window(x, on.lo, on.hi)
    x, y = x[start:stop], y[start:stop]
    if not len(x):
        return points(x, y)
    begins, ends = _runs(_number(x, on))
    count = ends - begins
    with np.errstate(invalid="ignore"):
        least, most = np.minimum.reduceat(y, begins), np.maximum.reduceat(y, begins)
    bad = np.isnan(least)
    valid = count
    total = y
    if bad.any():
        missing = np.isnan(y)
        valid = count - np.add.reduceat(missing.astype(np.int64), begins)
        least, most = np.fmin.reduceat(y, begins), np.fmax.reduceat(y, begins)
        total = np.where(missing, 0.0, y)
    mean = _mean(total, begins, ends, valid, least, most)
    return Buckets(x[begins], x[ends - 1], least, most, mean, y[ends - 1], count, valid)


def _number(x: Floats, on: Grid) -> Floats:
    """Return each point's bucket; a quotient rounded over an edge stays on the grid."""
    number = np.floor(x / on.width)
    return np.clip(number, on.first, on.last, out=number)


def _runs(group: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where each run of equal entries begins and ends."""
    begins = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    return begins, np.concatenate((begins[1:], [len(group)]))


def _mean(
    total: Floats,
    begins: NDArray[np.intp],
    ends: NDArray[np.intp],
    valid: NDArray[np.intp],
    least: Floats,
    most: Floats,
) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.add.reduceat(total, begins) / valid
    # A sum beyond the range of doubles: the values were finite and their mean is, too.
    for i in np.flatnonzero(~np.isfinite(mean) & np.isfinite(least) & np.isfinite(most)):
        mean[i] = np.sum(total[begins[i] : ends[i]] / valid[i])
    return _settled(mean, least, most)


def _settled(mean: Floats, least: Floats, most: Floats) -> Floats:
    """Put right what rounding and overflow may have done to means."""
    with np.errstate(invalid="ignore", over="ignore"):
        # An infinite value decides alone (two that differ: NaN), whatever order sums were in.
        infinite = np.isinf(least) | np.isinf(most)
        mean = np.where(infinite, least + most, mean)
        # The mean of equal values may come out a hair outside of them.
        return np.where(infinite, mean, np.clip(mean, least, most))


def regroup(parts: Sequence[Buckets], on: Grid) -> Buckets:
    """Reduce finer buckets (a pyramid's chunks, or parts of one bucket) to those of a grid.

    The parts follow each other in x. A bucket of a part counts where its last point lies.
    """
    whole = join(parts)
    start, stop = window(whole.x_last, on.lo, on.hi)
    whole = whole.cut(start, stop)
    if not len(whole):
        return whole
    begins, ends = _runs(_number(whole.x_last, on))
    if len(begins) == len(whole):
        return whole
    count, valid = np.add.reduceat(whole.count, begins), np.add.reduceat(whole.valid, begins)
    least, most = np.fmin.reduceat(whole.min, begins), np.fmax.reduceat(whole.max, begins)
    share = whole.valid / np.repeat(np.maximum(valid, 1), ends - begins)
    with np.errstate(invalid="ignore"):
        mean = np.add.reduceat(np.where(whole.valid > 0, whole.mean * share, 0.0), begins)
    mean = _settled(np.where(valid > 0, mean, np.nan), least, most)
    return Buckets(
        whole.x_first[begins],
        whole.x_last[ends - 1],
        least,
        most,
        mean,
        whole.last[ends - 1],
        count,
        valid,
    )


def ordered(times: Floats) -> bool:
    """Tell whether all of them are finite and none is below the one before."""
    return bool(np.isfinite(times).all() and np.all(times[1:] >= times[:-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """The pyramid of one key in one sealed segment: a chunk for each `2**shift` steps.

    `ordered` says that times never go back from row to row, without which the chunks cannot
    serve a time axis. All numbers are kept as they were logged, float64 and int64.
    """

    shift: int
    ordered: bool
    step_first: Ints
    step_last: Ints
    time_first: Floats
    time_last: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    count: Ints
    valid: Ints

    @classmethod
    def build(cls, steps: Ints, times: Floats, values: Floats, factor: int = FACTOR) -> Rollup:
        """Summarise the points of one key, one a step: int64[n] ascending, float64[n] twice."""
        n = len(steps)
        if n <= factor:  # to open a file takes longer than to read so few points here
            return cls.of_points(steps, times, values)
        span = int(steps[-1]) - int(steps[0]) + 1 if n else 1
        shift = min(62, max(0, (span * factor // max(n, 1)).bit_length() - 1))
        chunk = steps >> shift
        begins = np.flatnonzero(np.concatenate(([True], chunk[1:] != chunk[:-1])))[: n or 0]
        # Chunks are numbered afresh: step >> shift may not fit a double, their order does.
        number = np.cumsum(np.concatenate(([False], chunk[1:] != chunk[:-1]))[:n]).astype(float)
        kept = bucketise_on(number, values, Grid(1.0, 0, len(begins)))
        ends = np.concatenate((begins[1:], [n]))[: len(begins)]
        first, last = times[begins], times[ends - 1]
        return cls(
            shift, ordered(times), steps[begins], steps[ends - 1], first, last,
            kept.min, kept.max, kept.mean, kept.last, kept.count, kept.valid,
        )  # fmt: skip

    @classmethod
    def of_points(cls, steps: Ints, times: Floats, values: Floats) -> Rollup:
        """Return the rollup of which each chunk is a point, so that nothing more is in the rows."""
        each = points(times, values)
        return cls(
            0, ordered(times), steps, steps, times, times,
            values, values, values, values, each.count, each.valid,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.count)

    @property
    def rows(self) -> int:
        """How many points it summarises."""
        return int(self.count.sum())

    @property
    def whole(self) -> bool:
        """Whether each chunk is one point, so that nothing more is in the rows."""
        return len(self) == self.rows

    def over_steps(self) -> Buckets:
        """Return the chunks over the step axis."""
        return self._over(self.step_first.astype(np.float64), self.step_last.astype(np.float64))

    def over_times(self, place: Callable[[Floats], Floats]) -> Buckets:
        """Return the chunks over a time axis; `place` says where on it times are, ascending."""
        return self._over(place(self.time_first), place(self.time_last))

    def _over(self, first: Floats, last: Floats) -> Buckets:
        return Buckets(
            first, last, self.min, self.max, self.mean, self.last, self.count, self.valid
        )

    def encode(self) -> bytes:
        """Return the rollup's bytes: byte-shuffled 8-byte words under zstd, then a CRC-32."""
        lines = [getattr(self, f.name).view(np.uint8) for f in fields(self)[2:]]
        planes = np.concatenate(lines).reshape(_LINES, len(self), 8).transpose(0, 2, 1)
        head = _HEADER.pack(_MAGIC, self.shift, self.ordered, 0, len(self))
        body = head + _codec.compressor.compress(planes.tobytes())
        return body + _CRC.pack(zlib.crc32(body))

    @staticmethod
    def has_checksum(data: bytes) -> bool:
        """Tell whether `decode` checks these bytes; older ones have nothing to check by."""
        return data.startswith(_MAGIC)

    @classmethod
    def decode(cls, data: bytes) -> Rollup:
        """Read what `encode` wrote; about 0.1 ms for a thousand chunks.

        Raises:
            ValueError: these bytes are no rollup, or damaged.
        """
        body = _sound(data)
        _, shift, ordered, _, n = _HEADER.unpack_from(body)
        if n > _MAX_CHUNKS:
            raise ValueError("these bytes are no rollup")
        size = _LINES * n * 8
        try:
            raw = _codec.decompressor.decompress(body[_HEADER.size :], max_output_size=size)
        except zstandard.ZstdError as error:
            raise ValueError(f"the rollup cannot be decompressed: {error}") from error
        planes = np.frombuffer(raw, np.uint8).reshape(_LINES, 8, n)
        lines = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(np.int64).reshape(_LINES, n)
        whole = (0, 1, 8, 9)
        words = [lines[i] if i in whole else lines[i].view(np.float64) for i in range(_LINES)]
        return cls(shift, bool(ordered), *words)


def _sound(data: bytes) -> bytes:
    """Return a rollup without its checksum, which is right, or which it never had."""
    if len(data) < _HEADER.size + _CRC.size:
        raise ValueError("these bytes are no rollup")
    if data.startswith(_UNCHECKED):
        return data
    if not data.startswith(_MAGIC):
        raise ValueError("these bytes are no rollup")
    body = data[: -_CRC.size]
    if zlib.crc32(body) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise ValueError("the rollup's checksum does not match")
    return body


_codec = Codec(level=1)
