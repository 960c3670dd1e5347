"""The inbox: what `log()` takes is in the journal as it was meant, whatever comes in between."""

from __future__ import annotations

import contextlib
import errno
import itertools
import linecache
import mmap
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.journal import inbox
from asyncwb.engine.journal.holders import is_held
from asyncwb.engine.journal.inbox import Inbox
from asyncwb.engine.journal.segment import Segment
from asyncwb.errors import JournalFull, LogTypeError, StepError, UsageError
from asyncwb.wire.history import STEP_MAX, StepRule
from asyncwb.wire.rows.values import convert_row
from tests.engine.lab import SMALL, Row, Writer, events_of, frames_of, rows_of, writer
from tests.wire.rows_model import told

_SCALARS = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**63 - 1, 2**63, -(2**63) - 1, 2**70, 10**400, -(10**400)]),
    st.booleans(),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.floats().map(np.float64),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(0, 2**64 - 1).map(np.uint64),
    st.integers(-128, 127).map(np.int8),
    st.booleans().map(np.bool_),
)
_OTHERS = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.sampled_from(["x", "y.z"]), st.integers(0, 3) | st.text(), max_size=2),
)
_KEYS = st.sampled_from(["a", "b", "c.d", "é\\", "_hidden"])
_DATA = st.one_of(
    # Mostly plain numbers under few sets of keys, as training loops log them.
    st.dictionaries(_KEYS, _SCALARS, max_size=3),
    st.fixed_dictionaries({"a": st.floats(), "b": _SCALARS}),
    st.dictionaries(_KEYS, _SCALARS | _OTHERS, max_size=3),
)
_CALLS = st.lists(
    st.tuples(_DATA, st.none() | st.integers(0, 6), st.none() | st.booleans()), max_size=12
)


def expected(calls: list[tuple[Row, int | None, bool | None]], policy: Any) -> list[Row]:
    """Say what the journal holds after these calls, one at a time, without a fast path."""
    rule, rows = StepRule(policy), []
    for data, step, commit in calls:
        given = rule.assign(step, commit)
        if not given.dropped:
            row = {**convert_row(data).values, "_step": given.step}
            rows.append({**row, "_open": True} if given.open else row)
    return rows


def without_false(row: Row) -> Row:
    """Leave `_open` out where it is false: a table has it for all rows or for none."""
    return {key: value for key, value in row.items() if key != "_open" or value}


@pytest.mark.parametrize("use_map", [True, False], ids=["mapped", "write(2)"])
@given(calls=_CALLS, policy=st.sampled_from(["merge", "drop"]), limit=st.integers(1, 5))
def test_rows_of_every_shape_come_out_as_they_went_in(
    use_map: bool, calls: list[tuple[Row, int | None, bool | None]], policy: Any, limit: int
) -> None:
    with writer(policy=policy, first_capacity=SMALL, use_map=use_map) as w:
        for call in calls:
            assert w.inbox.log(*call)
        wanted = [told(row) for row in expected(calls, policy)]
        assert [told(without_false(row)) for row in w.rows()] == wanted
        assert [told(without_false(row)) for row in w.found()] == wanted
        pieces = frames_of(Reader(LiveSegments(w.journal)), max_rows=limit)
        assert [told(without_false(row)) for row in rows_of(pieces)] == wanted
        assert w.inbox.accepted == len(wanted)


@pytest.mark.parametrize("use_map", [True, False], ids=["mapped", "write(2)"])
def test_a_step_is_assigned_once_however_the_row_is_written(use_map: bool) -> None:
    with writer(policy="drop", use_map=use_map) as w:
        w.inbox.log({"a": 1})
        w.inbox.log({"a": 2**70}, step=5, commit=True)  # known keys, but it does not fit
        w.inbox.log({"a": 2**70}, commit=True)
        w.inbox.log({"a": 2}, commit=True)
        assert [row["_step"] for row in w.rows()] == [0, 5, 6, 7]
        assert not w.inbox.dropped


