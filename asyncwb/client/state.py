"""What the two faces of a run share: its session, config, summary, names, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from asyncwb.client.config import Config
from asyncwb.client.summary import Summary
from asyncwb.engine.session import Session
from asyncwb.errors import UsageError
from asyncwb.settings import default_entity

_MAX_TAG: Final = 64


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
        """Change the name, notes or tags of the run, here and on the server."""
        if name == "tags":
            value = check_tags(value)
        self.session.inbox.event({"t": "attrs", name: value})
        self.attrs[name] = value

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
        session.release(complete=complete)
        notices = session.notices
        if complete:
            if not self._quiet:
                notices.tell(self._summary_line())
            notices.advice = ""  # nothing is left to be sent
        if status.lost:
            notices.warn(f"{status.lost} rows were lost: {dict(status.dropped)}.")
        if complete:
            return
        notices.warn(
            f"{status.acknowledged} of {status.accepted} rows have arrived"
            + (f" ({status.last_error})" if status.last_error else "")
            + "; the rest is safe on disk."
        )
        if session.settings.mode == "online" and session.settings.detach_uploader:
            session.detach_uploader()

    def _summary_line(self) -> str:
        session = self.session
        rows = session.inbox.accepted
        if session.settings.mode == "offline":
            return f"{rows} rows are in {session.folder.path}; send them: asyncwb sync"
        return f"run {session.head.run} finished: {rows} rows, all acknowledged."


def check_tags(tags: Iterable[str]) -> list[str]:
    """Return tags as a list; raises UsageError for one that is no text of 1 to 64 characters."""
    found = list(tags)
    for tag in found:
        if not isinstance(tag, str) or not 1 <= len(tag) <= _MAX_TAG:
            raise UsageError(
                f"the tag {tag!r} is no text of 1 to {_MAX_TAG} characters; the tags are unchanged"
            )
    return found
