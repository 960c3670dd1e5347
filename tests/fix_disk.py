"""What is forced to the disk, and a disk that refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Disk:
    """Notes each file and folder that is forced to it; `refuses` some, with EIO.

    A refusal comes once, as a kernel's does: it gives up the pages, and the next attempt succeeds.
    """

    forced: list[Path] = field(default_factory=list)
    refuses: Callable[[Path], bool] = lambda _: False

    def _take(self, fd: int, force: Callable[[int], None]) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if self.refuses(path):
            self.refuses = lambda _: False
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        force(fd)
        self.forced.append(path)


@dataclass
class Room:
    """How many bytes `os.pwrite` may still write; then each is cut short, and the next fails."""

    left: int = 2**40
    truncates: bool = True
    """whether a file can still be cut; a disk that is going can fail at that, too"""


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """The real disk, until it is full."""
    made, write, truncate = Room(), os.pwrite, os.ftruncate

    def pwrite(fd: int, data: bytes | memoryview, offset: int) -> int:
        if not made.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: made.left]
        made.left -= len(part)
        return write(fd, part, offset)

    def ftruncate(fd: int, size: int) -> None:
        if not made.truncates:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        truncate(fd, size)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    return made


@pytest.fixture
def watched_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The real disk, watched."""
    disk, sync, datasync = Disk(), os.fsync, os.fdatasync
    monkeypatch.setattr(os, "fsync", lambda fd: disk._take(fd, sync))
    monkeypatch.setattr(os, "fdatasync", lambda fd: disk._take(fd, datasync))
    return disk
