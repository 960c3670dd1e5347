"""The uploader of a data folder: sends what runs left whose server was away when they ended.

A process of its own, started by `engine.process.handover`. While the server is away it asks for it
now and then, and otherwise sleeps; it draws nothing, and it is gone once nothing is left to be
sent: all is at the server, was refused (which its log says), or its folder was deleted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from asyncwb.client.sync.backlog import look
from asyncwb.client.sync.sync import SyncResult, sync
from asyncwb.engine.process.handover import Queue
from asyncwb.engine.uplink.http import Http
from asyncwb.errors import CommError
from asyncwb.settings import Settings

_SHORTEST: Final = 1.0
_LONGEST: Final = 30.0
"""seconds between two questions for a server that is away"""
_LOOK: Final = 5.0
"""seconds between two looks into the queue"""
_PATIENCE: Final = 24 * 3600.0
"""seconds without any progress after which this gives up"""
_PROBE: Final = 10.0
_ATTEMPTS: Final = 4
_JOBS: Final = 4


class DetachedUploader:
    """Empties a queue.

    Mutable state: `_pause`, seconds until the server is asked for again; `_moved_at`, monotonic
    time of the last progress; how often each folder has `_failed` though the server was there.
    """

    def __init__(self, queue: Queue, settings: Settings) -> None:
        self._queue = queue
        self._settings = settings
        self._pause = _SHORTEST
        self._moved_at = time.monotonic()
        self._failed: Counter[Path] = Counter()

    async def run(self) -> None:
        """Send until nothing is left, or there was no progress for a day."""
        while waiting := self._queue.folders():
            if time.monotonic() - self._moved_at > _PATIENCE:
                self._give_up(waiting, f"no progress for {_PATIENCE / 3600:.0f} h")
                return
            if await self._answers():
                await self._send(waiting)
            await self._wait({*self._queue.folders()})

    async def _answers(self) -> bool:
        """Tell whether the server answers; an embedded one is started where it is needed."""
        url = self._settings.base_url
        if url is None:
            return True
        http = Http(_PROBE)
        try:
            return (await http.request("GET", f"{url}/")).status < 500
        except CommError:
            return False
        finally:
            await http.close()

    async def _send(self, waiting: list[Path]) -> None:
        results = await sync(waiting, settings=self._settings, jobs=_JOBS, report=lambda _: None)
        problems = {result.path: result for result in results if result.error}
        for folder in waiting:
            problem = problems.get(folder)
            if problem is None:
                if await to_thread.run_sync(look, folder) is None:  # else somebody is at work on it
                    self._done(folder)
            elif not problem.unreachable:
                self._failed[folder] += 1
                if self._failed[folder] == _ATTEMPTS:
                    self._say(problem)
                    self._done(folder)

    async def _wait(self, known: set[Path]) -> None:
        """Wait before the next try; at once where a run has ended meanwhile, or all is gone."""
        until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST)
        while known and (left := until - time.monotonic()) > 0:
            await anyio.sleep(min(left, _LOOK))
            now = {*self._queue.folders()}
            if not now or now - known:
                return

    def _done(self, folder: Path) -> None:
        self._queue.drop(folder)
        self._pause, self._moved_at = _SHORTEST, time.monotonic()

    def _say(self, result: SyncResult) -> None:
        sys.stderr.write(
            f"{result.run}: {result.error}. Send it with: asyncwb sync {result.path}\n"
        )

    def _give_up(self, folders: list[Path], reason: str) -> None:
        for folder in folders:
            self._say(SyncResult(folder, folder.name, 0, 0, reason))
            self._queue.drop(folder)


def main(path: str, lock: str) -> None:
    """Empty the queue at `path`, whose lock is open as the file descriptor `lock`."""
    queue, settings = Queue(Path(path)), Settings.resolve()
    fd: int | None = int(lock)
    while fd is not None:
        asyncio.run(DetachedUploader(queue, settings).run())
        fd = queue.leave(fd)


if __name__ == "__main__":
    main(*sys.argv[1:])
