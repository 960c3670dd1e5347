"""What a request of ingest does to one run: decided here, on values alone, written elsewhere.

Frames are judged by the writer's next sequence number (`wire.ingest.admit`); what is admitted is
folded into the summary and its events change the run. The rules of a run's state:

    contact from a writer that has not finished   -> running, whatever the run was
    finish, and no other open writer is alive     -> finished (exit code 0) or failed
      within `crash_after`
    finish while others still write               -> stays running; its exit code is remembered
    leave (a forked child ends)                   -> stays as it was, unless it was the last one
                                                     and another had finished the run
    a forked child is killed                      -> as if it had left, where its parent has
                                                     finished the run
    no contact for `crash_after`                  -> whoever spoke last decides: finished or failed
                                                     if that was a finish, else crashed
    finish after somebody asked for a stop        -> killed, whatever the exit code
    preempt                                       -> preempting; from there a finish with an exit
                                                     code other than 0, and silence, -> preempted
    frames of a writer that is gone, sent by      -> stays as it was; what that writer said counts
      whoever found them                             as of when it said it
    the last of them                              -> the writer has left; if no other one has
                                                     sent a heartbeat, it is as if all were gone

A run that comes back to life (a new writer, or one that was only slow) forgets its end; one that
had ended for good also forgets that it was to stop. Where it is begun again, by a writer that is no
forked child, how those before it ended says nothing any more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from asyncwb.server.http.errors import StreamError
from asyncwb.server.store.records import NewFrame, RunChange, RunRecord, WriterRecord
from asyncwb.server.store.texts import storable
from asyncwb.typing import JsonObject
from asyncwb.wire import names
from asyncwb.wire.ingest import Admission, Presence, admit
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.rows.frames import Frame, FrameInfo
from asyncwb.wire.rows.value_count import has_too_many
from asyncwb.wire.rows.values import dumps
from asyncwb.wire.summary.fold import Fold

_TEXTS = {"notes": "notes", "group": "group_name", "job_type": "job_type"}
_ORIGIN = {"host": "host", "program": "program", "python": "python", "client": "client"}
_CHILD = re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}")
ALIVE = ("running", "preempting")
_LONGEST_ORIGIN = names.MAX_TEXT["program"]
INT32 = 2**31
"""exit codes lie below it, and above its negative"""


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A frame that was checked and decoded; `data` is what came."""

    info: FrameInfo
    frame: Frame
    data: bytes


