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
import threading
from collections import deque
from pathlib import Path
from typing import Final

from asyncwb.engine.journal.durable import force_names
from asyncwb.engine.journal.segment import DATA_START, PAGE, Segment

_SUFFIX: Final = ".seg"
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AT_HAND: Final = 2
"""segments that stay mapped: the one being written, and the one that is likely being read"""
_MOST_SPARES: Final = 4
"""segments made ahead: 16 MiB at full size, which the fastest caller takes 0.1 s to fill"""


def is_disk_full(error: OSError | None) -> bool:
    """Tell whether an error means that the disk, a quota or a file's bound is exhausted."""
    return error is not None and error.errno in _DISK_FULL


class Journal:
    """The segments of one writer, oldest first; the last one is being written.

    Mutable state, guarded by `lock` (never held while a row is packed, nor by the engine while the
    disk is at work): `segments`; `spares`, made ahead, ascending, all behind them; `_used`, how
    many segments were started since spares were made; `_next_index`, `_next_capacity`, and `_gaps`:
    [first, end) of the sequence numbers that went with dropped segments, ascending. `_named`: how
    often a file was made under a name; of how many of these the disk has the name: `_synced_names`.
    `_making` is held while spares are made; `log()` never asks for it.
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
        self._making = threading.Lock()
        self._next_index = 0
        self._used = 0
        self._named = 0
        self._synced_names = 0
        self._gaps: list[tuple[int, int]] = []
        # The segment being written is never deleted: it must leave room for the next one.
        share = max(PAGE, max_bytes // 4 // PAGE * PAGE)
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

    @property
    def lacks_spares(self) -> bool:
        """Whether segments were started, so that others should be made ahead of time."""
        return self._used > 0 or not self.spares

    def has_old(self, next_seq: int) -> bool:
        """Tell whether there is something to trim."""
        with self.lock:
            first = self.segments[0] if len(self.segments) > 1 else None
            return first is not None and _is_old(first, next_seq)

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
        with self._making:
            with self.lock:
                want = min(max(1, self._used), _MOST_SPARES)
                self._used = 0
            for _ in range(want):
                with self.lock:
                    if len(self.spares) >= want or not self.segments or not self.has_room():
                        return
                    path, capacity = self._next_path(), self._next_capacity
                # Without the lock, for which log() would have to wait.
                spare = Segment.create(path, capacity, use_map=self._use_map)
                try:
                    spare.populate()
                    self._put_behind(spare)
                except OSError:
                    spare.discard()
                    raise

    def _put_behind(self, spare: Segment) -> None:
        """Put a new segment behind all others; log() may have started some meanwhile."""
        while True:
            with self.lock:
                if spare.index > self.segments[-1].index:
                    self.spares.append(spare)
                    self._named += 1
                    self._next_capacity = min(2 * spare.capacity, self._max_capacity)
                    return
                path = self._next_path()
            spare.rename(path)

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
        segment = Segment.create(self._next_path(), capacity, use_map=self._use_map)
        self._named += 1
        self._next_capacity = min(2 * capacity, self._max_capacity)
        return segment

    def _next_path(self) -> Path:
        path = self.folder / f"{self._next_index:08d}{_SUFFIX}"
        self._next_index += 1
        return path

    def trim(self, next_seq: int) -> bool:
        """Delete closed segments whose records are all below `next_seq`; True if any went."""
        gone = []
        with self.lock:
            while len(self.segments) > 1:
                if not _is_old(self.segments[0], next_seq):
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
        """Force all that was written so far to the disk, and the names of its files.

        Blocks for milliseconds a segment that is not there yet, so not on the loop.

        Raises:
            OSError: the disk did not take all of it.
        """
        with self.lock:
            written = [(segment, segment.end) for segment in self.segments]
            names = self._named
        refused: OSError | None = None
        for segment, end in written:
            try:
                if segment.synced < end:
                    segment.sync(end)
            except OSError as error:
                if segment in self.segments:  # if not, it was sent meanwhile, or dropped
                    refused = refused or error
        if refused is not None:
            raise refused
        if self._synced_names < names:
            force_names(self.folder)
            self._synced_names = names

    def close(self, *, delete: bool = False) -> None:
        """Close every file; with `delete` also remove the folder."""
        with self._making, self.lock:
            segments, self.segments = list(self.segments), deque()
            self._discard_spares()
        for segment in segments:
            segment.discard() if delete else segment.close()
        if delete:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def _is_old(segment: Segment, next_seq: int) -> bool:
    return segment.closed and segment.first_seq + segment.count <= next_seq


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
    return -(-size // PAGE) * PAGE
