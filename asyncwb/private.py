"""Folders and files that nobody but their owner may read, from their first byte on.

Whoever may enter a data folder reads the database, the secret that signs addresses and the rows
of every run. So a folder is made closed, whatever the umask; one that is there already is closed
where that can surprise nobody, and refused where it could.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MAY_ENTER: Final = 0o011
"""the bits that let the group and everybody into a folder; without them the others give nothing"""


def make_private_folder(path: Path) -> None:
    """Make a folder, with those above it that are missing, for its owner alone.

    One that is there stays as it is: see `close_to_others`. Raises OSError.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def close_to_others(path: Path, *marks: str) -> None:
    """See to it that nobody but the owner may enter a folder that holds secrets.

    One that others can reach is closed where it is this user's own and either empty or in use
    already for what it is meant for, which one of `marks` in it tells.

    Raises:
        PermissionError: others may enter it and it is not for us to close; nothing was changed.
    """
    if not _others_reach(path):
        return
    if path.stat().st_uid != os.geteuid():
        raise PermissionError(
            "other users of this machine may read it, and it belongs to another user; a new folder "
            f"inside it will do, {path / 'asyncwb'} say"
        )
    if any((path / mark).exists() for mark in marks) or not any(path.iterdir()):
        path.chmod(0o700)
        return
    raise PermissionError(
        f"other users of this machine may read it, and it has files already. Close it with "
        f"`chmod 700 {path}`, or take a new folder inside it, {path / 'asyncwb'} say"
    )


def _others_reach(path: Path) -> bool:
    """Tell whether neither the folder nor one above it keeps other users out."""
    ours = (0, os.geteuid())
    found = (folder.stat() for folder in (path, *path.absolute().parents))
    return not any(one.st_uid in ours and not one.st_mode & _MAY_ENTER for one in found)


def write_private(path: Path, data: bytes) -> None:
    """Put a file where only its owner can read it: whole and on the disk, or not at all."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
