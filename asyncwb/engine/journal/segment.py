"""One file of a journal: allocated, mapped, written, read again, forced to the disk."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from asyncwb.descriptors import fill_standard_descriptors
from asyncwb.engine.journal.durable import force
from asyncwb.engine.journal.records import SUM_SIZE
from asyncwb.errors import JournalCorrupt

MAGIC: Final = b"AWJ1"
VERSION: Final = 3
DATA_START: Final = 64
PAGE: Final = mmap.PAGESIZE
_HEADER: Final = struct.Struct("<4sHHIQQ")
# ENOMEM: this process may map no more, or not so much; the disk is another matter.
_NO_MAPPING: Final = {
    errno.ENODEV,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EPERM,
    errno.ENOMEM,
}


class Segment:
    """One file of the journal.

    Mutable state: `count` (sequence numbers inside), `events` (how many of them are no rows), `end`
    (bytes used) and `closed`, all set by the inbox with its lock; the reader looks at them without
    it and at worst sees a little less. `synced` (bytes that are on the disk) and `_refused` (why
    the disk did not take them) are written by whoever syncs.
    """

    def __init__(self, path: Path, index: int, first_seq: int, capacity: int) -> None:
        self.path = path
        self.index = index
        self.first_seq = first_seq
        self.capacity = capacity
        self.count = 0
        self.events = 0
        self.end = DATA_START
        self.closed = False
        self.synced = 0
        self._refused: OSError | None = None
        self.map: mmap.mmap | None = None
        self.fd = -1
        self._was_mapped = False

    @classmethod
    def create(cls, path: Path, capacity: int, *, use_map: bool = True) -> Segment:
        """Allocate the file in full and map it; its sequence starts with `start()`.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        segment = cls(path, int(path.stem), 0, capacity)
        fill_standard_descriptors()
        segment.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if use_map:
                segment._allocate()
        except OSError:
            segment.discard()
            raise
        return segment

    def _allocate(self) -> None:
        try:
            os.posix_fallocate(self.fd, 0, self.capacity)
            self.map = mmap.mmap(self.fd, self.capacity)
        except OSError as error:
            if error.errno not in _NO_MAPPING:
                raise
            os.ftruncate(self.fd, 0)  # no mapping on this file system: pwrite serves

    def rename(self, path: Path) -> None:
        """Give a segment that is not started another place in the order."""
        self.path.rename(path)
        self.path, self.index = path, int(path.stem)

    def start(self, first_seq: int) -> None:
        """Write the header; from now on the segment holds sequence numbers from `first_seq`."""
        self.first_seq = first_seq
        head = _HEADER.pack(MAGIC, VERSION, 0, self.index, first_seq, self.capacity)
        head += struct.pack("<I", zlib.crc32(head))
        self.write(0, head.ljust(DATA_START, b"\0"))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes into the file, through the mapping where there is one."""
        if self.map is not None:
            self.map[offset : offset + len(data)] = data
        else:
            rest = memoryview(data)
            while rest:
                rest = rest[os.pwrite(self.fd, rest, offset + len(data) - len(rest)) :]

    def append(self, offset: int, record: bytes) -> None:
        """Put a record into the file, its checksum last: one that is cut short has none."""
        self.write(offset + SUM_SIZE, memoryview(record)[SUM_SIZE:])
        self.write(offset, memoryview(record)[:SUM_SIZE])

    def populate(self) -> None:
        """Fault in every page of a segment that is not started, without the interpreter lock.

        A page that `log()` is the first to touch costs it 0.15 to 0.5 us a row; a segment of 4 MiB
        costs some 4 ms here.
        """
        import numpy as np  # which the thread that calls `init()` does not wait for

        if self.map is not None:
            np.frombuffer(self.map, np.uint8)[::PAGE] = 0

    def viewer(self) -> Callable[[], memoryview]:
        """Return what gives the bytes used so far: a copy where the file cannot be mapped.

        Made under the journal's lock, at once; to be called once, without it: it may read the disk.
        """
        if self.map is not None:
            view = memoryview(self.map)[: self.end]
            return lambda: view
        fd = os.dup(self.fd) if self.fd >= 0 else os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return partial(_read, fd, self.end, self._was_mapped)

    def sync(self, end: int) -> None:
        """Force all that was written before `end` to the disk; blocks for milliseconds.

        Once refused, it stays refused: a kernel gives up the pages that it could not write, and
        would call the next attempt a success.

        Raises:
            OSError: the disk did not take it.
        """
        if self._refused is not None:
            raise self._refused
        try:
            force(self.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._refused = error
            raise
        self.synced = max(self.synced, end)

    def park(self) -> None:
        """Let go of the mapping and the file until somebody asks for a `viewer()`.

        A backlog is on disk, and must weigh neither on the process's memory nor on its files.
        """
        self._was_mapped = self.map is not None
        self.close()

    def close(self) -> None:
        """Unmap and close the file (the mapping lives on while a reader still looks at it)."""
        mapping, self.map = self.map, None
        if mapping is not None:
            with contextlib.suppress(BufferError):
                mapping.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """Close the file and delete it; one that cannot be deleted stays, and only takes room."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    @classmethod
    def open(cls, path: Path) -> Segment | None:
        """Open a segment that some process left behind, for reading.

        Returns None for one that was made ahead of time and never started: it holds nothing.

        Raises:
            JournalCorrupt: the header is not all there, or damaged.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        head = os.pread(fd, DATA_START, 0)
        if not any(head):
            os.close(fd)
            return None
        if len(head) < _HEADER.size + 4 or not _header_is_good(head):
            os.close(fd)
            raise JournalCorrupt(f"the header of {path} is damaged: the segment cannot be read")
        _, version, _, index, first_seq, capacity = _HEADER.unpack_from(head)
        if version != VERSION:
            os.close(fd)
            raise JournalCorrupt(
                f"{path} has format {version}, and this asyncwb reads format {VERSION}: it is "
                "untouched, the release that wrote it can sync it"
            )
        segment = cls(path, index, first_seq, capacity)
        segment.fd = fd
        segment.end = os.fstat(fd).st_size
        return segment


def _read(fd: int, end: int, use_map: bool) -> memoryview:
    """Return the first bytes of a file, and close it."""
    try:
        if use_map:  # the mapping goes when the view does
            return memoryview(mmap.mmap(fd, end, access=mmap.ACCESS_READ))
        return memoryview(os.pread(fd, end, 0))
    finally:
        os.close(fd)


def _header_is_good(head: bytes) -> bool:
    (crc,) = struct.unpack_from("<I", head, _HEADER.size)
    return head.startswith(MAGIC) and zlib.crc32(head[: _HEADER.size]) == crc
