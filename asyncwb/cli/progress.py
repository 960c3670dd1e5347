"""Where a command shows how far it is: stderr, as long as that takes anything.

What a command is asked to do does not stop because its terminal was closed, its pipe has no reader
or the disk with its log is full.
"""

from __future__ import annotations

import contextlib
import sys
from typing import IO, Any, cast

from rich.console import Console


def console() -> Console:
    """Return a console on stderr that drops what cannot be written."""
    return Console(file=cast("IO[str]", _Dropping(sys.stderr)) if sys.stderr else None, stderr=True)


class _Dropping:
    """A file like the one it is given, whose `write` and `flush` do not fail."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
