"""One writer of one run, as its faces see it: what they may call, and what it costs.

A session is made on the caller's thread and lives there: inbox, journal, folder, accounting. Its
other half, the outbox, is the engine's. Several faces of one run share one session.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

from asyncwb.descriptors import lacks_descriptors
from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.journal.checks import check_event
from asyncwb.engine.journal.folder import Description, RunFolder, child_of
from asyncwb.engine.journal.inbox import Inbox
from asyncwb.engine.journal.journal import Journal
from asyncwb.engine.notices import Notices
from asyncwb.engine.process import stopping
from asyncwb.engine.process.ending import Ending, Others
from asyncwb.engine.summary import LocalSummary
from asyncwb.engine.uploads.saved import FileAccount, Link, Saved
from asyncwb.errors import EngineStopped, Error
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.history import StepRule
from asyncwb.wire.stream import StreamHead
from asyncwb.wire.summary.metrics import MetricRule, MetricRules

if TYPE_CHECKING:  # they bring aiohttp along, which no caller's thread loads
    from asyncwb.engine.uplink.embedded import Address
    from asyncwb.engine.uplink.http import Http

T = TypeVar("T")

_live: Final[weakref.WeakSet[Session]] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What became of the rows that were logged, and of the files that were saved.

    Attributes:
        accepted: rows for which `log()` returned.
        journaled: of these, still on this disk only.
        acknowledged: of these, committed by the server (offline: sealed on disk).
        dropped: rows that were lost, by reason.
        lag: seconds that the oldest row that the server lacks may have waited (to 0.1 s), 0.0 when
            it has all.
        last_error: what last went wrong, None once it is right again.
        connected: whether the server took the last request.
        files_waiting: files that the server does not have as they are now.
        files_uploaded: files of which it has some version.
        files_failed: names of files that could not be sent, with why.
    """

    accepted: int
    journaled: int
    acknowledged: int
    dropped: Mapping[str, int]
    lag: float
    last_error: str | None
    connected: bool
    files_waiting: int = 0
    files_uploaded: int = 0
    files_failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Rows dropped for whatever reason."""
        return sum(self.dropped.values())

    @property
    def sync_items_total(self) -> int:
        """Rows logged, under W&B's name."""
        return self.accepted

    @property
    def sync_items_pending(self) -> int:
        """Rows that the server does not have yet, under W&B's name."""
        return self.journaled

    @property
    def sync_time(self) -> float:
        """The lag in seconds, under W&B's name."""
        return self.lag


class Worker(Protocol):
    """What may be asked of the engine's other half, on its own loop: see `engine.worker`."""

    @property
    def http(self) -> Http:
        """The connections with the usual timeout."""

    def connections(self, timeout: float) -> Http:
        """The connections whose requests may take `timeout` seconds."""

    async def address(self, settings: Settings) -> Address:
        """Find the server that these settings mean, starting the embedded one if need be."""

    async def find_run(self, settings: Settings, head: StreamHead) -> JsonObject | None:
        """Look for a run that is to be gone on with."""

    async def attach(self, session: Session) -> None:
        """Start sending (or sealing) what a session logs."""

    async def log_when_room(
        self, session: Session, data: JsonObject, step: int | None, commit: bool | None
    ) -> None:
        """Log a row once the full journal has room."""

    async def upload(self, session: Session) -> None:
        """Look at a session's saved files."""

    async def flush(self, session: Session, timeout: float) -> bool:
        """Wait until what was logged so far is acknowledged (offline: sealed on disk)."""

    async def sync(self, session: Session) -> bool:
        """Force what was logged so far to the disk."""

    async def finish(self, session: Session, timeout: float, *, ends_run: bool) -> Ending:
        """Send the rest of a closed session and let go of its folder."""

    async def send_others(self, session: Session, timeout: float) -> Others:
        """Send what other processes left of a session's run."""


class RunInbox(Protocol):
    """Takes what a run says besides its rows: see `engine.journal.inbox`."""

    disk_error: OSError | None
    """why the journal could not grow; None once it could"""

    @property
    def unwritten(self) -> Sequence[JsonObject]:
        """Once closed, the events that the journal could not take, for `disk_error`."""

    def event(self, event: JsonObject) -> None:
        """Take an event; raises UsageError once the run has finished."""

    def count_dropped(self, reason: str) -> None:
        """Account for a row that was not accepted."""

    def is_interrupted(self) -> bool:
        """Tell whether the caller is a signal handler inside a call of this."""


