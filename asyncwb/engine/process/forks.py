"""What a fork of this process must not fall into: the engine's imports, and pipes that are open.

A module's lock that is held at a fork is held for ever in the child: its first import of numpy
would never return. A pipe that is open at a fork stays open as long as the child lives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from contextlib import AbstractContextManager
from typing import Final

_TIMEOUT: Final = 10.0
_no_fork = threading.RLock()


def fork_waits() -> AbstractContextManager[object]:
    """Let forks of this process wait, ten seconds at most, until the block has ended."""
    return _no_fork


def _wait() -> None:
    _no_fork.acquire(timeout=_TIMEOUT)


def _go_on() -> None:
    with contextlib.suppress(RuntimeError):  # it was not ours: the wait timed out
        _no_fork.release()


def _start_afresh() -> None:
    """A child has none of its parent's threads: the lock may be held by one that is gone."""
    global _no_fork
    _no_fork = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_start_afresh)
