"""A damaged write-ahead log of SQLite is kept beside its database: opening that takes it away.

SQLite reads such a log up to the damage, and then deletes it or writes over it. So whoever opens
the database calls `keep` before; `kept` names the copies for as long as they are there:

    asyncwb.db-wal.damaged-1
"""

from __future__ import annotations

import filecmp
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Final

from asyncwb.errors import UsageError
from asyncwb.server.store.write_ahead_log import INDEX_HEADS, LogDamage, find_damage

_WHAT_TO_DO: Final = (
    "Clients send again what they still have, and count the rest as lost; a backup may have more. "
    "Delete the copy when that is settled"
)


def keep(file: Path) -> str | None:
    """Copy the log of a database that nobody has open, where it is damaged.

    Costs reading the log. Returns what to say of it; None where nothing is damaged.

    Raises:
        UsageError: it cannot be read, or is damaged and cannot be copied; nothing was changed.
    """
    log = _log_of(file)
    try:
        damage = _damage(log, _index_of(log))
        if damage is None:
            return None
        copy = _copy(log)
    except OSError as error:
        raise UsageError(
            f"SQLite's write-ahead log {log} cannot be read, or it is damaged and cannot be copied "
            f"beside it: {error.strerror or error}. The database was not opened, because that "
            "takes the log away, and nothing was changed; see to it that the folder can be read "
            "and has room for a copy of the log, and begin again."
        ) from error
    return f"{_described(log, damage)}. The damaged log is kept as {copy}. {_WHAT_TO_DO}"


def kept(file: Path) -> list[str]:
    """Return what to say of each copy that is there. Costs reading them; raises OSError."""
    return [
        f"{_described(copy, _damage(copy, b''))}. This is the copy that was kept when the database "
        f"was opened. {_WHAT_TO_DO}"
        for copy in _copies(_log_of(file))
    ]


def in_use(file: Path) -> list[str]:
    """Return what to say of the log of a database that a server has open. Raises OSError."""
    log = _log_of(file)
    # Without the index: to close that file would end SQLite's locks, were the server this process.
    damage = _damage(log, b"")
    if damage is None:
        return []
    return [f"{_described(log, damage)}, if the server is killed now; make a backup"]


def _described(log: Path, damage: LogDamage | None) -> str:
    where, about = ("", 1) if damage is None else (f" at byte {damage.offset:,}", damage.lost)
    return (
        f"{log} (SQLite's write-ahead log) is damaged{where}: what was committed from there on is "
        f"lost, about {about:,} transactions"
    )


def _damage(log: Path, index: bytes) -> LogDamage | None:
    try:
        with log.open("rb") as file:
            return find_damage(file, index)
    except FileNotFoundError:
        return None


def _log_of(file: Path) -> Path:
    file = file.resolve()  # as SQLite does
    return file.with_name(f"{file.name}-wal")


def _index_of(log: Path) -> bytes:
    try:
        with log.with_name(f"{log.name.removesuffix('-wal')}-shm").open("rb") as index:
            return index.read(INDEX_HEADS)
    except FileNotFoundError:
        return b""


def _copies(log: Path) -> list[Path]:
    prefix = f"{log.name}.damaged-"
    return sorted(path for path in log.parent.iterdir() if path.name.startswith(prefix))


def _copy(log: Path) -> Path:
    """Copy a log under a free name: whole and on the disk, for its owner alone.

    Where there is such a copy already, of a start that was cut short, that one will do.
    """
    for copy in _copies(log):
        if filecmp.cmp(log, copy, shallow=False):
            return copy
    names = (log.with_name(f"{log.name}.damaged-{number}") for number in count(1))
    copy = next(name for name in names if not name.exists())
    fresh = log.with_name(f".{copy.name}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as target, log.open("rb") as source:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        fresh.rename(copy)
        _force_names(log.parent)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    return copy


def _force_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
