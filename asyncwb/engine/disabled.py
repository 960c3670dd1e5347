"""A session that records nothing: `mode="disabled"`.

The calls check what they are given as always, so that code that runs disabled runs enabled; the
step counts, and the summary answers, since training code reads it. No file, no thread, no server.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, TypeVar

from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.notices import Notices
from asyncwb.engine.process.ending import Ending, Others
from asyncwb.engine.session import RunInbox, RunPlace, RunStatus, RunSummary
from asyncwb.errors import UsageError
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.history import StepRule
from asyncwb.wire.rows.values import convert_row
from asyncwb.wire.stream import StreamHead
from asyncwb.wire.summary.metrics import MetricRule, MetricRules

T = TypeVar("T")


class _Place(NamedTuple):
    """Where a run lies that has no folder of its own."""

    path: Path
    files: Path


def _nowhere() -> _Place:
    from tempfile import gettempdir  # here: each run's start would wait 6 ms for it

    folder = Path(gettempdir())
    return _Place(folder, folder)


class DisabledSession:
    """An `AnySession` that forgets everything but step and summary, and is its own inbox.

    Mutable state, guarded by `_lock`: the step rule, the last values, `_closed`.
    """

    def __init__(self, settings: Settings, head: StreamHead, start: JsonObject) -> None:
        self.settings = settings
        self.head = head
        self.notices = Notices(silent=True)
        self.rules = MetricRules()
        self.rule = StepRule(settings.step_policy, 0)
        self.progress = Progress()
        self.inbox: RunInbox = self
        self.summary: RunSummary = self
        self.folder: RunPlace = _nowhere()
        self.aside = Aside(self.folder.path)
        self.sync_error: OSError | None = None
        self.has_arrived = True  # nothing is owed to anybody
        self._lock = threading.RLock()  # a signal handler may log in the middle of log()
        self._values: JsonObject = {}
        self.accepted = 0
        self.unwritten: tuple[()] = ()
        self.disk_error: OSError | None = None
        self._closed = False
        del start

    def log(
        self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None
    ) -> bool:
        row = convert_row(data)
        with self._lock:
            self._check_open()
            given = self.rule.assign(step, commit)
            if not given.dropped:
                self.accepted += 1
                self._values.update(row.values, _step=given.step)
        return True

    def log_when_room(
        self, data: JsonObject, step: int | None, commit: bool | None
    ) -> Future[None]:
        self.log(data, step, commit)
        return _done(None)

    def is_interrupted(self) -> bool:
        return False

    def count_dropped(self, reason: str) -> None:
        raise AssertionError("nothing is dropped where nothing is kept")

    def event(self, event: JsonObject) -> None:
        with self._lock:
            self._check_open()
            if event["t"] == "summary":
                self._values.update(event["set"])
                for path in event["delete"]:
                    self._values.pop(path, None)

    def define(self, event: JsonObject) -> MetricRule:
        self.event(event)
        return self.rules.define(event)

    def read(self) -> JsonObject:
        with self._lock:
            return dict(self._values)

    def status(self) -> RunStatus:
        return RunStatus(self.accepted, 0, 0, {}, 0.0, None, connected=False)

    def flush(self, *, durable: bool, timeout: float) -> Future[bool]:
        del durable, timeout  # there is nothing to flush, wherever to
        return _done(True)

    def finish(self, exit_code: int | None, timeout: float) -> Future[Ending]:
        del exit_code, timeout  # nobody is told, and nothing has to be waited for
        self._closed = True
        return _done(Ending(complete=True))

    def send_others(self, timeout: float) -> Future[Others]:
        del timeout  # no other process writes to the run
        return _done(Others())

    def release(self, *, complete: bool) -> None:
        del complete

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the run has finished: nothing more can be logged to it.")


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future