@dataclass(slots=True)
class RunTransition:
    """One run during one request. Feed it streams with `take`, then ask for `change`.

    `config` is the run's config where an event of the request touches it, else None.
    `fold` likewise is only there where rows or events came.
    """

    record: RunRecord
    now: float
    crash_after: float
    fold: Fold | None = None
    config: JsonObject | None = None
    created: bool = False
    # What came of it; `_touched` names the writers that changed.
    frames: list[NewFrame] = field(default_factory=list)
    fields: dict[str, object] = field(default_factory=dict)
    _touched: set[str] = field(default_factory=set)
    _folded: bool = False
    _configured: bool = False
    _found: bool = False  # the frames at hand were left behind by a writer that is gone

    def tell(self, writer_id: str, event: Mapping[str, object]) -> None:
        """Apply an event that takes no sequence number; the writer is opened where it is new.

        For clients that number only their rows. The event is not stored, only what it changes.
        """
        writer = self.record.writers.get(writer_id)
        if writer is None:
            writer = self.open(writer_id, 0)
        self._touched.add(writer_id)
        if self.fold is not None:
            self.fold.apply(empty(), [(0, event)], writer_id)
            self._folded = True
        self._event(writer, event)

    def open(self, writer_id: str, next_seq: int, *, left: bool = False) -> WriterRecord:
        """Add a writer that begins at any number; one that has `left` says nothing of the run."""
        now = self.now
        writer = WriterRecord(writer_id, next_seq, opened_at=now, heartbeat_at=now)
        writer.finished_at = now if left else None
        self.record.writers[writer_id] = writer
        self._touched.add(writer_id)
        return writer

    def refold(self) -> None:
        """Say that the fold was changed from outside, so that it is written."""
        self._folded = True

    def touch(self, writer_id: str) -> None:
        """Say that a writer was changed, so that it is written."""
        self._touched.add(writer_id)

    def join(self, into: str, gone: str) -> None:
        """Let a writer go on where another one stands, whose numbers begin where its own end.

        The other one is no more; the caller deletes it (`IngestStore.forget_writers`).
        """
        kept, old = self.record.writers[into], self.record.writers.pop(gone)
        kept.next_seq = old.next_seq
        kept.rows += old.rows
        kept.lost += old.lost
        self._touched.discard(gone)
        self._touched.add(into)

    def take(
        self,
        writer_id: str,
        received: Sequence[ReceivedFrame],
        presence: Presence = Presence.HERE,
    ) -> int:
        """Apply one stream; returns the sequence number expected next.

        Raises:
            StreamError: a hole in the sequence, or the writer may not start here. What came
                before the hole is applied; all else of the stream is not.
        """
        self._found = presence is not Presence.HERE
        writer = self.record.writers.get(writer_id)
        if writer is None:
            writer = self._open(writer_id, received)
        self._touched.add(writer_id)
        was_open = writer.finished_at is None
        gap: StreamError | None = None
        for item in received:
            verdict, skip = admit(writer.next_seq, item.info)
            if verdict is Admission.GAP:
                gap = _gap(writer, item.info)
                break
            if verdict is not Admission.DUPLICATE:
                self._admit(writer, item, skip)
        if was_open and writer.finished_at is None:
            self._contact(writer)
        if gap is not None:
            raise gap
        if presence is Presence.DONE and writer.finished_at is None:
            self._end_writer(writer)
        return writer.next_seq

    @property
    def touched(self) -> bool:
        """Whether anything of the run is to be written."""
        return bool(self._touched)

    def _open(self, writer_id: str, received: Sequence[ReceivedFrame]) -> WriterRecord:
        if not received:
            raise StreamError(
                "writer_not_found",
                f"run {self.record.path} does not know this writer. Nothing was written; "
                "send its frames from 0.",
                next_seq=0,
            )
        heartbeat = 0.0 if self._found else self.now
        writer = WriterRecord(writer_id, opened_at=self.now, heartbeat_at=heartbeat)
        if received[0].info.first_seq > 0:
            raise _gap(writer, received[0].info)
        resume = _start_of(received[0].frame).get("resume")
        if resume == "never" and not self.created:
            raise StreamError(
                "run_exists",
                f"run {self.record.path} exists and resume='never' forbids to continue it. "
                "Nothing was written; choose another id, or resume='allow'.",
            )
        self.record.writers[writer_id] = writer
        return writer

    def _admit(self, writer: WriterRecord, item: ReceivedFrame, skip: int) -> None:
        frame, data = item.frame, item.data
        if skip:
            frame = frame.skip(skip)
            data = frame.encode()
        steps = frame.table.steps
        low, high = (int(steps.min()), int(steps.max())) if len(steps) else (None, None)
        self.frames.append(
            NewFrame(
                self.record.id,
                writer.writer,
                frame.first_seq,
                frame.count,
                frame.table.n,
                low,
                high,
                data,
            )
        )
        writer.next_seq = frame.first_seq + frame.count
        writer.rows += frame.table.n
        self.record.rows += frame.table.n
        if high is not None:
            last = self.record.last_step
            self.record.last_step = high if last is None else max(high, last)
        assert self.fold is not None
        self.fold.apply(frame.table, frame.events, writer.writer)
        self._folded = True
        if self._found and frame.table.n:
            self._spoke(writer, float(frame.table.times.max()))
        for _, event in frame.events:
            self._event(writer, event)

    def _forget_ends(self) -> None:
        """The run begins again: whoever had finished it has only left."""
        for name, writer in self.record.writers.items():
            if has_finished(writer):
                writer.exit_code = None
                self._touched.add(name)

    def _contact(self, writer: WriterRecord) -> None:
        record = self.record
        if self._found:
            if record.state in ALIVE:
                record.heartbeat_at = self.now  # it ends when all of it is here
            return
        writer.heartbeat_at = record.heartbeat_at = self.now
        if record.state not in ALIVE:
            if record.state != "crashed":
                record.stop_requested = False
            record.state = "running"
            record.finished_at = record.exit_code = None

    def _spoke(self, writer: WriterRecord, at: float) -> None:
        """A writer that is gone was alive then."""
        writer.heartbeat_at = min(self.now, max(writer.heartbeat_at, at))

    def _end_writer(self, writer: WriterRecord) -> None:
        """All is here that a writer left which never said that it ends."""
        record = self.record
        if record.state in ALIVE and not self._others_live(writer):
            _end_silent(record)
        writer.finished_at, writer.exit_code = writer.heartbeat_at, None

    def _others_live(self, writer: WriterRecord) -> bool:
        since = self.now - self.crash_after
        others = (w for w in self.record.writers.values() if w is not writer)
        return any(w.finished_at is None and w.heartbeat_at > since for w in others)

    # Events. Whatever has not the expected type, and a config value that is nested too deep, is
    # passed over, and a text that is too long is cut: the stream must go on.

    def _event(self, writer: WriterRecord, event: Mapping[str, object]) -> None:
        match event.get("t"):
            case "start":
                self._start(writer, event)
            case "config":
                self._set_config(event.get("set"), event.get("delete"))
            case "attrs":
                self._attributes(event)
            case "lost":
                rows = event.get("rows")
                if isinstance(rows, int) and 0 < rows < 2**53:
                    writer.lost += rows
                    self.record.lost += rows
            case "finish":
                self._finish(writer, event)
            case "leave":
                self._leave(writer, event)
            case "preempt":
                self._contact(writer)
                if self.record.state in ALIVE:  # always, but for a writer that is gone
                    self.record.state = "preempting"

    def _start(self, writer: WriterRecord, event: Mapping[str, object]) -> None:
        at = event.get("at")
        started = float(at) if isinstance(at, (int, float)) else self.now
        self.record.started_at = min(started, self.record.started_at or started)
        writer.finished_at = writer.exit_code = None
        if not (self._found or event.get("joins") or self.record.state in ALIVE):
            self._forget_ends()
        self._contact(writer)
        if self._found:
            self._spoke(writer, started)
        others = (w for w in self.record.writers.values() if w is not writer)
        if event.get("joins") and len(self.record.writers) > 1:
            return
        if self._found and any(w.heartbeat_at > started for w in others):
            self._set_config(event.get("config"), None, newer=self.config)
            return  # the others have said who and where the run is, too
        self._set_config(event.get("config"), None)
        self._attributes(event)
        for name, column in _ORIGIN.items():
            if isinstance(said := event.get(name), str):
                self.fields[column] = _text(said, _LONGEST_ORIGIN)

    def _set_config(
        self, values: object, deleted: object, *, newer: Mapping[str, object] | None = None
    ) -> None:
        if self.config is None or not (values or deleted):
            return
        if isinstance(values, dict):
            fit = keys.MAX_DEPTH - 1  # the config itself is a level
            fitting = {k: v for k, v in values.items() if not keys.is_too_deep(v, fit)}
            self.config |= {**fitting, **(newer or {})}
        for key in deleted if isinstance(deleted, list) else ():
            if isinstance(key, str):
                self.config.pop(key, None)
        self._configured = True

    def _attributes(self, event: Mapping[str, object]) -> None:
        name, tags = event.get("name"), event.get("tags")
        if isinstance(name, str) and name:
            self.fields["name"] = _text(name, names.MAX_TEXT["name"])
        if isinstance(tags, list) and (tags or event.get("t") == "attrs"):
            known = [_text(tag, names.MAX_TAG) for tag in tags if isinstance(tag, str)]
            self.fields["tags"] = [tag for tag in dict.fromkeys(known) if tag][: names.MAX_TAGS]
        for key, column in _TEXTS.items():
            if isinstance(said := event.get(key), str):
                self.fields[column] = _text(said, names.MAX_TEXT[key])
            elif event.get("t") == "attrs" and key in event and event[key] is None:
                self.fields[column] = None

    def _finish(self, writer: WriterRecord, event: Mapping[str, object]) -> None:
        code = event.get("exit_code")
        writer.exit_code = code if isinstance(code, int) and -INT32 <= code < INT32 else 0
        self._close(writer, event)

    def _leave(self, writer: WriterRecord, event: Mapping[str, object]) -> None:
        writer.exit_code = None
        self._close(writer, event)

    def _close(self, writer: WriterRecord, event: Mapping[str, object]) -> None:
        """A writer is done; the run has ended where some writer said so and none is at work."""
        record, at = self.record, event.get("at")
        writer.finished_at = float(at) if isinstance(at, (int, float)) else self.now
        if self._found:
            self._spoke(writer, writer.finished_at)
        else:
            writer.heartbeat_at = record.heartbeat_at = self.now
        ends = [w for w in record.writers.values() if has_finished(w)]
        if not ends:
            return
        _take_ends(record, ends)
        record.state = "running" if self._others_live(writer) else _end_of(record)

    # The end of the request.

    def number(self, run_id: int) -> None:
        """Give a run that had no row until now the id of its row."""
        self.record.id = run_id

    def change(self) -> RunChange:
        """Return what is to be written; encoding a wide run's fold or config takes time."""
        self.record.version += 1
        if self._folded and self.fold is not None:
            self.fields["fold"] = dumps(self.fold.state()).decode()
            self.fields["summary"] = dumps(self.fold.as_dict()).decode()
        if self._configured:
            text = dumps(self.config)
            if not has_too_many(text):  # or else it stays as it was: the stream must go on
                self.fields["config"] = text.decode()
        writers = tuple(self.record.writers[name] for name in sorted(self._touched))
        return RunChange(self.record, writers, self.fields, tuple(self.frames), self.now)


