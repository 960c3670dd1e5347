"""Where an outbox gets its frames: a journal, or the sealed file of an offline run before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asyncwb.engine.pipeline import Reader
from asyncwb.engine.sealed import sealed_frames
from asyncwb.errors import FrameError
from asyncwb.wire.frames import Frame, FrameInfo, peek


@dataclass(frozen=True, slots=True)
class Prepared:
    """An encoded frame on its way.

    `lost`: how many rows it says are gone; `raw`: the bytes that it decompresses to.
    """

    first_seq: int
    count: int
    rows: int
    lost: int
    raw: int
    data: bytes

    @property
    def end_seq(self) -> int:
        """One past the last sequence number."""
        return self.first_seq + self.count


class Source(Protocol):
    """Gives a writer's frames in order."""

    def next(self) -> Prepared | None:
        """Return the next frame; None: nothing more for now."""

    def restart(self, seq: int) -> Source:
        """Return a source of the same frames from another sequence number."""


class JournalSource:
    """Makes frames of a journal's rows; `seen` is shown each of them decoded."""

    def __init__(self, reader: Reader, seen: Callable[[Frame], None] | None = None) -> None:
        self._reader = reader
        self._seen = seen

    def next(self) -> Prepared | None:
        frame = self._reader.read()
        if frame is None:
            return None
        if self._seen is not None:
            self._seen(frame)
        data = frame.encode()
        raw = peek(data).raw_size
        return Prepared(frame.first_seq, frame.count, frame.table.n, frame.lost, raw, data)

    def restart(self, seq: int) -> JournalSource:
        return JournalSource(self._reader.restart(seq), self._seen)


class SealedSource:
    """Gives the frames of a sealed file as they are, then those of the journal behind it.

    `damage` tells what of the file could not be read; the frames before it are given.
    """

    def __init__(
        self, folder: Path, journal: JournalSource, seq: int, damage: list[str] | None = None
    ) -> None:
        self.damage: list[str] = [] if damage is None else damage
        self._folder = folder
        self._journal = journal
        self._frames: Iterator[tuple[FrameInfo, bytes]] | None = sealed_frames(folder)
        self._seq = seq
        self._end = 0

    def next(self) -> Prepared | None:
        while self._frames is not None:
            try:
                found = next(self._frames, None)
            except FrameError as error:
                self.damage[:] = [error.message]
                found = None
            if found is None:
                self._frames = None
                self._journal = self._journal.restart(max(self._end, self._seq))
                break
            info, data = found
            self._end = info.last_seq + 1
            if self._end > self._seq:
                lost = info.count if info.lost else 0
                return Prepared(info.first_seq, info.count, info.rows, lost, info.raw_size, data)
        return self._journal.next()

    def restart(self, seq: int) -> SealedSource:
        return SealedSource(self._folder, self._journal, seq, self.damage)