class RunSummary(Protocol):
    """The summary as far as this process knows it: see `engine.summary`."""

    def read(self) -> JsonObject:
        """Return the last values by path."""


class RunPlace(Protocol):
    """Where a run lies on this disk: see `engine.journal.folder`."""

    @property
    def path(self) -> Path:
        """All of it."""

    @property
    def files(self) -> Path:
        """The user's files."""


class AnySession(Protocol):
    """What the faces of a run ask of its session, whatever becomes of what is logged: `Session`,
    or `DisabledSession`."""

    settings: Settings
    head: StreamHead
    notices: Notices
    rule: StepRule
    progress: Progress
    aside: Aside
    sync_error: OSError | None

    @property
    def inbox(self) -> RunInbox:
        """Where events go."""

    @property
    def summary(self) -> RunSummary:
        """What is read of the summary."""

    @property
    def folder(self) -> RunPlace:
        """Where the run lies."""

    @property
    def has_arrived(self) -> bool:
        """Whether nothing that was said is still owed to a server."""

    def log(
        self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None
    ) -> bool:
        """Take a row; raises what it cannot be. False: the caller has to wait for room."""

    def log_when_room(
        self, data: JsonObject, step: int | None, commit: bool | None
    ) -> Future[None]:
        """Take a row once there is room."""

    def define(self, event: JsonObject) -> MetricRule:
        """Take a metric definition, and return the rule that holds for its name from now on."""

    def status(self) -> RunStatus:
        """Count what was accepted, acknowledged and dropped."""

    def flush(self, *, durable: bool, timeout: float) -> Future[bool]:
        """Have everything logged so far acknowledged; `durable`: on this machine's disk."""

    def finish(self, exit_code: int | None, timeout: float) -> Future[Ending]:
        """Refuse everything from now on, and send the rest."""

    def send_others(self, timeout: float) -> Future[Others]:
        """Send what processes that have ended meanwhile left of the run."""

    def release(self, *, complete: bool) -> None:
        """Let go of what is held on this disk, after `finish`."""


Work: TypeAlias = Callable[[Worker], Coroutine[object, object, T]]
"""a coroutine function that the engine is to run"""


class Submits(Protocol):
    """The engine, as far as a session needs it."""

    def submit(self, work: Work[T]) -> Future[T]:
        """Run `work(worker)` on the engine's loop; never waits."""

    @property
    def problem(self) -> str | None:
        """Why nothing is sent any more, None while it works."""


