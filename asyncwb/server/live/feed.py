"""Telling open pages that a run has changed, and what.

Ingest publishes the inner id of each run that it committed; whoever watches that run wakes up.
However many watch it, the run is read once for all of them (`Watched.look`), and what an event says
is written once: all that is known for who has just come, and what is new since the last reading
for the others. Nothing is queued, and a watcher remembers the number of the version that it was
told last, so a slow page costs no memory: it sees fewer of the versions.
Runs that another server process wrote to are told by it (`other_servers`), and where that did not
arrive, noticed by one question for all that are watched (`Hub.compare`); a stream of a run that
says nothing costs a comment now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

import anyio

MIN_INTERVAL: Final = 0.25
"""seconds between two readings of one run."""
_SHARE: Final = 5
"""a run that takes long to read is read more rarely: this many times as long apart"""
_MAX_INTERVAL: Final = 2.0
POLL: Final = 2.0
"""seconds between two looks at what other processes wrote."""
PING: Final = 15.0
"""seconds between comments that keep proxies from closing a silent connection."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A run at one moment: figures, and a summary of which what is long is cut.

    The summary is empty where nobody asked for it. `change` is the event that tells it to who was
    told version `since` last; None: to who was told nothing.
    """

    version: int
    figures: Mapping[str, object]
    summary: Mapping[str, object]
    since: int | None
    change: bytes


class Watched:
    """A run that somebody watches.

    Mutable state: `changed`, an event for each watcher; `_changes`, how often the run was
    published, and `_read_at`, how often when it was read last; `latest`, the last reading; `whole`,
    the event that tells all of it, once somebody has asked for that; `_free_at`, when it may be
    read again.
    """

    def __init__(self) -> None:
        self.changed: set[asyncio.Event] = set()
        self.latest: Snapshot | None = None
        self.whole: bytes | None = None
        self._changes = 0
        self._read_at = -1
        self._free_at = 0.0
        self._lock = anyio.Lock(fast_acquire=True)

    def publish(self) -> None:
        """Wake all who watch."""
        self._changes += 1
        for changed in self.changed:
            changed.set()

    async def look(self, read: Callable[[Snapshot | None], Awaitable[Snapshot | None]]) -> None:
        """See that `latest` is the run as it is, or was a moment ago; None where it is gone.

        Reads it with `read`, which is given `latest`, where it has changed; once for all who look
        at the same time.
        """
        async with self._lock:
            if self._read_at != self._changes:
                await anyio.sleep(max(0.0, self._free_at - monotonic()))
                began, changes = monotonic(), self._changes
                found = await read(self.latest)
                now = monotonic()
                pause = min(_MAX_INTERVAL, max(MIN_INTERVAL, _SHARE * (now - began)))
                self._free_at, self._read_at = now + pause, changes
                if found is None or self.latest is None or found.version != self.latest.version:
                    self.latest, self.whole = found, None


class Hub:
    """Who watches which run in this process, with its summary or without it.

    `tell` is called with what this process published, for those who are no pages of its own. Use it
    on the event loop's thread only.
    """

    def __init__(self) -> None:
        self.tell: Callable[[Iterable[int]], None] | None = None
        self._watched: dict[tuple[int, bool], Watched] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the server is stopping: watchers should end."""
        return self._closed

    @property
    def watching(self) -> int:
        """How many watchers there are."""
        return sum(len(watched.changed) for watched in self._watched.values())

    @property
    def runs(self) -> list[int]:
        """The inner ids of the runs that are watched."""
        return list({run_id for run_id, _ in self._watched})

    @contextmanager
    def watch(self, run_id: int, *, summary: bool) -> Iterator[tuple[Watched, asyncio.Event]]:
        """Give the run and an event that is set on every change of it; the watcher clears it.

        Those who want its summary and those who do not share nothing: reading it may cost much.
        """
        changed = asyncio.Event()  # which can be cleared; anyio's cannot
        if self._closed:
            changed.set()
        watched = self._watched.setdefault((run_id, summary), Watched())
        watched.changed.add(changed)
        try:
            yield watched, changed
        finally:
            watched.changed.discard(changed)
            if not watched.changed:
                del self._watched[run_id, summary]

    def publish(self, run_ids: Iterable[int]) -> None:
        """Say that this process has changed these runs: their watchers wake."""
        changed = list(run_ids)
        self.wake(changed)
        if self.tell is not None:
            self.tell(changed)

    def wake(self, run_ids: Iterable[int]) -> None:
        """Wake the watchers of these runs."""
        for run_id in run_ids:
            for summary in (False, True):
                watched = self._watched.get((run_id, summary))
                if watched is not None:
                    watched.publish()

    def compare(self, versions: Mapping[int, int]) -> None:
        """Wake the watchers of runs that are of another version by now, or are gone."""
        for (run_id, _), watched in self._watched.items():
            latest = watched.latest
            if latest is not None and versions.get(run_id) != latest.version:
                watched.publish()

    def close(self) -> None:
        """Wake everyone for the last time."""
        self._closed = True
        self.wake(self.runs)


async def wait_for(changed: asyncio.Event, timeout: float) -> bool:
    """Wait until the event is set, at most `timeout` seconds; tell whether it was."""
    with anyio.move_on_after(timeout):
        await changed.wait()
    return changed.is_set()
