"""The files that `save()` named: what is to be sent of them, and which server has what.

`files.json` in the run's folder says it, so that it outlives the process. It is only changed by
`Saved.edit`, which holds a lock between processes too and replaces the file as a whole: a run, and
any number of `asyncwb sync` beside it, may all write it. Whoever sends files holds another lock,
so that no two processes send the same one.

| policy | sent | sent again |
| --- | --- | --- |
| now | at once | when `save()` names it again |
| live | at once | whenever it has changed, a last time at the run's end |
| end | at the run's end | |

Imports neither numpy nor aiohttp: `save()` runs on the caller's thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from asyncwb.engine.journal.folder import RunFolder
from asyncwb.errors import Error
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import dumps, loads

Policy: TypeAlias = Literal["live", "now", "end"]
Seen: TypeAlias = tuple[int, int]
"""the (size, mtime_ns) of a file: another version of it has another"""

GONE: Final[Seen] = (-1, 0)
_LOCK_TIMEOUT: Final = 5.0
_LOCK_POLL: Final = 0.002


class Mark(NamedTuple):
    """What became of a file at one server.

    `asked`: the call of `save()` that this answers; `seen`: the version; `error`: why the server
    does not have it, None where it does; `last`: later changes are no longer the run's.
    """

    asked: int
    seen: Seen
    error: str | None = None
    last: bool = False


class SavedFile(NamedTuple):
    """One file below `run.dir`.

    `asked`: how often `save()` has named it; `linked`: what is in `run.dir` was put there by
    `save()`, and is not the user's; `marks`: what became of it, by server.
    """

    name: str
    policy: Policy
    asked: int = 1
    linked: bool = False
    marks: Mapping[str, Mark] = MappingProxyType({})

    def ask(self, policy: Policy, *, linked: bool) -> SavedFile:
        """Return it as another call of `save()` leaves it."""
        return self._replace(policy=policy, asked=self.asked + 1, linked=self.linked or linked)

    def marked(self, where: str, mark: Mark) -> SavedFile:
        """Return it with what became of it at a server."""
        return self._replace(marks={**self.marks, where: mark})

    def unmarked(self, where: str) -> SavedFile:
        """Return it as one of which a server knows nothing."""
        return self._replace(marks={at: mark for at, mark in self.marks.items() if at != where})

    def is_due(self, where: str, seen: Seen, *, ended: bool) -> bool:
        """Tell whether a server is to get it now; `ended`: the run will change it no more."""
        mark = self.marks.get(where)
        if self.policy == "end" and not ended:
            return False
        if mark is None or mark.asked < self.asked:
            return True
        return self.policy != "now" and not mark.last and seen != mark.seen

    def error_at(self, where: str) -> str | None:
        """Return why a server does not have what `save()` named last; None: it is due, or sent."""
        mark = self.marks.get(where)
        return None if mark is None or mark.asked < self.asked else mark.error

    def is_sent(self, where: str) -> bool:
        """Tell whether a server has some version of what `save()` named last."""
        mark = self.marks.get(where)
        return mark is not None and mark.asked >= self.asked and mark.error is None


@dataclass(slots=True)
class FileAccount:
    """Which files wait, are at the server, or could not be sent; read by `status()`."""

    waiting: set[str] = field(default_factory=set)
    uploaded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    """what last went wrong, and is tried again"""


class Link(NamedTuple):
    """What `save()` has put in `run.dir`, or found there."""

    name: str
    policy: Policy
    linked: bool


class Saved:
    """The files of one run folder. Any thread; mutable state: `_cache`, `_sending`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._path = folder.path / "files.json"
        self._cache: tuple[tuple[int, int, int], dict[str, SavedFile]] | None = None
        self._sending = -1

    def path_of(self, name: str) -> Path:
        """Return where a file is; it may be a link to where the user has it."""
        return self._folder.files / name

    def seen(self, name: str) -> Seen:
        """Return a file's version, GONE where there is no such file."""
        try:
            stat = self.path_of(name).stat()
        except OSError:
            return GONE
        return stat.st_size, stat.st_mtime_ns

    def read(self) -> dict[str, SavedFile]:
        """Return all files by name; costs a `stat` as long as nothing has changed.

        Raises:
            Error: `files.json` is damaged.
        """
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if self._cache is None or self._cache[0] != version:
                    self._cache = version, _parsed(loads(file.read()))
                return self._cache[1]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Error(
                f"{self._path} cannot be read ({error}), so it is not known which files are to be "
                f"sent. They are untouched, in {self._folder.files} or where they were saved from."
            ) from error

    @contextlib.contextmanager
    def edit(self) -> Iterator[dict[str, SavedFile]]:
        """Give all files to be changed, and write them when the block ends without an error.

        Raises:
            Error: as `read`.
            OSError: they cannot be written, or another process (one that was stopped, say) does
                not give back the lock within seconds; what was there before still is.
        """
        path = self._path.with_name("files.lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, path)
            files = dict(self.read())
            yield files
            fresh = self._path.with_name("files.json.new")
            fresh.write_bytes(dumps({name: _plain(file) for name, file in files.items()}))
            fresh.replace(self._path)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may have a copy of it
            os.close(fd)

    def add(self, links: Iterable[Link]) -> None:
        """Note what `save()` has named; raises as `edit`."""
        with self.edit() as files:
            for link in links:
                known = files.get(link.name)
                files[link.name] = (
                    SavedFile(link.name, link.policy, linked=link.linked)
                    if known is None
                    else known.ask(link.policy, linked=link.linked)
                )

    def mark(self, where: str, marks: Mapping[str, Mark]) -> None:
        """Note what became of files at a server; raises as `edit`."""
        with self.edit() as files:
            for name, mark in marks.items():
                if name in files:
                    files[name] = files[name].marked(where, mark)

    def unmark(self, where: str) -> None:
        """Note nothing of a server any more, which has lost data; raises as `edit`."""
        if any(where in file.marks for file in self.read().values()):
            with self.edit() as files:
                for name, file in files.items():
                    files[name] = file.unmarked(where)

    def hold(self) -> bool:
        """Be the one who sends these files; False where another process is."""
        if self._sending >= 0:
            return True
        path = self._path.with_name("uploads.lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._sending = fd
        return True

    def let_go(self) -> None:
        """Let others send."""
        if self._sending >= 0:
            fcntl.flock(self._sending, fcntl.LOCK_UN)
            os.close(self._sending)
            self._sending = -1

    def forget(self) -> None:
        """In a forked child: the parent goes on sending these files, and must not seem to when it
        is dead because this process lives."""
        if self._sending >= 0:
            os.close(self._sending)
            self._sending = -1

    def waiting(self) -> list[SavedFile]:
        """Return the files that no server has as they are now, or as `save()` named them last.

        Raises:
            Error: as `read`.
        """
        return [file for file in self.read().values() if not self._is_done(file)]

    def _is_done(self, file: SavedFile) -> bool:
        seen = self.seen(file.name)
        if any(mark.seen == GONE for mark in file.marks.values()) and seen == GONE:
            return True  # nothing is left to be sent
        return any(
            file.is_sent(where) and not file.is_due(where, seen, ended=True) for where in file.marks
        )

    def clear(self) -> None:
        """Delete what `save()` put into `run.dir` and a server has; the user's own files stay.

        For when the run has ended and nobody else is at work on it. Raises as `edit`.
        """
        waiting = {file.name: file for file in self.waiting()}
        for name, file in self.read().items():
            if file.linked and name not in waiting:
                self.path_of(name).unlink(missing_ok=True)
        for root, _, _ in os.walk(self._folder.files, topdown=False):
            with contextlib.suppress(OSError):  # it is not empty
                Path(root).rmdir()
        if waiting:
            with self.edit() as files:
                for name in files.keys() - waiting.keys():
                    del files[name]
            return
        for part in ("files.json", "files.json.new", "files.lock", "uploads.lock"):
            self._path.with_name(part).unlink(missing_ok=True)


def _lock(fd: int, path: Path) -> None:
    """Take a lock that others hold for milliseconds; raises TimeoutError where one keeps it."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"another process keeps the lock {path}") from None
            time.sleep(_LOCK_POLL)


def _plain(file: SavedFile) -> JsonObject:
    return {
        "policy": file.policy,
        "asked": file.asked,
        "linked": file.linked,
        "marks": {where: mark._asdict() for where, mark in file.marks.items()},
    }


def _parsed(told: dict[str, JsonObject]) -> dict[str, SavedFile]:
    return {
        name: SavedFile(
            name,
            entry["policy"],
            entry["asked"],
            entry["linked"],
            {where: _mark(**mark) for where, mark in entry["marks"].items()},
        )
        for name, entry in told.items()
    }


def _mark(asked: int, seen: list[int], error: str | None, last: bool) -> Mark:
    size, mtime_ns = seen
    return Mark(asked, (size, mtime_ns), error, last)
