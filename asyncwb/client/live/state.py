"""What the two faces of a run share: its session, config, summary, names, and how it ends."""

from __future__ import annotations

import contextlib
import numbers
import operator
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from asyncwb.client.live.config import Config
from asyncwb.client.live.summary import Summary
from asyncwb.client.waiting import of_ones_own
from asyncwb.engine.journal.checks import why_no_room
from asyncwb.engine.process.ending import Ending, Others
from asyncwb.engine.session import AnySession, Session
from asyncwb.errors import ArgumentError, SettingsError, UsageError
from asyncwb.printable import counted
from asyncwb.settings import default_entity
from asyncwb.typing import FilePath, JsonObject
from asyncwb.wire import names

EXIT_CODES: Final = range(-(2**31), 2**31)
"""what a run's exit code may be: it is stored in 32 bits"""
_LONGEST_SHOWN: Final = 200
_MOST_SHOWN: Final = 8
"""run folders that a line may name"""
_LONGEST_WAIT: Final = 365 * 86400.0
"""seconds; timers cannot count to infinity"""


class RunAttributes(TypedDict):
    """What can be changed about a run while it runs."""

    name: str | None
    tags: list[str]
    notes: str | None
    group: str | None
    job_type: str | None


class RunState:
    """One run in this process.

    Mutable state: `attributes` (the last value of each); guarded by `_lock`, `finished` (finishing
    has begun) and `_ended` (and it was said how it went); `_ending`, what the engine makes of it.
    """

    def __init__(
        self,
        session: AnySession,
        *,
        attributes: RunAttributes,
        config: Mapping[str, object],
        started_at: float,
        resumed: bool,
        allow_val_change: bool,
    ) -> None:
        self.session = session
        self.attributes = attributes
        self.started_at = started_at
        self.resumed = resumed
        self.finished = False
        self.config = Config(config, self._config_changed, allow_val_change=allow_val_change)
        # Asked each time: a forked child has a summary of its own.
        self.summary = Summary(lambda: session.summary.read(), self._summary_changed)
        self._lock = threading.Lock()
        self._quiet = False
        self._ending: Future[Ending] | None = None
        self._ended = False

    @property
    def files_dir(self) -> Path:
        """The folder for the user's files."""
        return self.session.folder.files

    @property
    def entity(self) -> str | None:
        """Who owns the run, as far as is known on this side."""
        head, progress = self.session.head, self.session.progress
        if progress.run_path is not None:
            return progress.run_path.split("/")[0]
        if head.entity is not None:
            return head.entity
        return default_entity() if self.session.settings.base_url is None else None

    @property
    def base_url(self) -> str | None:
        """The server's address; None offline and while the embedded one is looked for."""
        if self.session.settings.mode != "online":
            return None
        return self.session.progress.base_url or self.session.settings.base_url

    def set_attr(self, name: Literal["name", "notes", "tags"], value: Any) -> None:
        """Change the name, notes or tags of the run, here and on the server.

        Raises SettingsError or UsageError for what `init` does not take either; nothing changes.
        """
        value = check_tags(value) if name == "tags" else _check_text(name, value)
        self.session.inbox.event({"t": "attrs", name: value})
        self.attributes[name] = value

    def save(
        self, pattern: FilePath | bytes, base_path: FilePath | None, policy: str, expand: bool
    ) -> list[str]:
        """Link files into the run's folder and have them sent; touches the disk only."""
        from asyncwb.client.live import saving  # 2 ms that only those who save files wait for

        session = self.session
        if self.finished:
            raise UsageError(
                "the run has finished: no more files can be saved to it. Those of before are "
                "safe. Save before finish()."
            )
        keeps = session if isinstance(session, Session) else None  # a disabled run has no files
        folder = self.files_dir if keeps is None else keeps.own_folder().files
        wanted = saving.understand(pattern, base_path, policy, expand, folder, session.notices)
        return [] if keeps is None or wanted is None else saving.save(keeps, wanted)

    def _config_changed(self, values: JsonObject, deleted: list[str]) -> None:
        self.session.inbox.event({"t": "config", "set": values, "delete": deleted})

    def _summary_changed(self, values: JsonObject, deleted: list[str]) -> None:
        event = {"t": "summary", "set": values, "delete": deleted, "step": self.session.rule.step}
        self.session.inbox.event(event)

    def finish(self, exit_code: int, timeout: float, quiet: bool | None) -> Future[Ending] | None:
        """Begin to finish the run, or join what is under way; None: there is nothing to wait for.

        Whoever gives up waiting leaves the work to the engine. Who has waited calls `end`.
        """
        if self.session.inbox.is_interrupted():
            self.session.notices.warn_once(
                "interrupted",
                "finish() was called by a signal handler in the middle of log(): the run finishes "
                "when the program ends, or when finish() is called outside of the handler.",
            )
            return None
        with self._lock:
            begins, self.finished = not self.finished, True
        if begins:
            self._quiet = bool(quiet)
            under_way.append(self)
            self._ending = self.session.finish(exit_code, timeout)
        return None if self._ending is None else of_ones_own(self._ending)

    def forget_ending(self) -> None:
        """In a forked child: the parent's engine is not here, and nobody may wait for it."""
        self._ending = None

    def end(self, ending: Ending | None) -> None:
        """Say how it went, once; `ending` None: nobody waits for it any longer."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        under_way.remove(self)
        session = self.session
        if ending is None:
            ending = Ending(session.has_arrived)
            session.release(complete=ending.complete)
        left = [] if ending.complete else [session.folder.path]
        self._tell(ending)
        self._leave([*left, *ending.others.waiting])
        if ending.others.live:
            with_others.append(self)

    def end_others(self, others: Others) -> None:
        """Say what became of the others that were at work when the run was finished."""
        told = _left_behind(others)
        if told and not self._quiet:
            self.session.notices.tell(f"run {self.session.head.run}: {told}.")
        self._warn_of_others(others)
        self._leave([*others.waiting])

    def _tell(self, ending: Ending) -> None:
        session = self.session
        status = session.status()
        notices = session.notices
        if ending.complete:
            if not self._quiet:
                notices.tell(self._summary_line(ending.others))
            notices.advice = ""  # nothing of this process is left to be sent
            if (problem := session.aside.problem) is not None:
                notices.warn(f"run {session.head.run}: {problem}.")
        lost = status.lost + ending.others.lost
        if lost:
            whose = f", {ending.others.lost:,} of them by other writers" * bool(ending.others.lost)
            why = ", ".join(f"{n:,} {_WHY.get(why, why)}" for why, n in status.dropped.items())
            were = counted(lost, "row was", "rows were")
            notices.warn(f"{were} lost{': ' * bool(why)}{why}{whose}.")
        if status.files_failed:
            notices.warn(f"{counted(len(status.files_failed), 'file')} could not be sent.")
        if not ending.complete:
            unwritten = len(session.inbox.unwritten)
            files = status.files_waiting
            unsaid = not status.journaled and not status.lost and not files
            rows = counted(status.accepted, "row has", "rows have")
            notices.warn(
                f"{status.acknowledged:,} of {rows} arrived"
                + (", but not that the run has ended" if unsaid else "")
                + (f", {counted(files, 'file waits', 'files wait')}" if files else "")
                + (f" ({status.last_error})" if status.last_error else "")
                + f"; {counted(status.journaled, 'is', 'are') if status.lost else 'the rest is'}"
                + (" safe on disk." if session.sync_error is None else " in the journal for now.")
                + (
                    f" For {counted(unwritten, 'event')}, the run's end among them, "
                    f"{_NO_ROOM[why_no_room(session.inbox.disk_error)]}: nothing but this process "
                    "has them, and it ends."
                    if unwritten
                    else ""
                )
            )
        self._warn_of_others(ending.others)

    def _warn_of_others(self, others: Others) -> None:
        """Say what exactly waits of other writers, and how to send it."""
        if others.unknown is not None:
            self.session.notices.warn(
                "it is not known whether other processes of this machine left something of the "
                f"run ({others.unknown}). If so, it is safe in {self.session.settings.runs_dir}; "
                "send it with: asyncwb sync",
                advise=False,
            )
        if not others.waiting:
            return
        from asyncwb.client.sync.backlog import look  # which imports numpy: for the bad case only

        rows = sum(run.rows for path in others.waiting if (run := look(path)) is not None)
        paths = [*others.waiting]
        shown = paths if len(paths) <= _MOST_SHOWN else [self.session.settings.runs_dir]
        writers = counted(len(paths), "other writer")
        self.session.notices.warn(
            f"of {writers} that logged to the run and ended, {counted(rows, 'row is', 'rows are')} "
            f"not known to have arrived ({others.waiting[paths[0]]}). What waits is safe on disk; "
            f"send it with: asyncwb sync {' '.join(map(str, shown))}",
            advise=False,
        )

    def _leave(self, folders: Sequence[Path]) -> None:
        """Leave the rest to a process that goes on by itself."""
        session = self.session
        if not (folders and session.settings.mode == "online" and session.settings.detach_uploader):
            return
        from asyncwb.engine.process.handover import hand_over  # for the bad case only

        try:
            hand_over(session.settings, folders)
        except OSError as error:
            session.notices.warn(
                f"no process could be started that goes on sending: {error}.", advise=False
            )

    def _summary_line(self, others: Others) -> str:
        session = self.session
        status = session.status()
        rows, waiting, sent = status.accepted, status.files_waiting, status.files_uploaded
        if session.settings.mode == "offline":
            files = f" and {counted(waiting, 'file')}" if waiting else ""
            are, them = ("is", "it") if rows == 1 and not files else ("are", "them")
            place = session.folder.path
            return f"{counted(rows, 'row')}{files} {are} in {place}; send {them}: asyncwb sync"
        files = f", {counted(sent, 'file')} uploaded" if sent else ""
        alone = not (others.waiting or others.live or others.unknown)
        partly = "" if alone else " of this writer"
        told = _left_behind(others)
        lost = status.dropped.get("journal", 0)  # of the accepted ones
        all_there = "all acknowledged"
        if lost or status.journaled:
            parts = {"acknowledged": status.acknowledged}
            parts |= {"set aside": status.journaled} if status.journaled else {}
            parts |= {"lost": lost} if lost else {}
            all_there = ", ".join(f"{count:,} {what}" for what, count in parts.items())
        return (
            f"run {session.head.run} finished: {counted(rows, 'row')}{partly}, {all_there}{files}"
            + (f"; {told}" if told else "")
            + "."
        )


under_way: Final[list[RunState]] = []
"""runs that have begun to finish, and of which it is not said yet how it went"""
with_others: Final[list[RunState]] = []
"""finished runs that other writers were at work on still"""


def _left_behind(others: Others) -> str:
    told = []
    if others.sent:
        told.append(f"what {counted(others.sent, 'other writer')} had left behind was sent")
    if others.live:
        logs = counted(others.live, "other writer still logs", "other writers still log")
        told.append(f"{logs} to it")
    return "; ".join(told)


_WHY: Final = {
    "step_negative": "with a negative step",
    "step_backwards": "with a step that went backwards",
    "overflow": "for which the journal had no room",
    "disk_full": "for which the disk had no room",
    "disk_error": "that the disk did not take",
    "no_descriptors": "for which no file descriptor was left",
    "journal": "that the journal no longer had",
}
"""what `RunStatus.dropped` has as reasons, for people"""
_NO_ROOM: Final = {
    "disk_full": "the disk has no room",
    "disk_error": "the disk fails",
    "no_descriptors": "no file descriptor is left",
}
"""why the journal cannot grow, for people"""


def _check_text(name: str, value: object) -> str | None:
    longest, may_lack = names.MAX_TEXT[name], name == "notes"
    if value is None and may_lack:
        return None
    if isinstance(value, str) and len(value) <= longest and (value or may_lack):
        return value
    wanted = f"None or a text of at most {longest}" if may_lack else f"a text of 1 to {longest}"
    raise SettingsError(
        f"run.{name}: {_shown(value)} is not {wanted} characters. Nothing was changed; correct it "
        "and try again.",
        f"run_{name}",
    )


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


def check_exit_code(value: object) -> int:
    """Return an exit code, 0 for None; raises UsageError for what is no int of 32 bits.

    True and False are refused: an exit code of 1, a failure, is hardly what True was meant to say.
    """
    if value is None:
        return 0
    with contextlib.suppress(TypeError):
        code = operator.index(value)  # type: ignore[arg-type]
        if code in EXIT_CODES and not isinstance(value, bool):
            return code
    raise ArgumentError(
        f"finish: the exit code {value!r} is no int of 32 bits; the run goes on. Use 0 for success "
        "and another one for a failure."
    )


def check_timeout(value: object, otherwise: float, what: str) -> float:
    """Return a timeout in seconds, `otherwise` for None; raises UsageError for what is none."""
    if value is None:
        return otherwise
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        seconds = float(value)
        if seconds >= 0:
            return min(seconds, _LONGEST_WAIT)
    raise ArgumentError(
        f"{what}: the timeout {value!r} is no number of seconds; nothing was done, the run goes on."
    )


def check_tags(tags: Iterable[str]) -> list[str]:
    """Return tags as a list (a text is one tag); raises UsageError for one that is no text of 1 to
    64 characters."""
    if not isinstance(tags, Iterable):
        raise ArgumentError(f"tags are a list of texts, not {tags!r}; the tags are unchanged")
    found = [tags] if isinstance(tags, str) else list(tags)
    if len(found) > names.MAX_TAGS:
        raise ArgumentError(
            f"{len(found)} tags are more than {names.MAX_TAGS}; the tags are unchanged"
        )
    for tag in found:
        if not isinstance(tag, str) or not 1 <= len(tag) <= names.MAX_TAG:
            raise ArgumentError(
                f"the tag {_shown(tag)} is no text of 1 to {names.MAX_TAG} characters; the tags "
                "are unchanged"
            )
    return found
