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


def of_ones_own(future: Future[T]) -> Future[T]:
    """Return a future that ends as this one does: cancelling it cancels nobody else's."""
    mine: Future[T] = Future()

    def copy(done: Future[T]) -> None:
        if not mine.set_running_or_notify_cancel():
            return
        error = done.exception()
        if error is None:
            mine.set_result(done.result())
        else:
            mine.set_exception(error)

    future.add_done_callback(copy)
    return mine
