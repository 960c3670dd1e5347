"""What the two faces of a run share: its session, config, summary, names, and how it ends."""

from __future__ import annotations

import contextlib
import numbers
import operator
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from asyncwb.client.config import Config
from asyncwb.client.summary import Summary
from asyncwb.engine.session import Session
from asyncwb.errors import ArgumentError, SettingsError, UsageError
from asyncwb.settings import default_entity
from asyncwb.typing import FilePath
from asyncwb.wire import names

EXIT_CODES: Final = range(-(2**31), 2**31)
"""what a run's exit code may be: it is stored in 32 bits"""
_LONGEST_SHOWN: Final = 200
_LONGEST_WAIT: Final = 365 * 86400.0
"""seconds; timers cannot count to infinity"""


class Attrs(TypedDict):
    """What can be changed about a run while it runs."""

    name: str | None
    tags: list[str]
    notes: str | None
    group: str | None
    job_type: str | None


class RunState:
    """One run in this process.

    Mutable state: `attrs` (the last value of each), `_finish` (guarded by `_lock`): whether
    finishing has begun.
    """

    def __init__(
        self,
        session: Session,
        *,
        attrs: Attrs,
        config: Mapping[str, Any],
        started_at: float,
        resumed: bool,
        allow_val_change: bool,
    ) -> None:
        self.session = session
        self.attrs = attrs
        self.started_at = started_at
        self.resumed = resumed
        self.finished = False
        self.config = Config(config, self._config_changed, allow_val_change=allow_val_change)
        # Asked each time: a forked child has a summary of its own.
        self.summary = Summary(lambda: session.summary.read(), self._summary_changed)
        self._lock = threading.Lock()
        self._quiet = False

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
        self.attrs[name] = value

    def save(
        self, pattern: FilePath | bytes, base_path: FilePath | None, policy: str, expand: bool
    ) -> list[str]:
        """Link files into the run's folder and have them sent; touches the disk only."""
        from asyncwb.client import saving  # 2 ms that only those who save files wait for

        session = self.session
        if self.finished:
            raise UsageError(
                "the run has finished: no more files can be saved to it. Those of before are "
                "safe. Save before finish()."
            )
        disabled = session.settings.mode == "disabled"
        folder = session.folder.files if disabled else session.own_folder().files
        wanted = saving.understand(pattern, base_path, policy, expand, folder, session.notices)
        return [] if disabled or wanted is None else saving.save(session, wanted)

    def _config_changed(self, values: dict[str, Any], deleted: list[str]) -> None:
        self.session.inbox.event({"t": "config", "set": values, "delete": deleted})

    def _summary_changed(self, values: dict[str, Any], deleted: list[str]) -> None:
        self.session.inbox.event({"t": "summary", "set": values, "delete": deleted})

    def begin_finish(self, quiet: bool | None) -> bool:
        """Tell whether this call is the one that finishes the run."""
        if self.session.inbox.is_interrupted():
            self.session.notices.warn_once(
                "interrupted",
                "finish() was called by a signal handler in the middle of log(): the run finishes "
                "when the program ends, or when finish() is called outside of the handler.",
            )
            return False
        with self._lock:
            if self.finished:
                return False
            self.finished = True
            self._quiet = bool(quiet)
            return True

    def start_finish(self, exit_code: int) -> Future[bool] | None:
        """Begin to finish without waiting; None where somebody else has begun."""
        if not self.begin_finish(None):
            return None
        return self.session.finish(exit_code, self.session.settings.finish_timeout)

    def end_finish(self, complete: bool) -> None:
        """Let go of the journal, or leave what is in it to others, and say which."""
        session = self.session
        status = session.status()
        complete = complete or session.has_arrived  # whoever waited for it may have been cancelled
        session.release(complete=complete)
        notices = session.notices
        if complete:
            if not self._quiet:
                notices.tell(self._summary_line())
            notices.advice = ""  # nothing is left to be sent
        if status.lost:
            notices.warn(f"{status.lost} rows were lost: {dict(status.dropped)}.")
        if status.files_failed:
            notices.warn(f"{_files(len(status.files_failed))} could not be sent.")
        if complete:
            return
        unsaid = not status.journaled and not status.lost and not status.files_waiting
        notices.warn(
            f"{status.acknowledged} of {status.accepted} rows have arrived"
            + (", but not that the run has ended" if unsaid else "")
            + (f", {_files(status.files_waiting)} wait" if status.files_waiting else "")
            + (f" ({status.last_error})" if status.last_error else "")
            + (f"; {status.journaled} are" if status.lost else "; the rest is")
            + (" safe on disk." if session.sync_error is None else " in the journal for now.")
        )
        if session.settings.mode == "online" and session.settings.detach_uploader:
            session.detach_uploader()

    def _summary_line(self) -> str:
        session = self.session
        status = session.status()
        rows, waiting, sent = status.accepted, status.files_waiting, status.files_uploaded
        if session.settings.mode == "offline":
            files = f" and {_files(waiting)}" if waiting else ""
            return f"{rows} rows{files} are in {session.folder.path}; send them: asyncwb sync"
        files = f", {_files(sent)} uploaded" if sent else ""
        return f"run {session.head.run} finished: {rows} rows, all acknowledged{files}."


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


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
