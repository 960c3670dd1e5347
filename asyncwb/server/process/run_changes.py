"""Changing runs by what takes a while to compute: read, compute, then write what still stands.

    read                      what the runs say, in a snapshot that locks nothing
    compute                   with no transaction open, in a thread where it is worth the hop
    ONE short transaction     lock the rows of the runs; where their versions are those that were
                              read, write; else all of it once more

Whoever changes a run or its writers lets the run's version grow, in the same transaction. So a
version that has not changed says that nothing has that a change is computed from.

In one process, changes of the same run follow one another and none is computed in vain; only an
edit, a rewind, crash detection or another process on the same PostgreSQL comes in between. After
`ROUNDS` of that, the runs are locked first and the change is computed with their rows held: dear
to whoever waits for them, but it ends, whatever the other processes do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import Final, Protocol, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import anyio

from asyncwb.server.store.database import AsyncConnection, Database
from asyncwb.server.store.records import RunKey

Seen = TypeVar("Seen")
Done = TypeVar("Done")
Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection]]

ROUNDS: Final = 5
"""times that a change is computed without a lock"""


class ChangedError(Exception):
    """A run is not as it was read: what was computed from it must not be written."""


class Change(Protocol[Seen, Done]):
    """One request's change of some runs. Its steps may be done again, from the first on."""

    @property
    def paths(self) -> Collection[RunKey]:
        """The runs, by the names under which they were asked for."""

    async def read(self, connect: Connect, *, fresh: bool) -> Seen:
        """Read what the change depends on; `fresh` forbids to go by what was read before."""

    async def compute(self, seen: Seen) -> Done:
        """Say what is to be written. No statement is run."""

    async def lock(self, connection: AsyncConnection) -> None:
        """Lock the rows of the runs that are there."""

    async def write(self, connection: AsyncConnection, seen: Seen, done: Done) -> None:
        """Lock the rows of the runs and write.

        Raises:
            ChangedError: they are not as they were seen.
        """


class RunChanges:
    """Carries changes out. Belongs to one event loop. Mutable state: `_locks`, of those at work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks: WeakValueDictionary[RunKey, anyio.Lock] = WeakValueDictionary()

    async def carry_out(self, change: Change[Seen, Done]) -> Done:
        """Do what a change says, once; returns what was written."""
        async with AsyncExitStack() as order:
            for path in sorted(set(change.paths)):
                lock = self._locks.setdefault(path, anyio.Lock(fast_acquire=True))
                await order.enter_async_context(lock)
            for number in range(ROUNDS):
                seen = await change.read(self._database.connect, fresh=number > 0)
                done = await change.compute(seen)
                try:
                    async with self._database.transaction() as connection:
                        await change.write(connection, seen, done)
                except ChangedError:
                    continue
                return done
            return await self._locked(change)

    async def _locked(self, change: Change[Seen, Done]) -> Done:
        while True:  # a run that was not there has no row to lock, and may be made meanwhile
            try:
                async with self._database.transaction() as connection:
                    await change.lock(connection)
                    seen = await change.read(lambda: nullcontext(connection), fresh=True)
                    done = await change.compute(seen)
                    await change.write(connection, seen, done)
            except ChangedError:
                continue
            return done
