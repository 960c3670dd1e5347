"""SQLite's write-ahead log, read by its documented format to see whether it is damaged.

    header   32 bytes: magic, format, page size, checkpoint number, salt 1, salt 2,
             checksum (2 words)
    frame    24 bytes and a page: page number, pages of the database after a commit (else 0),
             salt 1, salt 2, checksum (2 words)

SQLite takes frames until one does not fit the salts of the header or the checksum, which goes on
from frame to frame, and says nothing of those behind it. A log that a killed process left may end
in a transaction that was not committed, or in frames of a former use of the file, which have other
salts: that is no damage. It is damage where a frame does not fit that was committed:

* A commit that did not fit is followed by a frame which goes on from it: with synchronous=FULL,
  a transaction is written once the former one is on the disk.
* The index beside the log (`-shm`), which is written after the log is on the disk, counts it.
* The header, which is on the disk before the first frame, does not fit, and commits follow.

What nobody can tell from a transaction that was never committed is the last one, where there is no
index: it is not named.

Sources: https://sqlite.org/fileformat2.html#walformat and https://sqlite.org/walformat.html.
"""

from __future__ import annotations

import io
import struct
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint32]

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682
"""its lowest bit tells the order of the bytes that checksums are taken in: 1 is big-endian"""
_PAGE_SIZES: Final = tuple(2**power for power in range(9, 17))
_AT_ONCE: Final = 4 * 2**20
_INDEX: Final = struct.Struct("=IIIBBHIIIIIIII")
"""version, -, changes, is whole, byte order, page size, frames, pages, and three pairs of words:
the last frame's checksum, the salts, and the checksum of all before it"""
_INDEX_VERSION: Final = 3007000
INDEX_HEADS: Final = 2 * _INDEX.size
"""bytes of the index that are read"""


@dataclass(frozen=True, slots=True)
class LogDamage:
    """Where a log is damaged: the byte at which what does not fit begins (0: the header).

    `lost` is about how many committed transactions SQLite does not read, at least 1.
    """

    offset: int
    lost: int


@dataclass(frozen=True, slots=True)
class _Form:
    page_size: int
    big_endian: bool

    @property
    def frame_size(self) -> int:
        return _FRAME + self.page_size


@dataclass(frozen=True, slots=True)
class _Frames:
    """What is said of each frame of a log, as arrays of one length.

    `follows` tells whether a frame's checksum goes on from the one that the frame before it has.
    """

    commits: NDArray[np.bool_]
    salts: Words
    follows: NDArray[np.bool_]


def find_damage(log: BinaryIO, index: bytes = b"") -> LogDamage | None:
    """Tell whether SQLite, when it opens a log, leaves out what was committed.

    Costs reading the log: 0.1 s of CPU for 64 MiB.

    Args:
        log: the log, which may be written meanwhile.
        index: the beginning of the file `-shm`, read before the log; empty where there is none.
    """
    while True:
        log.seek(0)
        header = log.read(_HEADER)
        damage = _find(log, header, index)
        log.seek(0)
        if log.read(_HEADER) == header:
            return damage
        index = b""  # it was of the former use of the file


def _find(log: BinaryIO, header: bytes, index: bytes) -> LogDamage | None:
    if len(header) < _HEADER:
        return None
    form = _form_of(header)
    if form is None:
        return _find_behind_bad_header(log, header)
    salts, checksum = _words(header[16:24]), _words(header[24:32])
    frames = _read(log, form, checksum)
    ours = (frames.salts == salts).all(axis=1)
    fits = ours & frames.follows
    bad = len(fits) if fits.all() else int(np.argmin(fits))
    # A frame that goes on from a commit was written when that commit was on the disk.
    commits = np.flatnonzero(frames.commits[:-1] & fits[1:])
    proven = bool((commits >= bad).any())
    if not proven and _committed_frames(index, salts) <= bad:
        return None
    lost = int((frames.commits & ours)[bad:].sum())
    return LogDamage(_HEADER + bad * form.frame_size, max(1, lost))


def _find_behind_bad_header(log: BinaryIO, header: bytes) -> LogDamage | None:
    for size in _PAGE_SIZES:
        for big_endian in (False, True):
            form = _Form(size, big_endian)
            log.seek(_HEADER)
            start = io.BytesIO(header + log.read(8 * form.frame_size))
            # Either the checksum in the header is what was written, or what it is taken of.
            of_header = _checksum(header[:24], big_endian)
            for checksum in (_words(header[24:32]), of_header):
                frames = _read(start, form, checksum)
                if not frames.follows.any() or not _of_this_use(frames, header, big_endian):
                    continue
                frames = _read(log, form, checksum)
                ours = (frames.salts == frames.salts[0]).all(axis=1)
                lost = int((frames.commits & ours & frames.follows).sum())
                return LogDamage(0, lost) if lost else None
    return None


