"""Where an outbox gets its frames: a journal, or the sealed file of an offline run before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from asyncwb.engine.frames.pipeline import Reader
from asyncwb.engine.journal.kept_events import KeptEvents
from asyncwb.engine.journal.sealed import SealedFrames
from asyncwb.printable import counted
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.rows.frames import Frame, FrameInfo, decode, encode_lost, peek


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
    """Makes frames of a journal's rows; `seen` is shown each of them decoded.

    `kept` has the events that are given again where the journal has them no more.

    `unwritten` gives the events that come behind the journal, for which the disk has no room, and
    the number after them: none before the journal is closed.

    `leaves_gaps`: nothing is given behind a gap. The process that writes the journal tells of it,
    and has the events that were in it.

    `again`: the server had the run's start, and has lost it.

    Mutable state: `_held`, frames in the place of a gap that are to be given next; `_stopped`,
    there was a gap that is left.
    """

    def __init__(
        self,
        reader: Reader,
        seen: Callable[[Frame], None] | None = None,
        unwritten: Callable[[], tuple[Sequence[JsonObject], int]] | None = None,
        kept: KeptEvents | None = None,
        *,
        leaves_gaps: bool = False,
        again: bool = False,
    ) -> None:
        self._reader = reader
        self._leaves_gaps = leaves_gaps
        self._seen = seen
        self._unwritten = unwritten
        self._kept = kept
        self._again = again
        self._stopped = False
        self._held: deque[Frame] = deque()

    def next(self) -> Prepared | None:
        if not self._held and (read := self._read()) is not None:
            self._stopped = self._stopped or (self._leaves_gaps and read.lost > 0)
            self._held.extend(() if self._stopped else self._filled(read))
        if not self._held:
            return None
        frame = self._held.popleft()
        if self._seen is not None:
            self._seen(frame)
        return prepare(frame)

    def _read(self) -> Frame | None:
        # Asked before the journal is read: that is final, where there are any.
        events, end = ((), 0) if self._unwritten is None else self._unwritten()
        frame = self._reader.read()
        first = end - len(events)
        if frame is None and first <= self._reader.seq < end:
            whole = Frame(first, empty(), tuple((0, event) for event in events))
            frame = whole.skip(self._reader.seq - first)
            self._reader.seq = end
        return frame

    def _filled(self, frame: Frame) -> Iterator[Frame]:
        """Give a frame; one that stands in for a gap, with the events that are kept in it."""
        if self._kept is None:
            yield frame
        elif frame.lost:
            yield from _filled(frame, self._kept)
        elif self._again and not frame.first_seq:
            kept = self._kept
            yield replace(frame, events=tuple((at, kept.anew(event)) for at, event in frame.events))
        else:
            yield frame

    def restart(self, seq: int) -> JournalSource:
        return JournalSource(
            self._reader.restart(seq),
            self._seen,
            self._unwritten,
            self._kept,
            leaves_gaps=self._leaves_gaps,
            again=not seq,
        )


class SealedSource:
    """Gives the frames of a sealed file as they are, then what the journal has behind them.

    `damage` tells what of the file could not be read. Where numbers are missing because of it, a
    frame stands in for them that says `lost`.

    Mutable state: `_seq`, the next number to be given; `_frames`, None once they are all given;
    `_held`, a frame that comes behind such a gap.
    """

    def __init__(
        self, folder: Path, journal: JournalSource, seq: int, damage: list[str] | None = None
    ) -> None:
        self.damage: list[str] = [] if damage is None else damage
        self._folder = folder
        self._journal = journal
        self._seq = seq
        self._sealed = SealedFrames(folder)
        self._frames: Iterator[tuple[FrameInfo, bytes]] | None = self._sealed
        self._held: Prepared | None = None

    def next(self) -> Prepared | None:
        prepared, self._held = self._held, None
        if prepared is None:
            prepared = self._next_sealed() if self._frames is not None else None
        if prepared is None:
            prepared = self._next_journaled()
        if prepared is not None:
            self._seq = prepared.end_seq
        return prepared

    def _next_sealed(self) -> Prepared | None:
        for info, data in self._sealed:
            if info.last_seq < self._seq:
                continue
            lost = info.count if info.lost else 0
            found = Prepared(info.first_seq, info.count, info.rows, lost, info.raw_size, data)
            missing = found.first_seq - self._seq
            if missing <= 0:
                return found
            are = counted(missing, "row or event is", "rows or events are")
            self._say(f"{are} missing in the middle, and counted as lost")
            self._held = found
            return stand_in(self._seq, missing, "sealed_gap")
        self._frames = None
        self._journal = self._journal.restart(self._seq)
        return None

    def _next_journaled(self) -> Prepared | None:
        found = self._journal.next()
        if found is not None and not found.lost:
            self._sealed.torn = 0  # an append that was cut short: its rows are in the journal
            return found
        again = SealedFrames(self._folder)
        if again.size > self._sealed.size:  # a run that goes on has sealed what is missing here
            self._sealed = self._frames = again
            return self._next_sealed() or self._next_journaled()
        if self._sealed.torn:
            torn = self._sealed.torn
            self._say(f"its last {torn:,} bytes are no whole frame; what they held is lost")
        return found

    def _say(self, what: str) -> None:
        message = f"{self._sealed.path}: {what}"
        if message not in self.damage:
            self.damage.append(message)

    def restart(self, seq: int) -> SealedSource:
        return SealedSource(self._folder, self._journal, seq, self.damage)


class BegunSource:
    """Gives the frames of a run that some process has left, and begins it where its own start is
    gone: then `begun` has an entry, and nobody knows what else the run had said of itself."""

    def __init__(self, source: Source, started_at: float, begun: list[float] | None = None) -> None:
        self.begun: list[float] = [] if begun is None else begun
        self._source = source
        self._started_at = started_at
        self._held: Prepared | None = None

    def next(self) -> Prepared | None:
        held, self._held = self._held, None
        prepared = held or self._source.next()
        if prepared is None or prepared.first_seq or not prepared.lost:
            return prepared
        self.begun.append(self._started_at)
        if prepared.count > 1:
            self._held = stand_in(1, prepared.count - 1, "journal_gap")
        start = {"t": "start", "at": self._started_at, "config": {}, "resume": "allow"}
        return prepare(Frame(0, empty(), ((0, start),)))

    def restart(self, seq: int) -> BegunSource:
        return BegunSource(self._source.restart(seq), self._started_at, self.begun)


class AnewSource:
    """Gives the frames of a run that is to be made where it is not there, whatever its `resume`
    said."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def next(self) -> Prepared | None:
        prepared = self._source.next()
        if prepared is None or prepared.first_seq or prepared.lost:
            return prepared
        frame = decode(prepared.data, max_raw=prepared.raw)
        events = tuple(
            (at, {**event, "resume": "allow"} if event.get("resume") == "must" else event)
            for at, event in frame.events
        )
        return prepare(replace(frame, events=events))

    def restart(self, seq: int) -> AnewSource:
        return AnewSource(self._source.restart(seq))


