"""Keeping what queries read up to date, in the background.

A query brings the runs of its project up to date before it reads; this task makes sure that it
finds few. A run that has ended (or changed after it had) is indexed at the next look; one that is
running, at most every `every` seconds, however fast it logs. A look is one statement over an index
that is empty while nothing changed, and a turn takes at most a quarter of the time, so that ingest
keeps its share of a core. Any number of server processes may do this at once (see
`store.queries.fields`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import anyio
from aiohttp import web

from asyncwb.server.http.state import STATE
from asyncwb.server.process.background import TASKS, shielded
from asyncwb.server.store.queries.fields import CHUNK, Fields, StaleRun

_LOOK: Final = 1000
"""runs of one statement that looks for work"""
_SHARE: Final = 3.0
"""seconds of rest for each second of work"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPolicy:
    """When runs are indexed.

    Args:
        every: seconds between two times for one running run.
        pause: seconds between looks for work.
    """

    every: float = 10.0
    pause: float = 1.0


class Indexer:
    """The background task of one server process.

    Args:
        fields: the statements.
        policy: when.
        clock: seconds, of any origin.
    """

    def __init__(
        self,
        fields: Fields,
        policy: IndexPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fields = fields
        self._policy = policy or IndexPolicy()
        self._clock = clock
        # run id -> when it was indexed last while running; only runs that are stale now.
        self._indexed: dict[int, float] = {}

    async def work(self) -> float:
        """Index whatever is due now; returns for how many seconds to rest."""
        began = time.monotonic()
        await self.turn()
        return max(self._policy.pause, _SHARE * (time.monotonic() - began))

    async def turn(self) -> int:
        """Index every run that is due now; return how many."""
        done, after = 0, None
        seen: set[int] = set()
        while True:
            stale = await shielded(self._fields.stale(after=after, limit=_LOOK))
            seen.update(run.id for run in stale)
            done += await self._index([run for run in stale if self._due(run)])
            if len(stale) < _LOOK:
                break
            after = stale[-1]
        limit = self._clock() - self._policy.every
        kept = {number: at for number, at in self._indexed.items() if number in seen or at > limit}
        self._indexed = kept
        return done

    def _due(self, run: StaleRun) -> bool:
        if run.state != "running":
            return True
        last = self._indexed.get(run.id)
        return last is None or self._clock() - last >= self._policy.every

    async def _index(self, due: list[StaleRun]) -> int:
        for start in range(0, len(due), CHUNK):
            some = due[start : start + CHUNK]
            began = time.monotonic()
            await shielded(self._fields.update(some))
            now = self._clock()
            self._indexed.update((run.id, now) for run in some)
            if start + CHUNK < len(due):
                await anyio.sleep(_SHARE * (time.monotonic() - began))
        return len(due)


async def background(app: web.Application) -> AsyncIterator[None]:
    """Index in the background (a cleanup context of aiohttp)."""
    state = app[STATE]
    indexer = Indexer(Fields(state.database))
    async with app[TASKS].keep("indexing", indexer.work):
        yield
