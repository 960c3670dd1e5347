"""Several things at once, in a task group, and what their failures are: under asyncio and trio.

A group raises an `ExceptionGroup`; who calls one thing after another and who calls them at once
shall see the same exceptions, so what comes out of here is the first one itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def gather(calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Call all of them at once, and return their results in the order of the calls.

    Where one raises, the others are cancelled and awaited, and its exception comes through.
    """
    calls = list(calls)
    results: dict[int, T] = {}

    async def one(number: int, call: Callable[[], Awaitable[T]]) -> None:
        results[number] = await call()

    try:
        async with anyio.create_task_group() as group:
            for number, call in enumerate(calls):
                group.start_soon(one, number, call)
        return [results[number] for number in range(len(calls))]
    except BaseExceptionGroup as errors:
        error = first_error(errors)
    raise error  # out here, where its cause and context stay what they are


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what failed first of a group and of the groups in it.

    What was cancelled because of it does not count, as long as anything else is there.
    """
    cancelled = anyio.get_cancelled_exc_class()
    error: BaseException = group.split(cancelled)[1] or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def raise_unless_failed(error: BaseException) -> None:
    """Raise again what is no failure of a task: it is cancelled, or closed."""
    no_failure = (anyio.get_cancelled_exc_class(), GeneratorExit)
    whole = isinstance(error, BaseExceptionGroup) and error.split(no_failure)[1] is None
    if whole or isinstance(error, no_failure):
        raise error
