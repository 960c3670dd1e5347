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


@pytest.fixture
def watched_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The real disk, watched."""
    disk, sync, datasync = Disk(), os.fsync, os.fdatasync
    monkeypatch.setattr(os, "fsync", lambda fd: disk._take(fd, sync))
    monkeypatch.setattr(os, "fdatasync", lambda fd: disk._take(fd, datasync))
    return disk
