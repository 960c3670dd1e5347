"""Threads for work that blocks: those who read have theirs, and those who write have theirs.

One pool for all would let slow charts (a bucket that answers late, a long history) fill it, and
ingest would wait for a thread, and whoever logs for ingest.

    readers    series, histories, samples: as many at once as there are threads, the rest waits
    writers    ingest and file_stream: never more at once than there are threads, so none waits
    anyio's    the rest: uploads, sealing, collecting garbage, checking a GraphQL document
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

from asyncwb.server.process.admission_queue import AT_ONCE

T = TypeVar("T")
Args = TypeVarTuple("Args")

READERS: Final = 8
WRITERS: Final = 2 * AT_ONCE
"""ingest and file_stream give `AT_ONCE` turns each, and a turn is in one thread at a time"""
OTHERS: Final = min(32, (os.cpu_count() or 1) + 4)
"""threads of anyio's (its own default, 40, could take the loop's share of a small machine)"""


class Threads:
    """A pool of threads; they start when they are needed.

    Not anyio's with a limiter: a request that aiohttp or GraphQL's time limit cancels leaves its
    thread at work, and anyio gives the thread's place to the next one at once; a pool has none to
    give. And anyio waits for two turns of the loop first, which ingest has no time for.

    Args:
        name: of the threads.
        most: how many.
    """

    def __init__(self, name: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Do the work in a thread; waits where all of them are busy."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def close(self) -> None:
        """Start nothing more; what is at work ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
