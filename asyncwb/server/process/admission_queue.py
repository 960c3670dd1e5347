"""A bounded queue for work that takes memory: some at once, some waiting, the rest come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

AT_ONCE: Final = 4
"""batches decoded at once: each may take `max_raw` of memory."""
WAITING: Final = 64
"""batches that may wait for their turn; more are told to come back."""


class QueueFullError(Exception):
    """Too many are waiting already. Nothing was begun; what was refused may be sent again."""


class AdmissionQueue:
    """Gives turns. Belongs to one event loop. Mutable state: `_waiting`."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = waiting
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of the block.

        Raises:
            QueueFullError: too many are waiting already.
        """
        if self._waiting >= self._most:
            raise QueueFullError
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
