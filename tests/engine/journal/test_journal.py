"""The journal: every number is there in order, until it is acknowledged, whatever is called when.

And on its disk: what is forced there, what is made ahead, and who waits for it.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncwb.engine.frames.pipeline import FoundSegments, LiveSegments, Reader
from asyncwb.engine.journal.journal import find_segments, is_started
from asyncwb.engine.journal.segment import Segment
from tests.engine.lab import SMALL, Row, Writer, frames_of, writer
from tests.fix_disk import Disk

BOUND = 24 * SMALL
"""bytes that a journal under test may have"""


def fill(w: Writer, segments: int) -> None:
    """Log until so many segments are started."""
    while len(w.journal.segments) < segments:
        w.inbox.log({"i": w.inbox.next_seq})


@pytest.mark.parametrize("use_map", [True, False])
def test_every_segment_is_forced_to_the_disk_and_the_folder(
    use_map: bool, watched_disk: Disk
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL, use_map=use_map) as w:
        fill(w, 6)
        w.journal.sync()
        folder = w.journal.folder.resolve()
        assert {*watched_disk.forced} == {folder, *find_segments(folder)}
        watched_disk.forced.clear()
        w.inbox.log({"i": 0})
        w.journal.sync()
        assert watched_disk.forced == [find_segments(folder)[-1]], "only what is new"
        watched_disk.forced.clear()
        w.journal.sync()
        assert not watched_disk.forced


def test_what_the_disk_refused_once_is_never_called_safe(watched_disk: Disk) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 3)
        first = find_segments(w.journal.folder.resolve())[0]
        watched_disk.refuses = lambda path: path == first
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                w.journal.sync()
        w.journal.trim(w.journal.segments[0].count)
        w.journal.sync()  # the server has it now: nothing is owed to the disk


def test_a_segment_that_somebody_deleted_is_not_on_the_disk() -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 3)
        find_segments(w.journal.folder)[0].unlink()
        with pytest.raises(FileNotFoundError):
            w.journal.sync()


def held(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> tuple[Event, Event]:
    """Hold up whoever calls this in another thread; returns (it has come, let it go on)."""
    original, come, go_on = getattr(owner, name), Event(), Event()

    def hold(*args: Any, **more: Any) -> Any:
        if threading.current_thread().name == "engine":
            come.set()
            assert go_on.wait(60)
        return original(*args, **more)

    monkeypatch.setattr(owner, name, hold)
    return come, go_on


def while_engine(
    work: Callable[[], Any], come: Event, go_on: Event, then: Callable[[], Any]
) -> None:
    """Do `then` while the engine is held up in `work`; fails where it has to wait."""
    engine = Thread(target=work, name="engine")
    logs = Thread(target=then)
    engine.start()
    try:
        assert come.wait(60)
        logs.start()
        logs.join(60)
        assert not logs.is_alive(), "log() waits for the engine"
    finally:
        go_on.set()
        engine.join(60)
        logs.join(60)


@pytest.mark.parametrize("slow", [(os, "posix_fallocate"), (Segment, "populate")])
def test_log_does_not_wait_while_the_next_segment_is_made(
    slow: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 1)
        come, go_on = held(monkeypatch, *slow)
        while_engine(w.journal.prepare, come, go_on, lambda: fill(w, 4))
        assert len(w.journal.spares) == 1, "what log() has overtaken comes behind it"
        fill(w, 8)
        assert [row["i"] for row in w.rows()] == [*range(w.inbox.accepted)]
        assert w.found() == w.rows()


def test_log_does_not_wait_while_an_old_segment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 5)
        come, go_on = held(monkeypatch, mmap, "mmap")
        while_engine(w.rows, come, go_on, lambda: fill(w, 8))


def test_a_file_that_is_made_while_names_are_forced_is_forced_later(
    watched_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 1)
        come, go_on = held(monkeypatch, Segment, "create")
        while_engine(w.journal.prepare, come, go_on, w.journal.sync)
        watched_disk.forced.clear()
        fill(w, 2)
        assert not w.journal.spares, "the one that was made is written now"
        w.journal.sync()
        assert w.journal.folder.resolve() in watched_disk.forced


class JournalAndReaders(RuleBasedStateMachine):
    """A journal under every order of calls; the model: `written`, what each number is, and which
    numbers were dropped.

    `follows` reads from the beginning on; `read` is what it has got: rows, and what it missed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.written: list[Row] = []
        self.dropped: set[int] = set()
        self.acknowledged = 0
        self.read: list[Row | None] = []

    @initialize(use_map=st.booleans(), most=st.sampled_from([SMALL, 4 * SMALL]))
    def open(self, use_map: bool, most: int) -> None:
        self.w = self.stack.enter_context(
            writer(first_capacity=SMALL, max_capacity=most, max_bytes=BOUND, use_map=use_map)
        )
        self.journal = self.w.journal
        self.follows = Reader(LiveSegments(self.journal))

    @rule(rows=st.integers(1, 150), wide=st.sampled_from([0, 0, SMALL, 5 * SMALL]))
    def log(self, rows: int, wide: int) -> None:
        for i in range(rows):
            row = {"i": len(self.written)} | ({"wide": "x" * wide} if not i and wide else {})
            if not self.w.inbox.log(row):
                assert "wide" in row or not self.journal.has_room(), "full"
                return
            self.written.append({"_step": len(self.written), **row})

    @rule()
    def prepare(self) -> None:
        had_segments, had_room = bool(self.journal.segments), self.journal.has_room()
        self.journal.prepare()
        if had_segments and had_room:
            assert self.journal.spares
            assert not self.journal.lacks_spares

    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        first = self.acknowledged
        self.acknowledged = data.draw(st.integers(first, len(self.written)), label="next_seq")
        had_old, before = self.journal.has_old(self.acknowledged), [*self.journal.segments]
        assert self.journal.trim(self.acknowledged) == had_old
        gone = before[: len(before) - len(self.journal.segments)]
        assert all(s.first_seq + s.count <= self.acknowledged for s in gone)
        assert not self.journal.has_old(self.acknowledged)
        first_left = next(iter(self.journal.segments), None)
        if first_left is not None and first_left.closed:
            assert first_left.first_seq + first_left.count > self.acknowledged, "all that can go"

    @rule()
    def drop_oldest(self) -> None:
        before = [*self.journal.segments]
        went = self.journal.drop_oldest()
        assert went == (len(before) > 1), "never the one that is written"
        for segment in {*before} - {*self.journal.segments}:
            self.dropped |= {*range(segment.first_seq, segment.first_seq + segment.count)}

    @rule()
    def sync(self) -> None:
        self.journal.sync()
        assert all(segment.synced >= segment.end for segment in self.journal.segments)

    @rule()
    def follow(self) -> None:
        for frame in frames_of(self.follows):
            assert frame.first_seq == len(self.read)
            rows = [*frame.table.iter_rows()]
            self.read += [None] * frame.lost or [without_time(row) for row in rows]
        for seq, row in enumerate(self.read):
            assert row is None or row == self.written[seq]

    @rule()
    def look(self) -> None:
        assert self.w.rows() == self.kept(), "whoever comes now sees what was logged, and no more"

    @rule()
    def kill(self) -> None:
        """Whoever comes after SIGKILL finds the files as they are now."""
        found = FoundSegments(self.journal.folder)
        frames = frames_of(Reader(found))
        assert [without_time(r) for f in frames for r in f.table.iter_rows()] == self.kept()
        assert not found.damage

    @invariant()
    def segments_are_in_order_and_nothing_else_is_missing(self) -> None:
        if not hasattr(self, "journal"):
            return
        segments = [*self.journal.segments]
        numbers = [range(s.first_seq, s.first_seq + s.count) for s in segments]
        there = [seq for each in numbers for seq in each]
        assert there == sorted({*there})
        missing = {*range(len(self.written))} - {*there}
        assert all(seq < self.acknowledged or seq in self.dropped for seq in missing)
        indices = [segment.index for segment in [*segments, *self.journal.spares]]
        assert indices == sorted({*indices}), "spares come behind what is written"
        assert [segment.closed for segment in segments] == [True] * len(segments[:-1]) + [
            False for _ in segments[-1:]
        ]
        for seq in (0, self.acknowledged, len(self.written)):
            assert self.journal.gone(seq) == len([one for one in self.dropped if one >= seq])

    @invariant()
    def the_folder_holds_these_files(self) -> None:
        if not hasattr(self, "journal"):
            return
        segments = [*self.journal.segments, *self.journal.spares]
        assert find_segments(self.journal.folder) == [segment.path for segment in segments]
        assert self.journal.size == sum(segment.capacity for segment in segments) <= BOUND
        for segment in segments:
            assert int(segment.path.stem) == segment.index
            assert is_started(segment.path) == (segment not in self.journal.spares)

    def kept(self) -> list[Row]:
        """What is in the segments now."""
        return [
            self.written[seq]
            for s in self.journal.segments
            for seq in range(s.first_seq, s.first_seq + s.count)
        ]

    def teardown(self) -> None:
        with self.stack:
            self.follow()
            self.follow()  # that a segment is closed is believed at the next look
            assert len(self.read) == len(self.written)
            kept = self.kept()
            self.journal.close()
            self.journal.close()
            self.journal.prepare()
            assert not self.journal.segments
            assert not self.journal.spares
            assert not self.journal.trim(len(self.written))
            found = Reader(FoundSegments(self.journal.folder))
            rows = [without_time(r) for f in frames_of(found) for r in f.table.iter_rows()]
            assert rows == kept, "reopened"


TestJournalAndReaders = JournalAndReaders.TestCase
# Not shrunk: that takes longer than a test may.
TestJournalAndReaders.settings = settings(
    max_examples=60, stateful_step_count=30, phases=[Phase.reuse, Phase.generate]
)


def without_time(row: Row) -> Row:
    """A row as the model has it."""
    return {key: value for key, value in row.items() if key != "_timestamp"}


def test_a_journal_that_is_closed_for_good_leaves_nothing() -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 3)
        w.journal.prepare()
        w.journal.close(delete=True)
        assert not w.journal.folder.exists()


def test_segments_double_up_to_the_largest() -> None:
    with writer(first_capacity=SMALL, max_capacity=4 * SMALL) as w:
        fill(w, 5)
        sizes = [segment.capacity for segment in w.journal.segments]
        assert sizes == [SMALL, 2 * SMALL, 4 * SMALL, 4 * SMALL, 4 * SMALL]
        assert [path.stat().st_size for path in find_segments(w.journal.folder)] == sizes
