"""What makes the disk hold a file, not only the page cache: its bytes, and the names above it.

A file whose bytes are on the disk is lost all the same where the folder that names it is not.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_NO_FOLDERS: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}
"""what a file system says that cannot be asked to write a folder; some network mounts"""


def force(path: Path) -> None:
    """Force a file's bytes to the disk; raises OSError where that fails."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def force_names(folder: Path) -> None:
    """Force the names in a folder to the disk; raises OSError where that fails."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(fd)


def force_path(folder: Path) -> None:
    """Force the names in a folder and in those above it, as far as the file system reaches.

    Any of them may be new.
    """
    folder = folder.resolve()
    device = folder.stat().st_dev
    for path in (folder, *folder.parents):
        if path.stat().st_dev != device:
            return
        try:
            force_names(path)
        except PermissionError:  # one that we may not list, and so have not made
            return


def replace(path: Path, data: bytes) -> None:
    """Put a file in another one's place, whole or not at all; on the disk when this returns.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())
    fresh.replace(path)
    force_names(path.parent)
