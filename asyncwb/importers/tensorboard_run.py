"""A folder of TensorBoard event files as one run: now, and while it still grows."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import anyio

from asyncwb.errors import ArgumentError
from asyncwb.importers.items import FileEntry, Found
from asyncwb.importers.tensorboard_logs import (
    EventFile,
    FilePart,
    find_event_files,
    find_limits,
    first_time,
)

_POLL: Final = 0.5


class TensorboardRun:
    """The source of one folder; make it with `open`.

    `quiet` above 0 follows files that still grow until nothing was added for so many seconds.
    `generation` counts how often all of it was to be sent anew; `sessions` tells the sessions apart
    that replaced something, as of the last `parts` (None: there are none).
    """

    def __init__(
        self, root: Path, files: Sequence[EventFile], run: str, project: str, entity: str | None
    ) -> None:
        self.label = root.name or str(root)
        self.entity = entity
        self.project = project
        self.run = run
        self.quiet = 0.0
        self.generation = 0
        self.sessions: str | None = None
        self._root = root
        self._files = files
        self._parts: dict[tuple[str, int], FilePart] = {}
        self._size = 0
        self._started_at = 0.0

    @classmethod
    def open(cls, root: Path, run: str | None, project: str, entity: str | None) -> TensorboardRun:
        """Look into a folder; the run's id is one of the folder's path where none is given.

        Raises:
            UsageError: there is no such folder, or no event file in it.
        """
        root = root.expanduser()
        if not root.is_dir():
            raise ArgumentError(f"No such folder: {root}. Nothing was imported")
        root = root.resolve()
        files = find_event_files(root)
        if not files:
            raise ArgumentError(
                f"There is no TensorBoard event file in {root}. Nothing was imported"
            )
        own = "tb" + hashlib.sha256(str(root).encode()).hexdigest()[:10]
        return cls(root, files, run or own, project, entity)

    @property
    def grows(self) -> bool:
        """Whether files that still grow are followed."""
        return self.quiet > 0

    async def parts(self, *, media: bool) -> Sequence[FilePart]:
        """Return the files, each the same object every time."""
        return await asyncio.to_thread(self._open, media)

    def _open(self, media: bool) -> list[FilePart]:
        self._size = _size(self._files)
        self._files = find_event_files(self._root)
        replaced = find_limits(self._files)
        if not self._started_at:
            times = [at for at in map(first_time, self._files) if at is not None]
            self._started_at = min(times, default=time.time())
        restarts = sorted((name, limits.inner) for name, limits in replaced.items() if limits.inner)
        self.sessions = _digest(repr(restarts)) if restarts else None
        parts = {}
        for file in self._files:
            place = file.name, self.generation
            part = self._parts.get(place)
            if part is None:
                began = first_time(file) or self._started_at
                writer = _writer(file, self.generation)
                part = FilePart(file, writer=writer, started_at=began, media=media)
            parts[place] = part
            part.limits = replaced[file.name]
        self._parts = parts
        return list(parts.values())

    def writers(self) -> set[str]:
        """Return the names of the files' writers, in this generation and the ones before."""
        generations = range(self.generation + 1)
        return {_writer(file, generation) for file in self._files for generation in generations}

    async def settled(self) -> bool:
        """Wait until something was added; True: nothing was for long enough."""
        deadline = time.monotonic() + self.quiet
        while time.monotonic() < deadline:
            await anyio.sleep(_POLL)
            if await asyncio.to_thread(lambda: _size(find_event_files(self._root))) != self._size:
                return False
        return True

    async def closing(self) -> Found:
        """Say that the run has ended, at the time of its last event."""
        unread = [part for part in self._parts.values() if part.waiting and not part.damage]
        notes = [
            f"{part.file.path.name}: its last {part.waiting:,} bytes are no whole record yet"
            for part in unread
        ]
        ended = max((part.last_time for part in self._parts.values()), default=0.0)
        start = {
            "t": "start",
            # Its rows are the newest of the last files.
            "at": max((p.started_at for p in self._parts.values()), default=self._started_at),
            "name": self.label,
            "config": {},
            "resume": "must",
        }
        finish = {"t": "finish", "exit_code": 0, "at": max(ended, self._started_at)}
        return Found(closing=[start, finish], notes=notes)

    async def files(self) -> AsyncIterator[FileEntry]:
        """Give nothing: the rows bring their own files."""
        nothing: tuple[FileEntry, ...] = ()
        for file in nothing:
            yield file


def _writer(file: EventFile, generation: int) -> str:
    return "tfe-" + _digest(f"{file.name}#{generation}" if generation else file.name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _size(files: Sequence[EventFile]) -> int:
    return sum(file.path.stat().st_size for file in files)
