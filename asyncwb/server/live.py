"""Telling open pages that a run has changed.

Ingest publishes the inner id of each run that it committed; whoever watches that run wakes up
and reads it anew. Nothing is queued, so a slow page costs no memory: it only sees fewer of the
versions. Runs that another server process wrote to are noticed by polling their version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

MIN_INTERVAL: Final = 0.25
"""seconds between two events of one connection."""
POLL: Final = 2.0
"""seconds after which a watcher looks at the database by itself."""
PING: Final = 15.0
"""seconds between comments that keep proxies from closing a silent connection."""


class Hub:
    """Who watches which run in this process. Use it on the event loop's thread only."""

    def __init__(self) -> None:
        self._watchers: dict[int, set[asyncio.Event]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the server is stopping: watchers should end."""
        return self._closed

    @property
    def watching(self) -> int:
        """How many watchers there are."""
        return sum(len(events) for events in self._watchers.values())

    @contextmanager
    def watch(self, run_id: int) -> Iterator[asyncio.Event]:
        """Give an event that is set on every change of the run; the watcher clears it."""
        changed = asyncio.Event()
        if self._closed:
            changed.set()
        self._watchers.setdefault(run_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._watchers[run_id].discard(changed)
            if not self._watchers[run_id]:
                del self._watchers[run_id]

    def publish(self, run_ids: Iterable[int]) -> None:
        """Wake the watchers of these runs."""
        for run_id in run_ids:
            for changed in self._watchers.get(run_id, ()):
                changed.set()

    def close(self) -> None:
        """Wake everyone for the last time."""
        self._closed = True
        self.publish(list(self._watchers))


async def wait_for(changed: asyncio.Event, timeout: float) -> bool:
    """Wait until the event is set, at most `timeout` seconds; tell whether it was."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await changed.wait()
    return changed.is_set()
