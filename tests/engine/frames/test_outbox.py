"""An outbox loses nothing, repeats nothing and counts right, whatever the server answers and when.

A server that keeps what it took in a list, and may lose its end, stands at the other side. What is
sent comes from a real journal, which is trimmed and may drop rows that were not sent.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.frames.source import JournalSource, Prepared
from asyncwb.wire.rows.frames import MAX_FRAME, MAX_RAW, decode
from asyncwb.wire.stream import Presence, StreamHead
from tests.engine.lab import SMALL, Writer, writer

ROW, EVENT, LOST, ASIDE = "row", "event", "lost", "aside"
HEAD = StreamHead(None, "p", "r", "w1")


class OutboxAndServer(RuleBasedStateMachine):
    """The model: `written`, what each number is; `has`, what the server has under each.

    `told`: the number that the outbox heard last; `acknowledged`, the highest that it ever heard.
    `on_its_way`: requests that nobody has answered, oldest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.w = self.stack.enter_context(writer(first_capacity=SMALL, max_capacity=SMALL))
        source = JournalSource(Reader(LiveSegments(self.w.journal)))
        self.box = Outbox(HEAD, source, Progress(), aside=Aside(folder / "aside"))
        self.box.progress.moved.append(lambda seq: self.moves.append(seq))
        self.moves: list[int] = []
        self.written: list[str] = []
        self.has: list[str] = []
        self.on_its_way: list[list[Prepared]] = []
        self.told = self.acknowledged = 0
        self.aside = 0

    @rule(rows=st.integers(1, 200))
    def log(self, rows: int) -> None:
        for _ in range(rows):
            assert self.w.inbox.log({"i": len(self.written)})
            self.written.append(ROW)

    @rule()
    def say(self) -> None:
        self.w.inbox.event({"t": "config", "set": {"i": len(self.written)}, "delete": []})
        self.written.append(EVENT)

    @rule(limit=st.sampled_from([1, 2000, 8 * 2**20]))
    def fill(self, limit: int) -> None:
        waiting = self.box.waiting
        made = self.box.fill(limit)
        assert not (made and waiting >= limit), "as much as there may be waits"

    @rule(limit=st.sampled_from([1, 2000, MAX_RAW]), most=st.sampled_from([1, 500, MAX_FRAME]))
    def send(self, limit: int, most: int) -> None:
        frames = self.box.take(limit, most)
        assert frames == self.box.take(limit, most), "to look at them changes nothing"
        before = self.on_its_way[-1][-1].end_seq if self.on_its_way else self.told
        if frames:
            assert frames[0].first_seq <= before < frames[0].end_seq, "nothing left out, or again"
        if len(frames) > 1:
            assert sum(frame.raw for frame in frames) <= limit
            assert sum(len(frame.data) for frame in frames) <= most
        self.box.send(frames)
        if frames:
            self.on_its_way.append(frames)

    @precondition(lambda self: self.on_its_way)
    @rule(answered=st.booleans())
    def arrive(self, answered: bool) -> None:
        for frame in self.on_its_way.pop(0):
            self._take(frame)
        if answered:
            self.answer()
        else:  # whoever lost an answer sends all of it again
            self.fail()

    @rule()
    def fail(self) -> None:
        self.on_its_way.clear()
        self.box.unsend()

    @rule()
    def answer(self) -> None:
        heard = self.box.believe(len(self.has))
        assert heard == len(self.has), "it was all sent from here"
        self.box.acknowledge(heard)
        self.told = max(self.told, heard)
        self.acknowledged = max(self.acknowledged, heard)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.has[data.draw(st.integers(0, len(self.has)), label="left") :]
        self.on_its_way.clear()
        self.box.rewind(len(self.has))
        self.told = len(self.has)
        self.acknowledged = max(self.acknowledged, self.told)

    @rule(most=st.sampled_from([1, 300, MAX_FRAME]), raw=st.sampled_from([1, 300, MAX_RAW]))
    def narrow(self, most: int, raw: int) -> None:
        self.box.narrow(most, raw)

    @precondition(lambda self: [p.count for p in self.box.pending][:1] == [1])
    @rule()
    def set_aside(self) -> None:
        self.fail()
        first = self.box.pending[0]
        if not first.lost:
            self.box.set_aside("too large")
            if self.written[first.first_seq] == ROW and first.first_seq >= self.acknowledged:
                self.aside += 1

    @rule()
    def trim(self) -> None:
        self.w.journal.trim(self.box.progress.next_seq)

    @rule()
    def drop_oldest(self) -> None:
        self.w.journal.drop_oldest()

    @invariant()
    def sizes_are_right(self) -> None:
        pending = self.box.pending
        sent = self.on_its_way[-1][-1].end_seq if self.on_its_way else 0
        assert self.box.size == sum(len(frame.data) for frame in pending)
        assert self.box.waiting == sum(frame.raw for frame in pending if frame.first_seq >= sent)

    @invariant()
    def what_waits_goes_on_from_what_was_heard(self) -> None:
        pending = self.box.pending
        assert all(a.end_seq == b.first_seq for a, b in itertools.pairwise(pending))
        if pending:
            assert pending[0].first_seq <= self.told < pending[0].end_seq
            assert self.box.progress.ready_seq == pending[-1].end_seq

    @invariant()
    def progress_is_what_the_server_has(self) -> None:
        progress = self.box.progress
        assert progress.next_seq == self.told
        assert max(self.moves, default=0) == self.acknowledged
        has = self.has[: self.told]
        assert progress.rows <= has.count(ROW) + has.count(ASIDE)
        assert progress.rows >= has.count(ROW) - self.aside - self.written.count(EVENT)
        assert not self.box.settled.is_set()

    def teardown(self) -> None:
        with self.stack:
            self._send_all()

    def _send_all(self) -> None:
        """However it went, in the end the server has all, and both count the same."""
        self.fail()
        self.box.close()
        for _ in range(10 * len(self.written) + 100):
            if self.box.settled.is_set():
                break
            self.box.fill()
            self.send(MAX_RAW, MAX_FRAME)
            if self.on_its_way:
                self.arrive(answered=True)
        assert self.box.settled.is_set()
        self.sizes_are_right()
        assert (self.box.size, self.box.waiting, self.box.ended) == (0, 0, True)
        assert len(self.has) == len(self.written)
        progress = self.box.progress
        assert progress.lost == self.has.count(LOST)
        assert progress.rows <= self.has.count(ROW) + self.has.count(ASIDE)
        # One that was set aside is not counted, also where it is sent as a row after all; and an
        # event that is lost costs a row.
        pairs = zip(self.has, self.written, strict=True)
        events_lost = sum(had == LOST and was == EVENT for had, was in pairs)
        assert progress.rows >= self.has.count(ROW) - self.aside - events_lost

    def _take(self, frame: Prepared) -> None:
        assert frame.first_seq <= len(self.has), "a frame went missing"
        told = decode(frame.data, max_raw=frame.raw)
        assert (told.first_seq, told.count, told.table.n) == (
            frame.first_seq,
            frame.count,
            frame.rows,
        )
        seqs = range(frame.first_seq, frame.end_seq)
        if frame.lost:
            kinds = [LOST] * frame.lost
        elif told.lost:
            kinds = [ASIDE]
        else:
            kinds = [self.written[seq] for seq in seqs]
            rows = [row["i"] for row in told.table.iter_rows()]
            assert rows == [seq for seq in seqs if self.written[seq] == ROW]
            said = [event["set"]["i"] for _, event in told.events]
            assert said == [seq for seq in seqs if self.written[seq] == EVENT]
        self.has += kinds[max(0, len(self.has) - frame.first_seq) :]


