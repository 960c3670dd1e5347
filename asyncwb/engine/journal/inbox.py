"""The caller's side of `log()`: check the row, stamp it, give it a step, copy it into the journal.

This is the code that a training loop feels, so it does nothing else. The fast path, for a row of
plain numbers whose keys and types were seen before, is one method without a system call and
without a call that releases the interpreter lock (beside a busy thread each such call would wait
2.5 to 6 ms to get it back). Whatever the fast path cannot take goes to `_append`: new keys,
strings, nested values, explicit steps, a segment that is full.

A row is journaled the moment it is logged, also when its step stays open: rows of one step are
merged by whoever reads them.
"""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from asyncwb.engine.journal.checks import check_event, check_row, why_dropped, why_no_room
from asyncwb.engine.journal.holders import is_held, is_reentered
from asyncwb.engine.journal.journal import Journal
from asyncwb.engine.journal.kept_events import KeptEvents
from asyncwb.engine.journal.records import (
    EVENT,
    FIRST_SCHEMA,
    HEAD_SIZE,
    JSON_ROW,
    OPEN,
    SUM_SIZE,
    Schema,
    checksum,
    pack_text,
    sealed,
)
from asyncwb.engine.journal.segment import Segment
from asyncwb.engine.journal.writer_lock import WriterLock
from asyncwb.errors import JournalFull, StepError, UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire.history import STEP_MIN, StepRule, check_step
from asyncwb.wire.rows.keys import COMPUTED
from asyncwb.wire.rows.value_count import MAX_VALUES
from asyncwb.wire.rows.values import convert_row, dumps

_MAX_SCHEMAS: Final = 4096
_STUCK: Final = 0.5
"""seconds of waiting for the lock after which it is asked whether anybody holds it"""
_RESERVE: Final = 1024
"""bytes of each segment that only events may use: on a full disk the last ones (what was lost, how
the run ended) still find a place."""
_RETRY_DISK: Final = 1.0
"""seconds between attempts to allocate a segment on a full disk."""

_NOT_FAST: Final = (KeyError, TypeError, AttributeError, RuntimeError, struct.error)


_Row: TypeAlias = tuple[JsonObject, int | None, bool | None]
"""the arguments of `log()`; beside it, in the queue of what was deferred, events"""


class _MustWait(Exception):  # noqa: N818
    """The journal is full and the caller has to wait for room."""


