"""Leaving run folders to a process that goes on sending them when this one is gone.

There is one such uploader for a data folder, a server and a key (which it gets by its environment
and which never lies on the disk). Its queue is a folder:

<data>/uploads/<name>/
    20261121_093000-k3v9q2xa-5f1c09d2.run   the path of a run folder that is left to it
    lock                                    held (flock) by the uploader from its birth
    log                                     what it could not send, and why

Who leaves a folder writes the entry first and then tries the lock: where that is taken the uploader
will find the entry, since it looks once more after it has let go of the lock; where it is free, an
uploader is started and inherits it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncwb.settings import Settings

if TYPE_CHECKING:
    import subprocess

_SUFFIX: Final = ".run"
_PATIENCE: Final = 60.0
"""seconds that the uploader waits for an acknowledgement, before it looks for the server again"""

started: Final[list[subprocess.Popen[bytes]]] = []
"""the uploaders that this process has started; kept, since collecting a live Popen is a warning"""


class Queue:
    """Run folders that are left to one uploader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> Queue:
        """Return the queue for a data folder, a server and a key."""
        told = "\0".join((settings.base_url or "embedded", settings.api_key or ""))
        name = hashlib.sha256(told.encode()).hexdigest()[:16]
        return cls(settings.data_dir.absolute() / "uploads" / name)

    def add(self, folder: Path) -> None:
        """Leave a run folder to the uploader.

        Raises:
            OSError: the entry cannot be written.
        """
        while True:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            entry = self._entry(folder)
            fresh = entry.with_suffix(".new")
            try:
                fresh.write_text(str(folder.absolute()))
                fresh.replace(entry)
            except FileNotFoundError:  # an uploader had nothing more to do just now
                continue
            return

    def folders(self) -> list[Path]:
        """Return the run folders that wait, the oldest first; those that are gone are forgotten."""
        found = []
        for entry in sorted(self.path.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(FileNotFoundError):
                folder = Path(entry.read_text())
                if folder.is_dir():
                    found.append(folder)
                else:
                    entry.unlink()
        return found

    def drop(self, folder: Path) -> None:
        """Forget a run folder."""
        self._entry(folder).unlink(missing_ok=True)

    def _entry(self, folder: Path) -> Path:
        return self.path / f"{folder.name}{_SUFFIX}"

    def lock(self) -> int | None:
        """Take the queue's lock; None where an uploader has it.

        Raises:
            OSError: there is no such queue (any more).
        """
        while True:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # an uploader that ended has deleted it meanwhile

    def leave(self, fd: int) -> int | None:
        """End as the queue's uploader; returns the lock again where something has come."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "lock").unlink()
        os.close(fd)
        if self.folders():
            return self.lock()
        log = self.path / "log"
        with contextlib.suppress(OSError):  # a log that says something stays
            if log.exists() and not log.stat().st_size:
                log.unlink()
            self.path.rmdir()
        return None


def hand_over(settings: Settings, folders: Sequence[Path]) -> None:
    """Leave run folders to the uploader, which is started where there is none.

    Raises:
        OSError: it could not be told or started.
    """
    queue = Queue.of(settings)
    for folder in folders:
        queue.add(folder)
    fd = queue.lock()
    if fd is None:
        return
    try:
        _start(queue, fd, settings)
    finally:
        os.close(fd)  # the uploader has it


def _start(queue: Queue, fd: int, settings: Settings) -> None:
    import subprocess  # 5 ms that a run which ends well need not wait for

    env = {
        **os.environ,  # the key goes by the environment: a command line is public
        **({"ASYNCWB_API_KEY": key} if (key := settings.api_key) else {}),
        "ASYNCWB_BASE_URL": settings.base_url or "embedded",
        "ASYNCWB_DATA_DIR": str(settings.data_dir.absolute()),
        "ASYNCWB_FINISH_TIMEOUT": str(_PATIENCE),
    }
    with (queue.path / "log").open("ab") as log:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "asyncwb.client.sync.uploader", str(queue.path), str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=queue.path,
                env=env,
                pass_fds=(fd,),
                start_new_session=True,
            )
        )