def expire(record: RunRecord) -> RunChange:
    """End a run whose writers have all gone silent."""
    _end_silent(record)
    record.version += 1
    return RunChange(record, (), {})


def _end_silent(record: RunRecord) -> None:
    finished = {w.writer: w for w in record.writers.values() if has_finished(w)}
    silent = [
        w.heartbeat_at
        for w in record.writers.values()
        if w.finished_at is None and _parent_of(w.writer) not in finished
    ]
    last = max((w.heartbeat_at for w in finished.values()), default=None)
    if last is not None and last >= max(silent, default=0.0):
        _take_ends(record, finished.values())
        record.state = _end_of(record)
    else:
        record.state = "preempted" if record.state == "preempting" else "crashed"
        heartbeats = (w.heartbeat_at for w in record.writers.values())
        record.finished_at = max(heartbeats, default=record.heartbeat_at)
        record.exit_code = None


def _take_ends(record: RunRecord, ends: Collection[WriterRecord]) -> None:
    record.exit_code = next((w.exit_code for w in ends if w.exit_code), 0)
    record.finished_at = max(w.finished_at or 0.0 for w in ends)


def _parent_of(writer: str) -> str | None:
    """Return the writer whose fork this one is, None where it is none."""
    found = _CHILD.fullmatch(writer)
    return found and found[1]


