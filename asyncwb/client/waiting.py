"""How a face waits for the engine: the one line in which the two faces differ.

What they wait for is done on the engine's own thread and loop, so the async faces run under every
loop of asyncio (uvloop's, too) and under trio. Nothing here loads a library that the caller does
not run: whoever awaits has it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal, ParamSpec, TypeVar

from asyncwb.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


async def wait_async(future: Future[T]) -> T:
    """Await what the engine does; cancelling the waiter cancels the work where it can be.

    Raises UsageError where neither asyncio nor trio runs the caller.
    """
    if _library() == "trio":
        return await _wait_in_trio(future)
    import asyncio  # 25 ms that a sync program need not wait for

    return await asyncio.wrap_future(future)


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


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Have a thread do what would block the caller's loop.

    A waiter that is cancelled leaves the thread to its work, and what comes of it is not told.
    """
    if _library() == "trio":
        import trio

        call = partial(work, *args, **kwargs)
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
    import asyncio

    # Not anyio's threads: they are no daemons and end with the task that was the first to need
    # one, so a program that leaves its loop without ending that task would never exit.
    return await asyncio.to_thread(work, *args, **kwargs)


def at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it, on the caller's thread: what the sync face has in the place of `in_thread`."""
    return work(*args, **kwargs)


def shielded_after(error: BaseException | None) -> AbstractContextManager[object]:
    """Return a block whose waits go on although what raised `error` cancelled the scope around it.

    trio and anyio cancel every wait until their scope is left, and so the one for a run's end, too.
    asyncio cancels once, and then waits for whatever comes. After no error nothing is shielded.
    """
    if error is None or (_library() == "asyncio" and "anyio" not in sys.modules):
        return contextlib.nullcontext()
    import anyio

    return anyio.CancelScope(shield=True)


def _library() -> Literal["asyncio", "trio"]:
    """Tell which library runs the calling coroutine; raises UsageError for another one, or none."""
    if "trio" in sys.modules and _sniffed() == "trio":
        return "trio"
    if "asyncio" in sys.modules:
        import asyncio

        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            return "asyncio"
    name = _sniffed()
    raise UsageError(
        f"an async face of asyncwb was awaited {f'under {name}' if name else 'without a loop'}: it "
        "needs asyncio (with uvloop or without) or trio. What was logged is safe; call the same "
        "of the sync face (asyncwb.init, asyncwb.Api) there."
    )


def _sniffed() -> str | None:
    """Tell which library says that it runs; only what loads sniffio says so, as trio does."""
    if "sniffio" not in sys.modules:
        return None
    import sniffio

    try:
        return sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None


async def _wait_in_trio(future: Future[T]) -> T:
    import trio

    token, ended = trio.lowlevel.current_trio_token(), trio.Event()

    def tell(_: Future[T]) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # nobody waits any more
            token.run_sync_soon(ended.set)

    future.add_done_callback(tell)
    try:
        await ended.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()