def prepare(frame: Frame) -> Prepared:
    """Encode a frame."""
    data = frame.encode()
    raw = peek(data).raw_size
    return Prepared(frame.first_seq, frame.count, frame.table.n, frame.lost, raw, data)


def rest_of(prepared: Prepared, seq: int) -> Prepared:
    """Return what a frame has from a sequence number on that lies within it."""
    frame = decode(prepared.data, max_raw=prepared.raw)
    return prepare(frame.skip(seq - prepared.first_seq))


def _filled(gap: Frame, kept: KeptEvents) -> Iterator[Frame]:
    """Put the events that are kept into a gap; what is lost stays around them."""
    seq, end = gap.first_seq, gap.first_seq + gap.lost
    for at, event in kept.between(seq, end):
        if seq < at:
            yield _lost_frame(seq, at - seq)
        yield Frame(at, empty(), ((0, event),))
        seq = at + 1
    if seq < end:
        yield _lost_frame(seq, end - seq)


def _lost_frame(seq: int, count: int) -> Frame:
    event = {"t": "lost", "rows": count, "reason": "journal_gap"}
    return Frame(seq, empty(), ((0, event),), lost=count)


def stand_in(seq: int, count: int, reason: str) -> Prepared:
    """Return a frame in the place of so many numbers that are not sent."""
    data = encode_lost(seq, count, reason)
    return Prepared(seq, count, 0, count, peek(data).raw_size, data)