def test_rotation_trim_and_reading_from_anywhere() -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        for i in range(500):
            w.inbox.log({"i": i} if i % 3 else {"i": i, "s": str(i)})
            if i % 100 == 50:
                w.inbox.event({"t": "attrs", "n": i})
        assert len(w.journal.segments) > 5
        assert [row["i"] for row in w.rows()] == list(range(500))
        frames = frames_of(Reader(LiveSegments(w.journal), 333))
        assert frames[0].first_seq == 333
        size = w.journal.size
        w.journal.trim(400)
        assert w.journal.size < size
        found = [row["i"] for row in rows_of(frames_of(Reader(LiveSegments(w.journal), 400)))]
        assert found[-1] == 499
        assert len(found) >= 100
        w.journal.trim(10**9)
        assert len(w.journal.segments) == 1, "the segment that is written stays"


@pytest.mark.parametrize("policy", ["block", "raise"])
def test_a_full_journal_takes_rows_again_once_it_is_trimmed(policy: str) -> None:
    with writer(overflow=policy, max_bytes=2**16) as w:
        taken = fill(w)
        assert w.journal.size <= 2**16
        assert [row["i"] for row in w.rows()] == list(range(taken))
        w.inbox.event({"t": "attrs"})  # an event goes beyond the bound
        for _ in range(3):  # the segment that is written never fills the bound alone
            w.journal.trim(w.inbox.next_seq)
            assert w.inbox.log({"i": -1})
            fill(w)


def fill(w: Writer) -> int:
    """Log until the journal is full; return how many rows it took."""
    for i in range(10_000):
        try:
            if not w.inbox.log({"i": i}):
                return i
        except JournalFull:
            return i
    raise AssertionError("the journal has no bound")


def test_drop_oldest_counts_and_a_lost_frame_stands_in() -> None:
    with writer(overflow="drop_oldest", max_bytes=2**16) as w:
        w.inbox.event({"t": "start"})
        for i in range(5000):
            assert w.inbox.log({"i": i})
        frames = frames_of(Reader(LiveSegments(w.journal)))
        kept = [row["i"] for row in rows_of(frames)]
        (lost,) = [frame for frame in frames if frame.lost]
        assert frames[0].events == ((0, {"t": "start"}),), "the start of the run is kept"
        early = frames[0].table.n
        assert lost.first_seq == 1 + early
        assert kept == [*range(early), *range(early + lost.lost, 5000)]
        assert w.journal.gone(0) == lost.lost == 5000 - len(kept) > 0
        assert w.journal.gone(lost.first_seq + 10) == lost.lost - 10
        assert w.journal.gone(5001) == 0
        assert w.journal.size <= 2**16