TestOutboxAndServer = OutboxAndServer.TestCase
# Not shrunk: that takes longer than a test may.
TestOutboxAndServer.settings = settings(
    max_examples=60, stateful_step_count=40, phases=[Phase.reuse, Phase.generate]
)


@contextmanager
def outbox(rows: int = 10, **given: Any) -> Iterator[tuple[Writer, Outbox]]:
    """An outbox with so many rows in its journal."""
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        for i in range(rows):
            w.inbox.log({"i": i})
        source = JournalSource(Reader(LiveSegments(w.journal)))
        yield w, Outbox(HEAD, source, Progress(), written=lambda: w.inbox.next_seq, **given)


def send_all(box: Outbox) -> None:
    """Send what there is; the server takes it."""
    while box.fill() or box.fill():  # that a segment is closed is believed at the next look
        pass
    box.unsend()
    frames = box.take(MAX_RAW)
    box.send(frames)
    box.acknowledge(box.believe(frames[-1].end_seq))


def test_what_a_server_loses_twice_is_counted_once() -> None:
    with outbox(0) as (w, box):
        for _ in range(2):
            for i in range(300):
                w.inbox.log({"i": i})
            send_all(box)
            w.journal.trim(box.progress.next_seq)
            box.rewind(0)  # it has lost all of it
            send_all(box)
        gone = w.journal.segments[0].first_seq
        assert 300 < gone < 600
        assert box.progress.lost == gone


