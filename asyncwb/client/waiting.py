"""How a face waits for the engine: the one line in which the two faces differ."""

from __future__ import annotations

import importlib
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def wait_async(future: Future[T]) -> T:
    """Await what the engine does; cancelling the waiter cancels the work where it can be."""
    # Whoever awaits has asyncio; a sync program does not load it (25 ms) on its own thread.
    result: T = await importlib.import_module("asyncio").wrap_future(future)
    return result


def wait(future: Future[T]) -> T:
    """Block until the engine has done it; a signal's exception comes through."""
    return future.result()