def test_a_journal_of_events_only_drops_them_too() -> None:
    with writer(overflow="drop_oldest", max_bytes=2**16) as w:
        w.inbox.event({"t": "start"})
        for i in range(5000):
            w.inbox.event({"t": "config", "set": {"i": i}})
            assert w.inbox.log({"i": i})
        frames = frames_of(Reader(LiveSegments(w.journal)))
        assert frames[0].events[0] == (0, {"t": "start"})
        assert sum(frame.count for frame in frames) == 10001
        assert rows_of(frames)[-1]["i"] == 4999


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, OSError | None]]:
    """A disk that is full while `disk["error"]` is set, and time that passes when asked to."""
    state: dict[str, Any] = {"error": None, "now": 0.0}
    allocate = os.posix_fallocate

    def fallocate(fd: int, offset: int, size: int) -> None:
        if state["error"]:
            raise state["error"]
        allocate(fd, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    monkeypatch.setattr("asyncwb.engine.journal.inbox.time.monotonic", lambda: state["now"])
    yield state
    state["error"] = None


def test_a_full_disk_costs_rows_not_the_training(disk: dict[str, Any]) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        disk["error"] = OSError(errno.ENOSPC, "No space left on device")
        for i in range(200):
            assert w.inbox.log({"i": i})
        w.inbox.event({"t": "config", "set": {"kept": 1}, "delete": []})
        kept, dropped = w.inbox.accepted, w.inbox.dropped["disk_full"]
        assert (kept, kept + dropped) == (0, 200)
        assert w.inbox.disk_error is disk["error"]
        disk["error"] = None
        assert w.inbox.log({"i": 200})
        assert w.inbox.dropped["disk_full"] == 201, "it is tried once a second"
        disk["now"] += 1.1
        assert w.inbox.log({"i": 201})
        frames = frames_of(Reader(LiveSegments(w.journal)))
        assert rows_of(frames) == [{"_step": 201, "i": 201}], "lost rows keep their steps"
        assert events_of(frames) == [
            {"t": "config", "set": {"kept": 1}, "delete": []},
            {"t": "lost", "rows": 201, "reason": "disk_full"},
        ]
        assert w.inbox.disk_error is None


def test_a_disk_that_fills_up_under_write2(monkeypatch: pytest.MonkeyPatch) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL, use_map=False) as w:
        w.inbox.log({"i": 0})
        write, left = os.pwrite, [5]

        def pwrite(fd: int, data: Any, offset: int) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            part = min(left[0], len(data))  # a write may also be cut short
            left[0] -= part
            return write(fd, bytes(data)[:part], offset)

        monkeypatch.setattr(os, "pwrite", pwrite)
        for i in range(1, 10):
            assert w.inbox.log({"i": i})
        assert w.inbox.dropped == {"disk_full": 9}
        left[0] = 2**20
        for i in range(10, 500):
            assert w.inbox.log({"i": i})
        assert [row["i"] for row in w.rows()] == [0, *range(10, 500)]
        assert [row["i"] for row in w.found()] == [0, *range(10, 500)]


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EINVAL, errno.ENOMEM])
def test_where_files_cannot_be_mapped_they_are_written(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(code, "no mapping")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with writer(first_capacity=SMALL) as w:
        for i in range(300):
            w.inbox.log({"i": i, "x": i / 2}, commit=True)
        assert [(row["i"], row["_step"]) for row in w.rows()] == [(i, i) for i in range(300)]
        assert all(segment.map is None for segment in w.journal.segments)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (5, ""),
        ([("a", 1)], ""),
        (None, ""),
        ({1: 2.0}, ""),
        ({"a": object()}, "a"),
        ({"n": {"m": {1, object}}, "x": [object()]}, "x"),
        ({"s": "\ud800"}, "s"),
    ],
)
def test_what_no_row_can_hold_is_refused_by_name(data: Any, key: str) -> None:
    with writer() as w:
        w.inbox.log({"a": 1.0})
        with pytest.raises(LogTypeError) as caught:
            w.inbox.log(data)
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, ValueError)
        assert caught.value.key == key
        for bad in (1.5, "3", True, 2**63):
            with pytest.raises(LogTypeError):
                w.inbox.log({"a": 1.0}, step=bad)  # type: ignore[arg-type]
        w.inbox.log({"a": 2.0})
        assert w.rows() == [{"_step": 0, "a": 1.0}, {"_step": 1, "a": 2.0}]


def test_a_row_with_a_negative_step_is_dropped_and_counted() -> None:
    with writer() as w:
        for row in ({"a": 1.0}, {"a": 2.0}, {"text": "x"}):
            assert w.inbox.log(row, step=-1)
        w.inbox.log({"a": 3.0})
        assert (w.inbox.accepted, w.inbox.dropped) == (1, {"step_negative": 3})
        assert w.rows() == [{"_step": 0, "a": 3.0}]


