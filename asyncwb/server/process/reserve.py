"""A reserve on the disk: a server whose disk is full still starts, to show what it has.

SQLite needs a little room to be opened at all, even to read. So a small file lies in the data
folder that takes room while there is some, and gives it back at a start that finds none.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

SIZE: Final = 256 * 2**10
"""bytes; SQLite's shared memory takes 32 KiB, `server.json` and the lock a page each"""
NAME: Final = ".reserve"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def give_back(folder: Path) -> None:
    """Free the room that was kept, where the disk has less left than that."""
    with suppress(OSError):
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize < SIZE:
            (folder / NAME).unlink(missing_ok=True)


def keep(folder: Path) -> None:
    """Take the room, if there is some."""
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        finally:
            os.close(descriptor)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or what it came from, says that a disk has no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, sqlite3.Error) and error.sqlite_errorcode in _SQLITE_FULL:
            return True
        error = error.__cause__
    return False


_SQLITE_FULL: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
)
