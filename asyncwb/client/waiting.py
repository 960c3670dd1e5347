"""How a face waits for the engine: the one line in which the two faces differ."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def wait_async(future: Future[T]) -> T:
    """Await what the engine does; cancelling the waiter cancels the work where it can be."""
    return await asyncio.wrap_future(future)


def wait(future: Future[T]) -> T:
    """Block until the engine has done it; a signal's exception comes through."""
    return future.result()