def test_a_step_that_goes_backwards_under_raise_and_drop() -> None:
    with writer(policy="raise") as w:
        w.inbox.log({"a": 1}, step=5, commit=True)
        with pytest.raises(StepError):
            w.inbox.log({"a": 2}, step=3)
        assert w.inbox.accepted == 1
    with writer(policy="drop") as w:
        w.inbox.log({"a": 1}, step=5, commit=True)
        assert w.inbox.log({"a": 2}, step=3)
        w.inbox.close({"t": "finish"})
        assert w.inbox.dropped == {"step_backwards": 1}
        events = events_of(frames_of(Reader(LiveSegments(w.journal))))
        assert events == [
            {"t": "lost", "rows": 1, "reason": "step_backwards"},
            {"t": "finish"},
        ]


def test_a_step_is_refused_where_it_is_given_and_not_in_the_rows_after_it() -> None:
    with writer() as w:
        for commit in (None, True, False):
            for step in (2**63 - 1, 2**63 - 2, STEP_MAX + 1):
                with pytest.raises(LogTypeError, match="the row was not recorded"):
                    w.inbox.log({"i": 0}, step, commit)
        w.inbox.log({"i": 0}, STEP_MAX, True)
        for i in range(1, 4):
            w.inbox.log({"i": i})
        assert [row["_step"] - STEP_MAX for row in w.rows()] == [0, 1, 2, 3]


def test_nothing_is_taken_after_close() -> None:
    with writer() as w:
        w.inbox.log({"a": 1})
        w.inbox.close({"t": "finish"})
        w.inbox.close({"t": "finish"})
        for call in (lambda: w.inbox.log({"a": 2}), lambda: w.inbox.event({"t": "attrs"})):
            with pytest.raises(UsageError, match="has finished"):
                call()
        frames = frames_of(Reader(LiveSegments(w.journal)))
        assert (len(rows_of(frames)), events_of(frames)) == (1, [{"t": "finish"}])


def test_eight_threads_lose_nothing_and_repeat_nothing() -> None:
    with writer(first_capacity=SMALL) as w:
        start = threading.Barrier(8)

        def work(n: int) -> None:
            start.wait(60)
            for i in range(500):
                w.inbox.log({"n": n, "i": i} if i % 10 else {"n": n, "i": i, "s": "x"})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        rows = w.rows()
        assert [row["_step"] for row in rows] == list(range(4000))
        assert {(row["n"], row["i"]) for row in rows} == set(
            itertools.product(range(8), range(500))
        )
        for n in range(8):
            assert [row["i"] for row in rows if row["n"] == n] == list(range(500))


# A signal can come between any two lines: a tracer raises it, or calls what its handler calls.


_AFTER_NO_CALL = "segment.end = self._end = end"
"""where no signal's exception can come: between it and the line before there is no call"""