def has_finished(writer: WriterRecord) -> bool:
    """Tell whether a writer has finished the run, and not merely left it."""
    return writer.finished_at is not None and writer.exit_code is not None


def touches_config(frame: Frame) -> bool:
    """Tell whether the run's config must be at hand to apply this frame."""
    return any(event.get("t") in ("start", "config") for _, event in frame.events)


def _start_of(frame: Frame) -> Mapping[str, object]:
    for _, event in frame.events[:1]:
        if event.get("t") == "start":
            return event
    return {}


def requires_run(received: Sequence[ReceivedFrame]) -> bool:
    """Tell whether a stream may not create its run: a heartbeat, a later part, resume="must"."""
    if not received or received[0].info.first_seq > 0:
        return True
    return _start_of(received[0].frame).get("resume") == "must"


def _gap(writer: WriterRecord, info: FrameInfo) -> StreamError:
    return StreamError(
        "sequence_gap",
        f"expected number {writer.next_seq} and got {info.first_seq}. What came before is safe; "
        f"send again from {writer.next_seq}.",
        retry=True,
        next_seq=writer.next_seq,
    )


def _end_of(record: RunRecord) -> str:
    if record.stop_requested:
        return "killed"
    if not record.exit_code:
        return "finished"
    return "preempted" if record.state == "preempting" else "failed"


def _text(value: str, most: int) -> str:
    return storable(value)[:most]