def test_what_a_server_has_lost_is_not_counted_as_acknowledged() -> None:
    with outbox(300) as (w, box):
        send_all(box)
        w.journal.trim(box.progress.next_seq)
        assert box.progress.rows == 300
        box.rewind(100)
        assert (box.progress.rows, box.progress.next_seq, box.progress.reached_at) == (
            100,
            100,
            None,
        )
        gone = w.journal.segments[0].first_seq - 100
        assert gone > 0
        while box.fill():
            pass
        box.send(box.take(MAX_RAW))
        box.acknowledge(100 + gone + 7)
        assert (box.progress.rows, box.progress.lost) == (107, gone)
        box.rewind(50)
        assert box.progress.rows == 50
        send_all(box)
        assert (box.progress.rows, box.progress.lost) == (300 - gone - 50, gone + 50)


@pytest.mark.parametrize("rewinds", [False, True])
def test_rows_of_which_a_server_has_a_part_of_the_frame_are_counted_once(rewinds: bool) -> None:
    with outbox() as (_, box):
        for seq in (4, 4, 6):
            box.fill()
            box.send(box.take(MAX_RAW))
            box.rewind(seq) if rewinds else box.acknowledge(seq)
            assert box.progress.rows == seq
        send_all(box)
        assert (box.progress.rows, box.progress.next_seq) == (10, 10)


@pytest.mark.parametrize("sent", [False, True])
def test_what_is_refused_stays_and_nothing_more_is_sent(sent: bool) -> None:
    with outbox() as (w, box):
        assert box.fill()
        if sent:
            box.send(box.take(MAX_RAW))
        box.refuse("no such run")
        assert box.settled.is_set()
        assert (box.progress.refused, box.progress.error) == ("no such run", "no such run")
        assert (box.size, box.waiting, box.take(MAX_RAW)) == (0, 0, [])
        w.inbox.log({"i": 10})
        assert not box.fill()
        assert (box.progress.next_seq, box.progress.ready_seq, box.progress.rows) == (0, 0, 0)
        assert len(w.rows()) == 11, "in the journal"


def test_one_that_is_stopped_counts_on_the_journal_only() -> None:
    with outbox(500) as (w, box):
        assert box.fill()
        w.journal.drop_oldest()
        assert box.progress.ready_seq > 0
        box.stop()
        assert box.settled.is_set()
        assert (box.progress.ready_seq, box.progress.lost) == (0, 0)
        assert w.journal.gone(0) > 0, "which is where the loss is counted now"


def test_what_was_not_sent_is_not_believed() -> None:
    with outbox() as (_, box):
        box.fill()
        assert box.believe(10) == 0
        assert box.overstated() is None, "another process may have sent it"
        assert box.believe(11) == 0
        assert "acknowledges 11 records of a writer that has written 10" in str(box.overstated())
        assert box.overstated(11) is None
        box.send(box.take(MAX_RAW))
        assert box.believe(3) == 3


@pytest.mark.parametrize(
    ("found", "live", "before", "last"),
    [
        (False, False, Presence.HERE, Presence.HERE),
        (True, True, Presence.HERE, Presence.HERE),
        (True, False, Presence.GONE, Presence.DONE),
    ],
)
def test_the_server_is_told_with_the_last_frame_that_a_writer_has_gone(
    found: bool, live: bool, before: Presence, last: Presence
) -> None:
    with outbox(found=found, live=live) as (_, box):
        box.close()
        box.fill()
        box.narrow(MAX_FRAME, 100)
        first, *_, end = box.pending
        assert box.head_with([end]).presence is before, "there may be more"
        assert not box.fill()
        assert box.ended is not live
        assert box.head_with([first]).presence is before
        assert box.head_with([first, end]).presence is last
        assert box.head_with([]).presence is before
        box.acknowledge(end.end_seq)
        assert box.head_with([]).presence is last
        assert box.settled.is_set()


def test_one_that_is_held_is_settled_once_the_server_has_heard_the_end() -> None:
    with outbox() as (_, box):
        box.holds = True
        box.close()
        send_all(box)
        assert not box.fill()
        assert not box.settled.is_set()
        box.holds = False
        box.acknowledge(box.progress.next_seq)
        assert box.settled.is_set()
