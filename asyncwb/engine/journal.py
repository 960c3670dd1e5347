"""The journal: what `log()` accepted, on disk before it returns.

A journal is a folder of segments, `00000000.seg`, `00000001.seg`, ..., each allocated in full
before it is mapped, so that a full disk is an error when a segment is made and never a SIGBUS in
`log()`. Rows are copied into the mapping: from then on they are in the page cache and survive
SIGKILL; a group sync bounds what a power loss can take. Segments start small and double, so that a
hundred short runs cost little. A segment whose last row is acknowledged is deleted.

Where a file system cannot map or allocate files, a segment is written with `pwrite` instead.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import threading
import zlib
from collections import deque
from pathlib import Path
from typing import Final

from asyncwb.engine.records import SUM_SIZE
from asyncwb.errors import JournalCorrupt

MAGIC: Final = b"AWJ1"
VERSION: Final = 3
DATA_START: Final = 64
_HEADER: Final = struct.Struct("<4sHHIQQ")
_SUFFIX: Final = ".seg"
_PAGE: Final = mmap.PAGESIZE
# ENOMEM: this process may map no more, or not so much; the disk is another matter.
_NO_MAPPING: Final = {
    errno.ENODEV,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EPERM,
    errno.ENOMEM,
}
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AT_HAND: Final = 2
"""segments that stay mapped: the one being written, and the one that is likely being read"""
_MOST_SPARES: Final = 4
"""segments made ahead: 16 MiB at full size, which the fastest caller takes 0.1 s to fill"""


def is_disk_full(error: OSError | None) -> bool:
    """Tell whether an error means that the disk, a quota or a file's bound is exhausted."""
    return error is not None and error.errno in _DISK_FULL