def at_each_line(function: Any, interrupt: Any, unless: str | None = None) -> Iterator[int]:
    """Run `function` again and again, interrupted at its first line of the inbox, the second...

    but not at lines that are `unless`.
    """
    for place in itertools.count():
        seen = -1

        def trace(frame: FrameType, event: str, _arg: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename != Inbox.log.__code__.co_filename:
                return None
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            if event == "line" and (unless is None or not line.startswith(unless)):
                seen += 1
                if seen == place:  # noqa: B023
                    sys.settrace(None)
                    interrupt()
            return trace

        sys.settrace(trace)
        try:
            function()
        finally:
            sys.settrace(None)
        yield place
        if seen < place:
            return


_ROWS: list[Row] = [{"a": 1.0}, {"a": 2.0}, {"s": "x"}, {"a": 2**70}, {"b": True}]


def test_a_handler_that_logs_in_the_middle_of_log() -> None:
    for data in _ROWS:
        count = itertools.count()
        with writer(first_capacity=SMALL) as w:
            w.inbox.log({"a": 0.0})

            def handler() -> None:
                n = next(count)  # noqa: B023
                w.inbox.log({"first": n})
                w.inbox.log({"second": n})
                w.inbox.event({"t": "attrs", "n": n})
                w.inbox.count_dropped("overflow")
                w.inbox.flush_deferred()
                with pytest.raises(LogTypeError):
                    w.inbox.log({"bad": object()})

            tries = sum(1 for _ in at_each_line(lambda: w.inbox.log(data), handler))  # noqa: B023
            w.inbox.log({"last": 0})
            calls = next(count)
            frames = frames_of(Reader(LiveSegments(w.journal)))
            rows = rows_of(frames)
            assert [row["first"] for row in rows if "first" in row] == list(range(calls))
            assert [row["second"] for row in rows if "second" in row] == list(range(calls))
            assert len(rows) == w.inbox.accepted == tries + 2 * calls + 2
            assert [row["_step"] for row in rows] == list(range(len(rows)))
            told = [event["n"] for event in events_of(frames) if event["t"] == "attrs"]
            assert told == list(range(calls))
            assert w.inbox.dropped == {"overflow": calls}


def test_an_exception_out_of_a_handler_leaves_the_journal_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncwb.engine.journal.inbox._STUCK", 0.001)
    for data in _ROWS:
        with writer(first_capacity=SMALL) as w:
            w.inbox.log({"a": 0.0})

            def interrupt() -> None:
                raise KeyboardInterrupt

            def log() -> None:
                try:
                    w.inbox.log(data)  # noqa: B023
                except KeyboardInterrupt:
                    return

            tries = sum(1 for _ in at_each_line(log, interrupt, _AFTER_NO_CALL))
            w.inbox.close({"t": "finish"})
            frames = frames_of(Reader(LiveSegments(w.journal)))
            assert 2 <= len(rows_of(frames)) <= tries + 1
            assert frames[-1].first_seq + frames[-1].count == w.inbox.next_seq


def test_a_real_signal_handler_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    with writer() as w:
        before = signal.signal(signal.SIGUSR1, lambda *_: w.inbox.log({"from": "handler"}) and None)
        write = Segment.write

        def interrupted(segment: Segment, offset: int, data: bytes) -> None:
            signal.raise_signal(signal.SIGUSR1)
            write(segment, offset, data)

        monkeypatch.setattr(Segment, "write", interrupted)
        try:
            w.inbox.log({"from": "loop"})
        finally:
            signal.signal(signal.SIGUSR1, before)
            monkeypatch.undo()
        w.inbox.log({"from": "later"})
        found = [row["from"] for row in w.rows()]
        assert found[0] == "loop"
        assert found[-1] == "later"
        assert set(found[1:-1]) == {"handler"}


def test_the_engine_does_not_wait_for_a_row_that_is_being_packed() -> None:
    with writer() as w:
        assert w.inbox._lock.take()  # as a row that a handler interrupted holds it
        w.inbox._deferred.append(({"a": 1}, None, None))
        done = threading.Thread(target=w.inbox.flush_deferred)
        done.start()
        done.join(60)
        assert not done.is_alive()
        w.inbox._lock.give()
        w.inbox.flush_deferred()
        assert w.rows() == [{"_step": 0, "a": 1}]


def test_a_lost_lock_has_one_heir(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads find in the same moment that nobody holds it."""
    both_look, both_write = threading.Barrier(2), threading.Barrier(2)
    inside = most = 0

    def look(*args: Any) -> bool:
        held = is_held(*args)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_look.wait(0.2)
        return held

    def append(inbox: Inbox, *args: Any) -> bool:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_write.wait(0.2)
        inside -= 1
        return _append(inbox, *args)

    _append = Inbox._append
    monkeypatch.setattr(Inbox, "_append", append)
    monkeypatch.setattr(inbox, "is_held", look)
    monkeypatch.setattr(inbox, "_STUCK", 0.01)
    with writer() as w:
        assert w.inbox._lock.take()  # and an interrupt came before the `try`
        threads = [threading.Thread(target=w.inbox.log, args=({"a": n},)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert most == 1
        assert sorted(row["a"] for row in w.rows()) == [0, 1]