class Session:
    """Takes rows and events, and answers for them.

    Args:
        settings: of this run.
        head: whose rows these are, but for the writer's name, which the session makes.
        start: the first event; that of a forked child says what the run was when it was forked.
        step: the first step (one after the last where the run is resumed).
        before: what the server has of the run where it is resumed, as `LocalSummary` takes it.
        engine: gives the engine of the process that asks (a forked child has another one).
    """

    def __init__(
        self,
        settings: Settings,
        head: StreamHead,
        start: JsonObject,
        *,
        step: int = 0,
        before: Mapping[str, object] | None = None,
        engine: Callable[[], Submits],
    ) -> None:
        check_event(start)  # before there is a folder
        self.settings = settings
        self.head = head
        self.notices = Notices(silent=settings.silent, quiet=settings.quiet)
        self.rules = MetricRules()
        self.next_sync = 0.0
        self.synced_seq = 0
        self.sync_error: OSError | None = None
        """why the disk has not all that was logged; None where it was not asked, or has"""
        self.start = start
        self._began_at = time.monotonic()
        self.greeted = False
        self._told_to_stop = False
        self.overflowing = False
        """a row has waited for room in vain: the next ones do not wait until there is some"""
        self.reopened: Callable[[], None] | None = None
        """called in a forked child once it has become a writer of its own"""
        self._step_metrics: set[str] = set()
        self._last: JsonObject = {}
        self.folder, self.journal = self._open()
        self.saved = Saved(self.folder)
        self.aside = Aside(self.folder.aside)
        self.files = FileAccount()
        self._forked = False
        self.progress = Progress()
        self.summary = LocalSummary(self.journal, self.head.writer, before)
        self.rule = StepRule(settings.step_policy, step)
        self.inbox = Inbox(self.journal, self.rule, overflow=settings.overflow, known=before)
        self.log = self.inbox.log
        self.inbox.event(start)
        self._current_engine = engine
        self.engine = engine()
        self.engine.submit(self._attach)
        if settings.stop_on_request and settings.mode == "online":
            stopping.prepare()
        _live.add(self)

    async def _attach(self, worker: Worker) -> None:
        await worker.attach(self)

    def _open(self) -> tuple[RunFolder, Journal]:
        settings, head = self.settings, self.head
        description = Description(
            entity=head.entity,
            project=head.project,
            run=head.run,
            writer=head.writer,
            mode=settings.mode,
            base_url=settings.base_url,
            started_at=time.time(),
        )
        try:
            folder = RunFolder.create(settings.runs_dir, description)
        except OSError as error:
            advice = (
                "Close files, or raise the limit of the process (ulimit -n)."
                if lacks_descriptors(error)
                else "Set `dir` or `data_dir` to a place with room that can be written."
            )
            raise Error(
                f"no folder for the run can be made in {settings.runs_dir}: {error}. Nothing was "
                f"logged. {advice}"
            ) from error
        self.opened_at = description.started_at
        self.notices.advice = (
            f"The data is in {folder.path}; send it with: asyncwb sync {folder.path}"
        )
        return folder, Journal(folder.journal, max_bytes=settings.journal_max_bytes)

    def log_when_room(
        self, data: JsonObject, step: int | None, commit: bool | None
    ) -> Future[None]:
        """Hand a row to the engine, which logs it once the full journal has room."""
        row = dict(data)
        done = self.engine.submit(lambda worker: worker.log_when_room(self, row, step, commit))
        if done.done() and isinstance(done.exception(), EngineStopped):
            self.inbox.count_dropped("overflow")  # nobody will ever make room
            done = Future()
            done.set_result(None)
        return done

    def define(self, event: JsonObject) -> MetricRule:
        """Take a metric definition, and return the rule that holds for its name from now on."""
        rule = self.rules.define(event)
        self.inbox.event(event)
        if self.rules.syncs and rule.step_metric is not None:
            self._remember(rule.step_metric)
            self.inbox.fill_rows(self._fill_in)
        return rule

    def _remember(self, path: str) -> None:
        """Keep a step metric's last value, which may have been logged before it was one."""
        if path not in self._step_metrics:
            may_be_there = self.inbox.accepted or self.summary.resumed
            last = self.summary.read().get(path) if may_be_there else None
            if isinstance(last, (int, float)):
                self._last.setdefault(path, last)
            self._step_metrics.add(path)

    def _fill_in(self, row: JsonObject) -> JsonObject:
        """Add the last value of each step metric that a row's metrics are charted against."""
        for path in self._step_metrics & row.keys():
            self._last[path] = row[path]
        for path in self.rules.missing_steps(row):
            row[path] = self._last.get(path, 0)
        return row

    def obey_stop(self) -> None:
        """Interrupt the program, once, where somebody asked for the run's end on its page.

        For the engine's thread, which learns of it with the server's answers.
        """
        if not self.progress.stop_requested or self._told_to_stop or self.inbox.closed:
            return
        self._told_to_stop = True
        asked = f"run {self.head.run} is to stop: somebody asked for it on its page"
        if self.settings.stop_on_request:
            number = stopping.best_signal()
            kind = number in stopping.INTERRUPTS
            how = "is interrupted" if kind else f"ignores SIGINT: {number.name} ends it"
            self.notices.warn(f"{asked}. The program {how}.", advise=not kind)
            stopping.interrupt_main(number)
        else:
            self.notices.warn(f"{asked}. It goes on: stop_on_request is off.", advise=False)

    def status(self) -> RunStatus:
        """Count what was accepted, acknowledged and dropped; costs some microseconds."""
        accepted, progress = self.inbox.accepted, self.progress
        complete = progress.next_seq >= self.inbox.next_seq
        since = self._began_at if progress.reached_at is None else progress.reached_at
        dropped = dict(self.inbox.dropped)
        lost = progress.lost + self.journal.gone(max(progress.next_seq, progress.ready_seq))
        if lost:
            dropped["journal"] = lost
        return RunStatus(
            accepted=accepted,
            journaled=max(0, accepted - progress.rows - lost),
            acknowledged=min(progress.rows, max(0, accepted - lost)),
            dropped=dropped,
            lag=0.0 if complete else max(0.0, time.monotonic() - since),
            last_error=progress.refused
            or _text(self.inbox.disk_error)
            or (None if complete else _text(self.sync_error) or self.engine.problem)
            or progress.error
            or self.files.error,
            connected=progress.connected,
            files_waiting=len(self.files.waiting),
            files_uploaded=len(self.files.uploaded),
            files_failed=dict(self.files.failed),
        )

    @property
    def has_arrived(self) -> bool:
        """Whether the server has all that an online run has said, and every saved file."""
        arrived = self.progress.next_seq >= self.inbox.next_seq and not self.files.waiting
        return arrived and self.settings.mode == "online"

    def own_folder(self) -> RunFolder:
        """Return the folder of this process; a forked child becomes a writer of its own first."""
        if self._forked:
            self.inbox.event({"t": "config", "set": {}, "delete": []})
        return self.folder

    def save(self, links: Sequence[Link]) -> None:
        """Have files in `run.dir` sent: noted on disk when this returns, sent by the engine.

        Raises:
            Error, OSError: it could not be noted; nothing of it will be sent.
        """
        self.saved.add(links)
        for link in links:
            self.files.failed.pop(link.name, None)
            self.files.waiting.add(link.name)
        if self.settings.mode == "online":
            self.engine.submit(lambda worker: worker.upload(self))

    def flush(self, *, durable: bool, timeout: float) -> Future[bool]:
        """Have everything logged so far acknowledged; `durable`: on this machine's disk."""
        if durable:
            return self.engine.submit(lambda worker: worker.sync(self))
        return self.engine.submit(lambda worker: worker.flush(self, timeout))

    def sync(self) -> None:
        """Force what was logged so far to the disk, and all that leads to it; blocks.

        Raises:
            OSError: the disk did not take all of it.
        """
        self.journal.sync()
        self.folder.sync()

    def finish(self, exit_code: int | None, timeout: float) -> Future[Ending]:
        """Close the inbox, send the rest, and what ended children left; then let go of the folder.

        `exit_code` None closes this writer and leaves the run to the others that write to it.
        """
        last: JsonObject = {"t": "leave", "at": time.time()}
        if exit_code is not None:
            last |= {"t": "finish", "exit_code": exit_code}
        self.inbox.close(last)
        ends = exit_code is not None
        return self.engine.submit(lambda worker: worker.finish(self, timeout, ends_run=ends))

    def send_others(self, timeout: float) -> Future[Others]:
        """Send what processes that have ended meanwhile left of the run."""
        return self.engine.submit(lambda worker: worker.send_others(self, timeout))

    def release(self, *, complete: bool) -> None:
        """Let go of the folder after `finish`; what is not acknowledged stays in it."""
        _live.discard(self)
        self.journal.close(delete=complete or self.progress.next_seq >= self.inbox.next_seq)
        if complete and self.settings.mode != "offline":
            with contextlib.suppress(Error, OSError):  # then it stays, for `asyncwb sync`
                self.saved.clear()
        if complete and self.settings.mode != "offline":
            self.folder.remove_if_empty()
        self.folder.unlock()

    def after_fork(self) -> None:
        """In a forked child: become another writer of the run, from the first row it logs."""
        self.progress = Progress()
        self.saved.forget()
        self.files = FileAccount()  # the parent's files are the parent's to send
        self._forked = True
        self.greeted = True  # the parent says where the run's page is
        self._told_to_stop = False
        self.summary = LocalSummary(None)  # the parent's locks may be held by threads not here
        self.start = self.inbox.kept.joining() or self.start
        self.inbox.after_fork(self._reopen, self.start)

    def _reopen(self) -> Journal:
        head = self.head
        self.head = StreamHead(head.entity, head.project, head.run, child_of(head.writer))
        self.folder, self.journal = self._open()
        self.saved = Saved(self.folder)
        self.aside = Aside(self.folder.aside)
        self._forked = False
        self.summary = LocalSummary(self.journal, self.head.writer)
        self.engine = self._current_engine()
        self.engine.submit(self._attach)
        if self.reopened is not None:
            self.reopened()
        return self.journal


def _text(error: OSError | None) -> str | None:
    return None if error is None else str(error)


def _after_fork() -> None:
    for session in list(_live):
        session.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
