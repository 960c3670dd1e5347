"""Sealed files: frames one after the other, as they would have gone over the wire.

A third of the journal's size, readable from any point by their headers, and checked by their own
checksums. What an append says it has written can be read back, and stands behind whole frames: one
that a full disk cut short is taken back, or, where even that fails, written over by the next.

A reader steps over what is no whole frame (a damaged disk, an append that a kill cut short) and
goes on with the next one that is. A frame that stands there twice is given once.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from asyncwb.engine.journal.durable import force_names
from asyncwb.errors import FrameError
from asyncwb.wire.rows.frames import HEADER_SIZE, MAGIC, FrameInfo, peek, verify

_NAME: Final = "frames.awf"
_PIECE: Final = 2**20
"""bytes that are searched at a time for the next frame"""


class SealedFile:
    """A sealed file that this process writes, and no other.

    Mutable state: `_end`, where the whole frames end; -1 before the first append.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._end = -1

    def append(self, frames: Sequence[bytes]) -> None:
        """Add frames; they are on the disk, and can be read back, when this returns.

        Raises:
            OSError: they could not be written, and count as absent. Those before are untouched.
        """
        data = b"".join(frames)
        self._folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            start = size if self._end < 0 else min(self._end, size)
            self._put(fd, data, start)
            if self._end < 0:
                force_names(self._folder)
                force_names(self._folder.parent)
            self._end = start + len(data)
        finally:
            os.close(fd)

    def _put(self, fd: int, data: bytes, start: int) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.pwrite(fd, rest, start + len(data) - len(rest)) :]
            os.fdatasync(fd)
            if os.pread(fd, len(data), start) != data:
                raise OSError(errno.EIO, "what was written cannot be read back", str(self._path))
        except OSError:
            with contextlib.suppress(OSError):  # then the next append writes over it
                os.ftruncate(fd, start)
            raise


class SealedFrames(Iterator[tuple[FrameInfo, bytes]]):
    """The whole frames of a folder's sealed file, in order, each of them once.

    `size`: bytes that the file has (0: there is none); `torn`: how many of them, up to where the
    last look ended, are no whole frame. Where they stood before a frame, its number tells what
    is missing; those at the end are known once there are no more frames.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME
        self.size = self.path.stat().st_size if self.path.exists() else 0
        self.torn = 0
        self._frames = self._read()

    def __next__(self) -> tuple[FrameInfo, bytes]:
        return next(self._frames)

    def _read(self) -> Iterator[tuple[FrameInfo, bytes]]:
        if not self.size:
            return
        at, end = 0, 0
        with self.path.open("rb") as file:
            while at < self.size:
                found = _frame(file, at, self.size)
                if found is None:
                    behind = _next_magic(file, at + 1, self.size)
                    self.torn += behind - at
                    at = behind
                    continue
                info, _ = found
                at += info.size
                self.torn = 0
                if info.last_seq >= end:
                    end = info.last_seq + 1
                    yield found


def _frame(file: BinaryIO, at: int, size: int) -> tuple[FrameInfo, bytes] | None:
    """Return the whole frame at `at`, None where there is none."""
    file.seek(at)
    head = file.read(HEADER_SIZE)
    try:
        info = peek(head)
        if at + info.size > size:
            return None
        data = head + file.read(info.body_size)
        verify(data)
    except FrameError:
        return None
    return info, data


def _next_magic(file: BinaryIO, at: int, size: int) -> int:
    """Return where the next frame may begin, `size` where none does."""
    while at < size:
        file.seek(at)
        piece = file.read(_PIECE)
        found = piece.find(MAGIC)
        if found >= 0:
            return at + found
        if len(piece) < _PIECE:
            break
        at += len(piece) - len(MAGIC) + 1
    return size
