"""The folder of one writer: its journal, what it belongs to, and who is at work on it.

<runs>/20261121_093000-k3v9q2xa-5f1c09d2/
    run.json     whose rows these are (entity, project, run, writer), mode, server, start
    lock         held (flock) by the process that writes, or by the one that drains
    journal/     segments that are not acknowledged yet
    sealed/      an offline run: compressed frames
    files/       run.dir: the user's files
    aside/       rows and events too large to be sent, as JSON
    files.json   which of them are to be sent, and which server has what; see `saved`
    synced.json  an offline run: how far which server has it
    wandb.json   sent to a W&B server: how far, and what its lines go on from
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
import weakref
from glob import escape
from pathlib import Path
from typing import Final, NamedTuple

from asyncwb.descriptors import fill_standard_descriptors
from asyncwb.engine.journal import durable
from asyncwb.errors import Error
from asyncwb.private import make_private_folder
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.stream import StreamHead

_DESCRIPTION: Final = "run.json"
_NAME: Final = re.compile(r"\d{8}_\d{6}-.+-[0-9a-f]{8}")
_EMPTY: Final = {
    *(_DESCRIPTION, "lock", "files.lock", "uploads.lock", "files.json.new"),
    *("synced.json", "synced.json.new", "wandb.json", "wandb.json.new"),
}
"""what may be in a folder in which nothing is the user's"""


class Description(NamedTuple):
    """What `run.json` says."""

    entity: str | None
    project: str
    run: str
    writer: str
    mode: str
    base_url: str | None
    started_at: float

    @property
    def head(self) -> StreamHead:
        """Whose frames the journal holds."""
        return StreamHead(self.entity, self.project, self.run, self.writer)


class RunFolder:
    """One writer's folder on disk; `path` may be moved as a whole while nobody holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        self._is_synced = False

    @classmethod
    def create(cls, runs: Path, description: Description) -> RunFolder:
        """Make the folder, lock it and describe it; raises OSError where that is impossible."""
        started = time.strftime("%Y%m%d_%H%M%S", time.localtime(description.started_at))
        folder = cls(runs / f"{started}-{description.run}-{description.writer}")
        make_private_folder(folder.files)
        if not folder.lock():
            raise Error(f"{folder.path} is in use by another process")
        (folder.path / _DESCRIPTION).write_bytes(dumps(description._asdict()))
        return folder

    @property
    def files(self) -> Path:
        """The user's files."""
        return self.path / "files"

    @property
    def journal(self) -> Path:
        """Segments that are not acknowledged."""
        return self.path / "journal"

    @property
    def sealed(self) -> Path:
        """Compressed frames of an offline run."""
        return self.path / "sealed"

    @property
    def aside(self) -> Path:
        """What is too large to be sent."""
        return self.path / "aside"

    def describe(self) -> Description:
        """Read `run.json`.

        Raises:
            Error: it is missing or damaged.
        """
        try:
            return Description(**loads((self.path / _DESCRIPTION).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise Error(
                f"{self.path / _DESCRIPTION} cannot be read ({error}), so it is not known whose "
                "rows these are. The journal beside it is untouched."
            ) from error

    def lock(self) -> bool:
        """Take the folder for this process; False where another one has it."""
        if self._lock >= 0:
            return True
        fill_standard_descriptors()
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock = fd
        _locked.add(self)
        return True

    def unlock(self) -> None:
        """Let go of the folder."""
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # a process that was forked may have a copy
            self.forget()

    def forget(self) -> None:
        """In a forked child: the parent is at work on it, and must not seem to be when it is dead
        because this process lives."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def sync(self) -> None:
        """Force to the disk what tells whose rows the journal holds, and the way to it.

        Raises:
            OSError: the disk did not take it.
        """
        if not self._is_synced:
            durable.force(self.path / _DESCRIPTION)
            durable.force_path(self.path)
            self._is_synced = True

    def read_synced(self) -> JsonObject:
        """Return what `synced.json` says: {server url: next sequence number}."""
        try:
            synced = loads((self.path / "synced.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return synced if isinstance(synced, dict) else {}

    def write_synced(self, base_url: str, next_seq: int) -> None:
        """Note how far a server has this writer's data."""
        synced = {**self.read_synced(), base_url: next_seq}
        fresh = self.path / "synced.json.new"
        fresh.write_bytes(dumps(synced))
        fresh.replace(self.path / "synced.json")

    def read_translated(self, base_url: str) -> JsonObject | None:
        """Return what `write_translated` left for a server; None: nothing, or it is damaged."""
        translated = self._read_all_translated().get(base_url)
        return translated if isinstance(translated, dict) else None

    def _read_all_translated(self) -> JsonObject:
        try:
            translated = loads((self.path / "wandb.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return translated if isinstance(translated, dict) else {}

    def write_translated(self, base_url: str, state: JsonObject) -> None:
        """Note how a W&B server has this writer's data; on the disk when this returns.

        Raises:
            OSError: it could not be written; what was there before still is.
        """
        translated = {**self._read_all_translated(), base_url: state}
        durable.replace(self.path / "wandb.json", dumps(translated))

    def remove_if_empty(self) -> None:
        """Delete the folder once nothing in it is the user's: no files and no journal.

        It goes under its name at once: whoever is at work on it, too, finds all of it or nothing,
        and makes nothing new in it.
        """
        with contextlib.suppress(OSError):
            self.files.rmdir()
        gone = self.path.with_name(f".{self.path.name}")
        with contextlib.suppress(OSError):  # somebody else has done it
            if _EMPTY.issuperset(os.listdir(self.path)):
                self.path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)


_locked: Final[weakref.WeakSet[RunFolder]] = weakref.WeakSet()


def _after_fork() -> None:
    for folder in list(_locked):
        folder.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_folders(runs: Path) -> list[Path]:
    """Return the run folders in a folder, oldest first."""
    return sorted(path.parent for path in runs.glob(f"[!.]*/{_DESCRIPTION}"))


def is_run_folder_name(name: str) -> bool:
    """Tell whether a folder of this name may be, or have been, a run's."""
    return _NAME.fullmatch(name) is not None


def folders_of(runs: Path, project: str, run: str) -> list[tuple[RunFolder, Description]]:
    """Find the folders of a run's writers, oldest first; those that cannot be read are left out."""
    found = []
    for path in runs.glob(f"[!.]*-{escape(run)}-*/{_DESCRIPTION}"):
        folder = RunFolder(path.parent)
        with contextlib.suppress(Error):
            described = folder.describe()
            if (described.project, described.run) == (project, run):
                found.append((folder, described))
    return sorted(found, key=lambda pair: pair[1].started_at)


def new_writer() -> str:
    """Return a name for a writer that nobody else has."""
    return os.urandom(4).hex()


def child_of(writer: str) -> str:
    """Return a new name for a writer that a fork of this one makes: the server knows by it that
    the run is the first one's to finish."""
    return f"{writer.partition('-')[0]}-{new_writer()}"


def is_kin(writer: str, other: str) -> bool:
    """Tell whether two writers are forks of one, or one of the other."""
    return writer.partition("-")[0] == other.partition("-")[0]
