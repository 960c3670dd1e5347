"""Rows and events that no request may hold: kept in the run's folder, as JSON, one file each.

They must not keep back all that stands behind them. Whoever sets one aside sends a frame in its
place, so that the server counts it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from asyncwb.engine.journal import durable
from asyncwb.printable import counted
from asyncwb.wire.rows.values import dumps

TINY: Final = 16 * 2**10
"""bytes: who says that a request of this size is too large means something else, which may pass"""


class Aside:
    """What was set aside of one writer.

    Mutable state: `files`, by name; `count`, how many rows and events that is; `_why`, what the
    last of them was larger than.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        self.count = 0
        self._why = ""

    def put(self, name: str, content: object, why: str, *, counts: bool = True) -> Path:
        """Write something into a file, which is on the disk when this returns.

        Args:
            name: of the file; under the same name the same is written again.
            content: as JSON.
            why: goes on after "is ..."; see `problem`.
            counts: it is a row or an event, not something made of several.

        Raises:
            OSError: the disk does not take it.
        """
        path = self.folder / f"{name}.json"
        self.folder.mkdir(exist_ok=True)
        durable.replace(path, dumps(content))
        durable.force_names(self.folder.parent)
        self.count += counts and name not in self.files
        self.files[name] = path
        self._why = why
        return path

    def drop(self, name: str) -> None:
        """Delete the file of what has been sent after all."""
        path = self.files.pop(name, None)
        if path is not None:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are in it
                self.folder.rmdir()

    @property
    def problem(self) -> str | None:
        """What was set aside, in words; None: nothing."""
        if not self.files:
            return None
        rest = len(self.files) - self.count
        told = [counted(self.count, "row or event", "rows or events")] if self.count else []
        told += [counted(rest, "document")] if rest else []
        verb = "is" if len(self.files) == 1 else "are"
        return (
            f"{' and '.join(told)} {verb} {self._why}, and set aside in {self.folder} as JSON; "
            "all others were sent"
        )


def too_large(reason: str) -> str:
    """Tell what something is that was refused for its size, for a `reason`."""
    return f"larger than the server, or a proxy in front of it, takes at once ({reason})"