def _of_this_use(frames: _Frames, header: bytes, big_endian: bool) -> bool:
    """Tell whether frames behind a damaged header were written after it.

    Each use of the file has a salt 2 drawn at random; where that is damaged itself, the header fits
    with the one that the frames have.
    """
    first = frames.salts[0].astype(">u4").tobytes()
    if first[4:] == header[20:24]:
        return True
    mended = header[:20] + first[4:]
    return bool((_checksum(mended, big_endian) == _words(header[24:32])).all())


def _form_of(header: bytes) -> _Form | None:
    """Return the form of the frames behind a header; None where that is damaged."""
    magic, _, size = struct.unpack_from(">III", header)
    form = _Form(size, bool(magic & 1))
    if magic & ~1 != _MAGIC or size not in _PAGE_SIZES:
        return None
    fits = (_checksum(header[:24], form.big_endian) == _words(header[24:32])).all()
    return form if fits else None


def _read(log: BinaryIO, form: _Form, checksum: Words) -> _Frames:
    """Read all whole frames; `checksum` is the one that the first of them goes on from."""
    weights, step = _weights(form.page_size)
    size, order = form.frame_size, ">u4" if form.big_endian else "<u4"
    heads, sums = [np.empty((0, 6), np.uint32)], [np.empty((0, 2), np.uint32)]
    log.seek(_HEADER)
    while data := log.read(max(1, _AT_ONCE // size) * size):
        count = len(data) // size
        raw = np.frombuffer(data, np.uint8, count * size).reshape(count, size)
        heads.append(raw[:, :_FRAME].copy().view(">u4").astype(np.uint32))
        words = raw.view(order).astype(np.uint32, copy=False)
        sums.append(np.stack([words @ weight for weight in weights], axis=1))
        if len(data) % size:
            break
    head, own = np.concatenate(heads), np.concatenate(sums)
    stored = head[:, 4:6]
    before = np.concatenate([checksum[None], stored])[:-1]
    follows = (stored == before @ step.T + own).all(axis=1) & (head[:, 0] != 0)
    return _Frames(head[:, 1] != 0, head[:, 2:4], follows)


# The checksum is (a, b), and takes two words x, y at a time: a += x + b, then b += y + a, modulo
# 2**32. That is linear. So the words of a frame go into it with factors that depend on their place
# alone, and what it was before with the matrix below to the power of the number of pairs.
_STEP: Final = ((1, 1), (1, 2))


@lru_cache(maxsize=len(_PAGE_SIZES))
def _weights(page_size: int) -> tuple[tuple[Words, Words], Words]:
    """Return a frame's factors for a and for b, by its words, and the matrix for what was before.

    The checksum is of the first two words of a frame's head, and of the page.
    """
    factors, step = _factors(2 + page_size // 4)
    skipped = np.zeros((2, _FRAME // 4 - 2), np.uint32)
    whole = np.concatenate([factors[:, :2], skipped, factors[:, 2:]], axis=1)
    return (np.ascontiguousarray(whole[0]), np.ascontiguousarray(whole[1])), step


def _factors(words: int) -> tuple[Words, Words]:
    factors, power = np.zeros((2, words), np.uint32), np.eye(2, dtype=np.uint32)
    step = np.array(_STEP, np.uint32)
    for at in range(words - 2, -1, -2):
        factors[:, at] = power[:, 0] + power[:, 1]  # x goes into both
        factors[:, at + 1] = power[:, 1]
        power = power @ step
    return factors, power


def _checksum(data: bytes, big_endian: bool) -> Words:
    """Return the checksum of some bytes that nothing comes before."""
    words: Words = np.frombuffer(data, ">u4" if big_endian else "<u4").astype(np.uint32)
    total: Words = _factors(len(words))[0] @ words
    return total


def _words(data: bytes) -> Words:
    return np.frombuffer(data, ">u4").astype(np.uint32)


def _committed_frames(index: bytes, salts: Words) -> int:
    """Return how many frames the index says are committed; 0 where it is another log's, or none.

    It has its head twice, in the machine's own order of bytes; a writer that was killed may have
    written only one of them.
    """
    if len(index) < INDEX_HEADS:
        return 0
    best = 0
    for at in (0, _INDEX.size):
        head = index[at : at + _INDEX.size]
        version, _, _, _, _, _, count, *_ = _INDEX.unpack(head)
        own = np.frombuffer(head, np.uint32)
        sound = (_checksum(head[:40], sys.byteorder == "big") == own[10:12]).all()
        # The salts stand in it as in the log: big-endian.
        if version == _INDEX_VERSION and sound and (_words(head[32:40]) == salts).all():
            best = max(best, count)
    return best
