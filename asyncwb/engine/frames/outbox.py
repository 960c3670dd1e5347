"""The engine's side of one writer: what is to be sent, what is on its way, what has arrived.

Frames are made from the journal only as fast as there is memory for them, and kept until the
server acknowledges them; what lies behind them stays in the journal on disk. An outbox does no
input or output over the network: the uplink takes frames from it and tells it what came back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from asyncwb.engine.frames.fitting import cut, set_aside
from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.frames.source import Prepared, Source, rest_of
from asyncwb.engine.journal.folder import RunFolder
from asyncwb.printable import counted
from asyncwb.wire.rows.frames import MAX_FRAME, MAX_RAW
from asyncwb.wire.stream import Presence, StreamHead

_PENDING: Final = 8 * 2**20
"""raw bytes of frames that one writer keeps ready."""


class Outbox:
    """Frames of one writer, in order.

    Args:
        head: whose frames these are.
        source: gives them.
        progress: where it is noted how far they have come.
        folder: where a speaker may leave what it has to remember; None: nowhere.
        aside: takes what fits no request; None: then the writer is refused.
        found: some other process has written this journal, or still writes it (`live`).
        say: prints one line for the user, the first time it is called with a topic; None: nothing
            is said of this run.
        written: tells one past the last sequence number that there is; None: nobody knows before
            all is read.

    Mutable state, touched by the engine's loop only: `pending` with its size in bytes; what of it
    lies before `_sent` (a sequence number) is on its way, the rest has `waiting` raw bytes; the
    source, `closed` (no more rows will come), `not_before` (monotonic time before which nothing is
    sent), `rejections` (answers in a row that refused what was sent), `holds` (the server
    has to be told once more when this has ended: rows wait at the speaker for their step to be
    closed, or it does not know that a writer which died has said all), `claimed` (the highest
    number below which the server said it has all), `sent_to` (one past the last that it was sent),
    `unread` (why the source gives nothing, None where it gives), `unread_until` (monotonic time
    before which it is not asked again), `_gaps` ([first, end) of the numbers that were given as
    lost, which `progress.lost` counts), `_peak` (the server had all below it at some time), `_held`
    (the rows that it has, for `progress.rows`). What it loses is taken from these by its numbers,
    since its rows may be here no more to be counted, and given back by its numbers. `_each`, the
    raw bytes that a row had in the last frame.
    """

    def __init__(
        self,
        head: StreamHead,
        source: Source,
        progress: Progress,
        *,
        folder: RunFolder | None = None,
        aside: Aside | None = None,
        found: bool = False,
        live: bool = False,
        say: Callable[[str, str], None] | None = None,
        written: Callable[[], int] | None = None,
    ) -> None:
        self.head = head
        self.folder = folder
        self.aside = aside
        self.found = found
        self.live = live
        self.told: set[str] = set()
        """topics that concern all runs of an uplink, of which this one's user knows"""
        self._say = say
        self.progress = progress
        self.settled = anyio.Event()
        """set once nothing more will be sent: all is acknowledged, or refused."""
        self.stuck = anyio.Event()
        """set once a try has shown that nothing can be sent before a person acts"""
        self.closed = False
        self._hurries = 0
        self.not_before = 0.0
        self.sent_at = float("-inf")
        self.pending: deque[Prepared] = deque()
        self.size = 0
        self.waiting = 0
        self.rejections = 0
        self.holds = False
        self.claimed = 0
        self.sent_to = 0
        self.unread: str | None = None
        self.unread_until = 0.0
        self._written = written
        self._source = source
        self._sent = 0
        self._idle = False
        self._each = 0.0
        self._gaps: list[tuple[int, int]] = []
        self._peak = progress.next_seq
        self._held = progress.rows
        self._most, self._most_raw = MAX_FRAME, MAX_RAW

    @property
    def unread_bytes(self) -> float:
        """About how many bytes the rows and events have that no frame holds yet; where nobody knows
        how many there are, infinitely many."""
        if self._written is None:
            return math.inf
        return max(0, self._written() - self.progress.ready_seq) * self._each

    def head_with(self, frames: list[Prepared]) -> StreamHead:
        """Return the head under which frames travel: whether their writer lives, or these are all
        that it left behind."""
        if not self.found or self.live:
            return self.head
        last = self.ended and (not self.pending or frames[-1:] == [self.pending[-1]])
        return self.head._replace(presence=Presence.DONE if last else Presence.GONE)

    @property
    def has_user(self) -> bool:
        """Whether somebody is told what happens to this run."""
        return self._say is not None

    def say(self, topic: str, text: str) -> None:
        """Print a line for the user, the first time it is called with this topic."""
        if self._say is not None:
            self._say(topic, text)

    def say_aside(self, what: str, size: int, why: str) -> None:
        """Tell the user of the first thing that was set aside."""
        assert self.aside is not None
        self.say(
            "aside",
            f"run {self.head.project}/{self.head.run}: {what} of {size:,} bytes is {why}. Such is "
            f"set aside in {self.aside.folder} as JSON, and the rest is sent. Raise the limit "
            "where it is a proxy's (nginx: client_max_body_size).",
        )

    def fill(self, limit: int = _PENDING) -> bool:
        """Make one more frame unless `limit` raw bytes wait; True if there was data for it."""
        if self.waiting >= limit or self.progress.refused:
            return False
        prepared = self._source.next()
        self._idle = prepared is None
        if prepared is None:
            self._check_settled()
            return False
        self._count_lost(prepared)
        self._each = prepared.raw / max(1, prepared.count)
        for part in cut(prepared, self._most, self._most_raw):
            self.pending.append(part)
            self.size += len(part.data)
            self.waiting += part.raw
        self.progress.ready_seq = prepared.end_seq
        return True

    def narrow(self, most: int, most_raw: int) -> None:
        """Make frames of at most `most` bytes, `most_raw` when decompressed, from now on, of those
        that wait, too; one row or event may have more."""
        self._most, self._most_raw = most, most_raw
        self.pending = deque(part for each in self.pending for part in cut(each, most, most_raw))
        self._count_pending()

    def set_aside(self, why: str) -> None:
        """Keep the first frame, of one row or event, as JSON: it fits no request, as `why` says.

        Raises:
            OSError: the disk does not take it.
        """
        assert self.aside is not None
        self.pending[0] = set_aside(self.pending[0], self.aside, why)
        self._count_pending()

    def _count_pending(self) -> None:
        self.size = sum(len(each.data) for each in self.pending)
        self.waiting = sum(each.raw for each in self.pending if each.first_seq >= self._sent)

    def take(self, limit: int, most: int = MAX_FRAME) -> list[Prepared]:
        """Return the first frames that are not on their way: up to `limit` raw bytes and `most`
        encoded ones, or one frame."""
        taken: list[Prepared] = []
        for prepared in self.pending:
            if prepared.first_seq < self._sent:
                continue
            limit -= prepared.raw
            most -= len(prepared.data)
            if taken and (limit < 0 or most < 0):
                break
            taken.append(prepared)
        return taken

    def send(self, frames: list[Prepared]) -> None:
        """Note that these frames, which `take` gave, are on their way."""
        if frames:
            self._sent = frames[-1].end_seq
            self.sent_to = max(self.sent_to, self._sent)
            self.waiting -= sum(prepared.raw for prepared in frames)

    def unsend(self) -> None:
        """Note that nothing is on its way any more: whatever is pending is to be sent (again)."""
        self._sent = 0
        self._count_pending()

    def _drop_first(self) -> Prepared:
        done = self.pending.popleft()
        self.size -= len(done.data)
        if done.first_seq >= self._sent:
            self.waiting -= done.raw
        return done

    def _drop_all(self) -> None:
        self._forget_ready()
        self.pending.clear()
        self.size = self.waiting = 0

    def _forget_ready(self) -> None:
        """Count on the frames in memory no more: only what the journal holds is safe."""
        at = self.progress.ready_seq = self.progress.next_seq
        self._count_gaps((first, min(end, at)) for first, end in self._gaps if first < at)

    def _count_lost(self, prepared: Prepared) -> None:
        if prepared.lost:  # a server that loses its data again is told of it again, and of more
            first, end = prepared.first_seq, prepared.end_seq
            met = [gap for gap in self._gaps if first <= gap[1] and gap[0] <= end]
            joined = min([first, *(gap[0] for gap in met)]), max([end, *(gap[1] for gap in met)])
            self._count_gaps([*(gap for gap in self._gaps if gap not in met), joined])

    def _count_gaps(self, gaps: Iterable[tuple[int, int]]) -> None:
        self._gaps = [*gaps]
        self.progress.lost = sum(end - first for first, end in self._gaps)

    def believe(self, next_seq: int) -> int:
        """Note what the server says that it has; returns how much of that can be believed.

        What another process of this machine has sent it may know, too, and is sent once more.
        """
        self.claimed = max(self.claimed, next_seq)
        return min(next_seq, self.sent_to)

    def overstated(self, written: int | None = None) -> str | None:
        """Tell in words that the server claims more than was ever written, if it does.

        `written`: one past the last sequence number, where the caller knows it.
        """
        if written is None and self._written is not None:
            written = self._written()
        if written is None or self.claimed <= written:
            return None
        return (
            f"the server acknowledges {counted(self.claimed, 'record')} of a writer that has "
            f"written {written:,}: it is not believed, and nothing is deleted"
        )

    def acknowledge(self, next_seq: int) -> None:
        """Let go of everything below `next_seq`: the server has committed it."""
        known = self.progress.next_seq
        while self.pending and self.pending[0].end_seq <= next_seq:
            done = self._drop_first()
            self._count_lost(done)  # again, where it came too late to be counted on
            self._count_held(done, known, done.end_seq)
            known = max(known, done.end_seq)
        if self.pending and self.pending[0].first_seq < next_seq:
            self._count_held(self.pending[0], known, next_seq)
        if next_seq > self.progress.next_seq:
            self.progress.reach(next_seq)
            self._peak = max(self._peak, next_seq)
            self.rejections = 0
            for moved in self.progress.moved:
                moved(next_seq)
        self._check_settled()

    def _count_held(self, prepared: Prepared, first: int, end: int) -> None:
        """Count the rows of a frame, from a number on and below another one, as the server's."""
        first = max(first, prepared.first_seq)
        if first < end and not prepared.lost:
            again = max(0, min(end, self._peak) - first)
            self.add_held(again + _rows_between(prepared, first + again, end))

    def add_held(self, rows: int) -> None:
        """Count so many rows more (less than 0: fewer) as the server's."""
        self._held += rows
        self.progress.rows = max(0, self._held)

    def _count_fallen(self, next_seq: int) -> None:
        """Count nothing behind `next_seq` as the server's any more."""
        last = self.progress.next_seq
        lost = sum(max(0, min(end, last) - max(first, next_seq)) for first, end in self._gaps)
        self.add_held(lost - (last - next_seq))
        self.progress.fall_back(next_seq)

    def rewind(self, next_seq: int) -> None:
        """Send again from `next_seq`: the server has less, or more, than we thought.

        What the journal no longer holds is sent as a frame that says `lost`.
        """
        if next_seq < self.progress.next_seq:
            self._count_fallen(next_seq)
        self.acknowledge(next_seq)
        self.unsend()
        kept = [p for p in self.pending if p.first_seq >= next_seq]
        if kept and kept[0].first_seq == next_seq:
            while self.pending and self.pending[0].first_seq < next_seq:
                self._drop_first()
            return
        self._drop_all()
        self._source = self._source.restart(next_seq)
        self._idle = False

    def refuse(self, reason: str) -> None:
        """Stop sending: the server will never take this. The data stays in the journal."""
        self.progress.refused = self.progress.error = reason
        self._drop_all()
        self.settled.set()

    def stop(self) -> None:
        """Send no more: whoever finished the run did not wait longer. The data stays."""
        self._forget_ready()
        self.settled.set()

    def close(self) -> None:
        """No more rows will come: once all is acknowledged, the outbox is settled."""
        self.closed = True
        self._idle = False
        self.try_again()

    def try_again(self) -> None:
        """Somebody begins to wait: have it tried once more, though a person had to act first."""
        if self.stuck.is_set():
            self.stuck = anyio.Event()

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for what was logged: then it is sent without gathering more."""
        return self.closed or self._hurries > 0

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Somebody waits for what was logged, for as long as the block lasts."""
        self._hurries += 1
        try:
            yield
        finally:
            self._hurries -= 1

    @property
    def ended(self) -> bool:
        """Whether every row is made into a frame, and nothing will ever follow."""
        return self.closed and self._idle and not self.live

    def _check_settled(self) -> None:
        if self.closed and self._idle and not self.pending and not (self.holds and self.ended):
            self.settled.set()


def _rows_between(prepared: Prepared, first: int, end: int) -> int:
    """Count a frame's rows from a number on, below another one that lies within it."""
    if not prepared.rows or first >= end:
        return 0
    if (first, end) == (prepared.first_seq, prepared.end_seq):
        return prepared.rows
    rest = rest_of(prepared, first) if prepared.first_seq < first else prepared
    return rest.rows - (rest_of(rest, end).rows if end < rest.end_seq else 0)