class Inbox:
    """Takes rows and events of one writer into its journal, from any thread.

    Mutable state, guarded by `_lock`: the current segment with its mapping, `_end` and
    `_capacity` (for rows); `_schemas` (the latest of each tuple of keys), of which `_last` was used
    last, and `_announced` (numbers), all of this segment only; the step rule; `dropped`; `_late`,
    events that wait for room on the disk.
    """

    def __init__(
        self,
        journal: Journal,
        rule: StepRule,
        *,
        overflow: str = "block",
        clock: Callable[[], float] = time.time,
        known: Mapping[str, object] | None = None,
    ) -> None:
        self.rule = rule
        self.kept = KeptEvents(known or {})
        """the events that still hold, for a server that loses what it had"""
        self.dropped: Counter[str] = Counter()
        """rows that were not accepted, by reason."""
        self.closed = False
        self.reopen: Callable[[], Journal] | None = None
        """set in a forked child: makes the journal of a writer of its own."""
        self.disk_error: OSError | None = None
        """why the journal cannot grow just now; None where it can."""
        self._journal = journal
        self._overflow = overflow
        self._now = clock
        self._lock = WriterLock()
        self._takeover = threading.RLock()  # a signal handler may come while it is held
        self._known: dict[tuple[tuple[str, ...], tuple[type, ...]], Schema] = {}
        self._schemas: dict[tuple[str, ...], Schema] = {}
        self._last: Schema | None = None
        self._last_keys: list[str] | None = None
        self._announced: set[int] = set()
        self._segment: Segment | None = None
        self._map: Any = None
        self._end = 0
        self._capacity = 0
        self._count = 0
        self._events = 0
        self._first: JsonObject | None = None
        self._deferred: deque[_Row | JsonObject] = deque()
        self._owed: Counter[str] = Counter()
        self._late: list[JsonObject] = []
        self._no_room = ""
        self._fill_in: Callable[[JsonObject], JsonObject] | None = None
        self._disk_retry_at = 0.0

    @property
    def accepted(self) -> int:
        """Rows that `log()` has accepted; each of them is in the journal."""
        segment = self._segment
        return self._count + (segment.count if segment else 0) - self._events

    @property
    def next_seq(self) -> int:
        """The sequence number of the next record; once closed, behind those of `unwritten`, too."""
        segment = self._segment
        journaled = self._count + (segment.count if segment else 0)
        return journaled + len(self._late) if self.closed else journaled

    @property
    def unwritten(self) -> Sequence[JsonObject]:
        """Once closed, the events that found no place in the journal: the disk is full.

        They are the last of all, and have the numbers up to `next_seq`.
        """
        return self._late if self.closed else ()

    @property
    def holds_back(self) -> bool:
        """Whether something was taken that has found no place in the journal yet.

        That is what a signal handler logs in the middle of a row, and what is said on a full disk.
        """
        return bool(self._deferred or self._late)

    def log(
        self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None
    ) -> bool:
        """Take a row. False: the journal is full and the policy says that the caller waits.

        Raises:
            LogTypeError: not a mapping, a key that is no string, a value that no row can hold.
            StepError: the step went backwards and the policy says raise.
            JournalFull: the journal is full and the policy says raise.
            UsageError: the run has finished.
        """
        lock: Any = self._lock
        try:
            lock.pop()
        except IndexError:  # which is no part of the story of an error below
            lock = None
        if lock is None:
            if is_reentered(self, _HOLDERS, sys._getframe(1)):
                self._defer(data, step, commit)
                return True
            self._wait_for_lock()
            lock = self._lock
        before: tuple[int, bool] | None = None
        try:
            try:
                keys = [*data]
                if keys != self._last_keys:  # a comparison is cheaper than the hash of the keys
                    self._last = self._schemas[tuple(keys)]
                    self._last_keys = keys
                schema: Any = self._last
                values = data.values()
                if [*map(type, values)] == schema.types:
                    start = self._end
                    end = start + schema.size
                    if end <= self._capacity:
                        rule = self.rule
                        front = schema.front
                        if step is None and commit is None and rule.fast:
                            at = rule.step
                        else:
                            before = rule.step, rule.fast
                            given = rule.assign(step, commit)
                            if given.dropped:
                                self._drop(why_dropped(given))
                                return True
                            at = given.step
                            if given.open:
                                front = schema.open_front
                        record = schema.pack(front, self._now(), at, *values)
                        mapping, body = self._map, start + SUM_SIZE
                        mapping[body:end] = record
                        mapping[start:body] = checksum(record)  # last: see `records`
                        if step is None and commit is None:
                            rule.step = at + 1
                        segment: Any = self._segment
                        segment.count += 1
                        segment.end = self._end = end  # last: the reader goes by it
                        return True
            except _NOT_FAST:
                if before is not None:  # `_append` assigns the step again
                    self.rule.step, self.rule.fast = before
            return self._append(data, step, commit)
        except _MustWait:
            return False
        finally:
            lock.push(None)

    def event(self, event: JsonObject) -> None:
        """Take an event (config, summary, finish, ...); it may exceed the journal's bound.

        Raises:
            UsageError: the run has finished, or the event is too large for any server.
        """
        if not self._lock.take():
            if is_reentered(self, _HOLDERS, sys._getframe(1)):
                self._check_open()
                check_event(event)  # it is refused here, not when it is taken
                self._deferred.append(event)
                return
            self._wait_for_lock()
        try:
            self._check_open()
            self._flush_deferred()
            self._put_event(event)
        finally:
            self._lock.give()

    def close(self, last: JsonObject | None = None) -> None:
        """Take one last event, then refuse everything; calling it again does nothing."""
        if not self._lock.take():
            self._wait_for_lock()
        try:
            if self.closed:
                return
            self._flush_deferred()
            self._pay_debts()
            if last is not None:
                self._put_event(last)
            self.closed = True
            self._forget_schemas()
        finally:
            self._lock.give()

    def flush_deferred(self) -> None:
        """Take what signal handlers logged while a row was being packed.

        Never waits: whoever packs may be below a handler that waits for the caller of this.
        """
        if self._deferred and self._lock.take():
            try:
                self._flush_deferred()
            finally:
                self._lock.give()

    def count_dropped(self, reason: str, rows: int = 1) -> None:
        """Account for rows that were not accepted; the server is told at the next chance."""
        if not self._lock.take():
            if is_reentered(self, _HOLDERS, sys._getframe(1)):
                self._drop(reason, rows)
                return
            self._wait_for_lock()
        try:
            self._drop(reason, rows)
        finally:
            self._lock.give()

    def fill_rows(self, fill_in: Callable[[JsonObject], JsonObject]) -> None:
        """Pass every row through `fill_in` from now on, which ends the fast path."""
        taken = self._lock.take()
        if not taken and not is_reentered(self, _HOLDERS, sys._getframe(1)):
            self._wait_for_lock()
            taken = True
        try:  # a handler inside log() goes without
            self._fill_in = fill_in
            self._forget_schemas()
        finally:
            if taken:
                self._lock.give()

    def is_interrupted(self) -> bool:
        """Tell whether the caller is a signal handler (or a finaliser) inside a call of this."""
        return self._lock.is_taken and is_reentered(self, _HOLDERS, sys._getframe(1))

    def after_fork(self, reopen: Callable[[], Journal], first: JsonObject) -> None:
        """In a forked child: let go of the parent's journal; the next row opens one of its own.

        `reopen` makes that journal, `first` is the first event in it.
        """
        self._first = first
        self.kept = KeptEvents({})  # the lock of the parent's may be held by a thread not here
        self._lock = WriterLock()  # the parent's may be held by a thread that is not here
        self._takeover = threading.RLock()
        self.reopen = reopen
        self._deferred.clear()
        self._late.clear()
        self._forget_schemas()
        self._known.clear()
        self._owed.clear()
        self.dropped.clear()
        self._segment, self._map = None, None
        self._end = self._capacity = self._count = self._events = 0

    # With the lock from here on.

    def _append(self, data: Mapping[str, object], step: int | None, commit: bool | None) -> bool:
        self._check_open()
        self._flush_deferred()
        return self._take(data, step, commit)

    def _take(self, data: Mapping[str, object], step: int | None, commit: bool | None) -> bool:
        schema = self._schema(data)
        text, stamped = b"", None
        if schema is None or self._fill_in is not None:
            row, schema = convert_row(data), None
            text = dumps(self._fill_in(row.values) if self._fill_in else row.values)
            stamped = row.timestamp
        need = (schema.size + len(schema.define)) if schema else HEAD_SIZE + len(text) + 8
        check_row(need, text)
        room = self._make_room(need)
        given = self.rule.assign(step, commit)
        if given.dropped or not room:  # a row without room uses up its step all the same
            self._drop(why_dropped(given) if given.dropped else self._no_room)
            return True
        flags = OPEN if given.open else 0
        moment = self._now() if stamped is None else stamped
        try:
            if schema is None:
                self._put(pack_text(JSON_ROW, flags, moment, given.step, text))
                return True
            self._announce(schema, tuple(data))
            front = schema.open_front if given.open else schema.front
            self._put(sealed(schema.pack(front, moment, given.step, *data.values())))
        except OSError as error:  # a segment without a mapping, on a full disk
            self._drop_for(error)
        return True

    def _schema(self, data: Mapping[str, object]) -> Schema | None:
        """The row's schema, or None where it is not all plain numbers that fit 64 bits."""
        try:
            shape = (tuple(data), tuple(map(type, data.values())))
            schema = self._known.get(shape)
            if schema is None:
                if len(self._known) >= _MAX_SCHEMAS or not data or not COMPUTED.isdisjoint(data):
                    return None
                if 2 * len(data) >= MAX_VALUES:  # `check_row` finds that in its JSON
                    return None
                schema = Schema(FIRST_SCHEMA + len(self._known), data)
                self._known[shape] = schema
            schema.pack(b"", 0.0, 0, *data.values())
        except (KeyError, TypeError, AttributeError, struct.error):
            return None  # not all plain numbers, or not a mapping: convert_row() says which
        return schema

    def _forget_schemas(self) -> None:
        self._schemas.clear()
        self._last = self._last_keys = None

    def _announce(self, schema: Schema, keys: tuple[str, ...]) -> None:
        if schema.number not in self._announced:
            self._write(schema.define)
            self._announced.add(schema.number)
        if self._fill_in is None and self._map is not None:
            self._schemas[keys] = self._last = schema
            self._last_keys = [*keys]

    def _put_event(self, event: JsonObject) -> None:
        record = pack_text(EVENT, 0, self._now(), 0, check_event(event))
        if not self._make_room(len(record), force=True):
            self._late.append(event)
            return
        seq = self.next_seq
        try:
            self._put(record, events=1)
        except OSError as error:
            self.disk_error = error
            self._late.append(event)
        else:
            self.kept.note(seq, event)

    def _put(self, record: bytes, *, events: int = 0) -> None:
        self._write(record, 1, events)

    def _write(self, record: bytes, count: int = 0, events: int = 0) -> None:
        segment = self._segment
        assert segment is not None
        end = self._end + len(record)
        segment.append(self._end, record)
        # Without a call in between: a signal's exception can come at no other place.
        self._events += events
        segment.events += events
        segment.count += count
        segment.end = self._end = end

    def _make_room(self, need: int, *, force: bool = False) -> bool:
        """Rotate where the record does not fit. False: it has to be dropped, for `_no_room`.

        Raises:
            _MustWait: the journal is at its bound and the policy is to block.
            JournalFull: it is, and the policy is to raise.
        """
        reserve = _RESERVE if force and self._segment is not None else 0
        if self._end + need <= self._capacity + reserve:
            return True
        if self.reopen is not None:
            reopen, self.reopen = self.reopen, None
            self._journal = reopen()
        while (segment := self._rotate(need + _RESERVE, force)) is None:
            if self._disk_retry_at:
                self._no_room = why_no_room(self.disk_error)
                return False
            if self._overflow == "raise":
                raise JournalFull(
                    f"the journal in {self._journal.folder} has reached its bound of "
                    f"{self._journal.max_bytes} bytes: the row was not taken, those before it "
                    "are safe there. Raise `journal_max_bytes`, or choose another `overflow`."
                )
            if self._overflow == "block":
                raise _MustWait
            if not self._journal.drop_oldest():
                self._no_room = "overflow"
                return False
        self._enter(segment)
        return True

    def _rotate(self, need: int, force: bool) -> Segment | None:
        """Ask for the next segment; on a full disk at most once a second."""
        if self._disk_retry_at and time.monotonic() < self._disk_retry_at:
            return None
        self._disk_retry_at = 0.0
        try:
            return self._journal.rotate(self.next_seq, need, force=force)
        except OSError as error:
            self.disk_error = error
            self._disk_retry_at = time.monotonic() + _RETRY_DISK
            return None

    def _enter(self, segment: Segment) -> None:
        if self._segment is not None:
            self._count += self._segment.count
        self._segment = segment
        self._map, self._capacity, self._end = (
            segment.map,
            segment.capacity - _RESERVE,
            segment.end,
        )
        self._forget_schemas()
        self._announced.clear()
        self.disk_error = None
        first, self._first = self._first, None
        late, self._late = self._late, []
        for event in late if first is None else [first, *late]:
            self._put_event(event)
        self._pay_debts()

    def _drop(self, reason: str, rows: int = 1) -> None:
        self.dropped[reason] += rows
        self._owed[reason] += rows

    def _pay_debts(self) -> None:
        """Say what was dropped in an event of its own, once there is room for it."""
        if self._segment is None:
            return
        owed, self._owed = self._owed, Counter()
        for reason, rows in owed.items():
            self._put_event({"t": "lost", "rows": rows, "reason": reason})

    def _drop_for(self, error: OSError) -> None:
        self.disk_error = error
        self._drop(why_no_room(error))

    def _defer(self, data: Mapping[str, object], step: int | None, commit: bool | None) -> None:
        """Keep a row that comes in the middle of another; a bad one is refused here and now."""
        self._check_open()
        text = dumps(convert_row(data).values)
        check_row(len(text), text)
        if step is not None:
            check_step(step, STEP_MIN)
        self._deferred.append((dict(data), step, commit))

    def _flush_deferred(self) -> None:
        while self._deferred:
            deferred = self._deferred.popleft()
            if isinstance(deferred, dict):
                self._put_event(deferred)
                continue
            try:
                self._take(*deferred)
            except (_MustWait, JournalFull):
                self._drop("overflow")
            except StepError:
                self._drop("step_backwards")

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError(
                "the run has finished: nothing more can be logged to it. What was logged before "
                "is safe. Start another run with asyncwb.init(), or log before finish()."
            )

    def _wait_for_lock(self) -> None:
        """Take the lock, in the place of whoever lost it where it never comes back.

        Ctrl-C between taking it and entering the `try` leaves it taken for ever. One thread at a
        time takes a lock that it has waited for, so that a lost one has one heir.
        """
        while True:
            lock = self._lock
            lock.wait(_STUCK)
            with self._takeover:
                if lock is not self._lock:
                    continue
                if lock.take():
                    lock.taker = threading.get_ident()
                    return
                waiting = Inbox._wait_for_lock.__code__
                if not is_held(self, _HOLDERS, waiting, lock.taker):
                    self._lock = WriterLock(threading.get_ident())
                    return


_HOLDERS: Final = frozenset(
    method.__code__
    for method in (
        Inbox.log,
        Inbox.event,
        Inbox.close,
        Inbox.flush_deferred,
        Inbox.count_dropped,
        Inbox.fill_rows,
    )
)
