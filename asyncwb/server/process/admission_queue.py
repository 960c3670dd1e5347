"""A bounded queue for work that takes memory: some at once, some waiting, the rest come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

AT_ONCE: Final = 4
"""batches decoded at once: each may take `max_raw` of memory."""
WAITING: Final = 64
"""batches that may wait for their turn; more are told to come back."""


class QueueFullError(Exception):
    """Too many are waiting already. Nothing was begun; what was refused may be sent again."""


class AdmissionQueue:
    """Gives turns, first come, first served. Belongs to one event loop."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        # No CapacityLimiter: it waits for a turn of the loop also where a place is free, which
        # takes milliseconds while a long answer is made (`graphql/execution/pace`), each time.
        self._free = anyio.Semaphore(at_once, fast_acquire=True)
        self._most = waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of the block.

        Raises:
            QueueFullError: too many are waiting already.
        """
        if self._free.statistics().tasks_waiting >= self._most:
            raise QueueFullError
        async with self._free:
            yield
