"""Work beside the requests: tasks that end between two turns, never within one.

A task that is cancelled in the middle of a statement can wait for its connection for ever, and a
server that waits for such a task never stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run endless work as a task for the length of the block; waits for it to end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def whole(turn: Coroutine[Any, Any, T]) -> T:
    """Await a turn to its end also where the caller is cancelled; that is raised afterwards."""
    caller = asyncio.current_task()
    task = asyncio.create_task(turn, name=caller.get_name() if caller else None)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at: nobody else will
        raise