class Segment:
    """One file of the journal.

    Mutable state: `count` (sequence numbers inside), `events` (how many of them are no rows), `end`
    (bytes used) and `closed`, all set by the inbox with its token; the reader looks at them without
    it and at worst sees a little less.
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
        self.map: mmap.mmap | None = None
        self.fd = -1
        self._was_mapped = False

    @classmethod
    def create(cls, path: Path, index: int, capacity: int, *, use_map: bool = True) -> Segment:
        """Allocate the file in full and map it; its sequence starts with `start()`.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        segment = cls(path, index, 0, capacity)
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
            np.frombuffer(self.map, np.uint8)[::_PAGE] = 0

    def view(self) -> memoryview:
        """Return the bytes used so far; a copy where the file cannot be mapped."""
        if self.map is not None:
            return memoryview(self.map)[: self.end]
        if self.fd >= 0:
            return memoryview(os.pread(self.fd, self.end, 0))
        with self.path.open("rb") as file:
            if self._was_mapped:  # the mapping goes when the view does
                return memoryview(mmap.mmap(file.fileno(), self.end, access=mmap.ACCESS_READ))
            return memoryview(file.read(self.end))

    def park(self) -> None:
        """Let go of the mapping and the file until somebody asks for `view()`.

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
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)

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


def _header_is_good(head: bytes) -> bool:
    (crc,) = struct.unpack_from("<I", head, _HEADER.size)
    return head.startswith(MAGIC) and zlib.crc32(head[: _HEADER.size]) == crc


class Journal:
    """The segments of one writer, oldest first; the last one is being written.

    Mutable state, guarded by `lock` (never held while a row is packed): `segments`; `spares`, made
    ahead, ascending, all behind them; `_used`, how many segments were started since spares were
    made; `next_index`, `next_capacity`, and `_gaps`: [first, end) of the sequence numbers that went
    with dropped segments, ascending.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_capacity: int = 256 * 1024,
        max_capacity: int = 4 * 2**20,
        max_bytes: int = 4 * 2**30,
        use_map: bool = True,
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.segments: deque[Segment] = deque()
        self.spares: deque[Segment] = deque()
        self.lock = threading.Lock()
        self._next_index = 0
        self._used = 0
        self._gaps: list[tuple[int, int]] = []
        # The segment being written is never deleted: it must leave room for the next one.
        share = max(_PAGE, max_bytes // 4 // _PAGE * _PAGE)
        self._first_capacity = min(first_capacity, share)
        self._next_capacity = self._first_capacity
        self._max_capacity = min(max_capacity, share)
        self._use_map = use_map
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Bytes that the segments take on disk."""
        return sum(s.capacity for s in [*self.segments, *self.spares])

    def has_room(self, capacity: int | None = None) -> bool:
        """Tell whether another segment fits under the bound."""
        return self.size + (capacity or self._next_capacity) <= self.max_bytes

    def rotate(self, first_seq: int, need: int, *, force: bool = False) -> Segment | None:
        """Close the current segment and start the next; None where the bound forbids it.

        Args:
            first_seq: the sequence number of the next record.
            need: bytes that the segment must at least hold.
            force: go beyond the bound (for an event, which no policy may drop).

        Raises:
            OSError: the disk is full.
        """
        with self.lock:
            segment = self.spares.popleft() if self.spares else None
            if segment is not None and segment.capacity < need + DATA_START:
                segment.discard()
                self._discard_spares()  # the next one must come behind them
                segment = None
            if segment is None:
                capacity = max(self._next_capacity, _round_up(need + DATA_START))
                if self.segments and not force and not self.has_room(capacity):
                    return None
                segment = self._make_what_fits(capacity, need)
            try:
                segment.start(first_seq)
            except OSError:
                segment.discard()
                raise
            if self.segments:
                self.segments[-1].closed = True
            self.segments.append(segment)
            self._used += 1
            if len(self.segments) > _AT_HAND:
                self.segments[-_AT_HAND - 1].park()
            return segment

    def prepare(self) -> None:
        """Make the next segments ahead of time, as many as were started since the last call.

        One at least, as far as the bound allows. Blocks for some 5 ms each; safe in any thread.

        Raises:
            OSError: the disk is full.
        """
        with self.lock:
            want = min(max(1, self._used), _MOST_SPARES)
            self._used = 0
        for _ in range(want):
            with self.lock:
                if len(self.spares) >= want or not self.segments or not self.has_room():
                    return
                spare = self._make(self._next_capacity)
                spare.populate()
                self.spares.append(spare)

    def _discard_spares(self) -> None:
        while self.spares:
            self.spares.popleft().discard()

    def _make_what_fits(self, capacity: int, need: int) -> Segment:
        """Make a smaller segment where the disk has no room for a large one."""
        least = max(self._first_capacity, _round_up(need + DATA_START))
        while True:
            try:
                return self._make(capacity)
            except OSError as error:
                if capacity <= least or not is_disk_full(error):
                    raise
                capacity = max(least, _round_up(capacity // 4))

    def _make(self, capacity: int) -> Segment:
        index = self._next_index
        path = self.folder / f"{index:08d}{_SUFFIX}"
        segment = Segment.create(path, index, capacity, use_map=self._use_map)
        self._next_index += 1
        self._next_capacity = min(2 * capacity, self._max_capacity)
        return segment

    def trim(self, next_seq: int) -> bool:
        """Delete closed segments whose records are all below `next_seq`; True if any went."""
        gone = []
        with self.lock:
            while len(self.segments) > 1:
                first = self.segments[0]
                if not first.closed or first.first_seq + first.count > next_seq:
                    break
                gone.append(self.segments.popleft())
        for segment in gone:
            segment.discard()
        return bool(gone)

    def drop_oldest(self) -> bool:
        """Delete the oldest closed segment, unsent as it is; False where there is none.

        One that holds only rows, as long as there is one: the start of the run and its config are
        worth more than some old rows.
        """
        with self.lock:
            closed = list(self.segments)[:-1]
            if not closed:
                return False
            segment = next((s for s in closed if not s.events), closed[:2][-1])
            self.segments.remove(segment)
            gap = (segment.first_seq, segment.first_seq + segment.count)
            self._gaps = _joined(sorted([*self._gaps, gap]))
        segment.discard()
        return True

    def gone(self, seq: int) -> int:
        """Return how many sequence numbers from `seq` on went with dropped segments."""
        return sum(max(0, end - max(first, seq)) for first, end in self._gaps)

    def sync(self) -> None:
        """Flush the newest segments to the disk; blocks for milliseconds, so not on the loop."""
        with self.lock:
            files = [os.dup(s.fd) for s in list(self.segments)[-2:] if s.fd >= 0]
        for fd in files:
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def close(self, *, delete: bool = False) -> None:
        """Close every file; with `delete` also remove the folder."""
        with self.lock:
            segments, self.segments = list(self.segments), deque()
            self._discard_spares()
        for segment in segments:
            segment.discard() if delete else segment.close()
        if delete:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def _joined(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, end in gaps:
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def find_segments(folder: Path) -> list[Path]:
    """Return the paths of a journal's segments, oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def is_started(path: Path) -> bool:
    """Tell whether a segment's header is written; one made ahead of time is all zeros."""
    try:
        with path.open("rb") as file:
            return any(file.read(DATA_START))
    except FileNotFoundError:  # trimmed meanwhile
        return False


def _round_up(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
