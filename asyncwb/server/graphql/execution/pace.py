"""Long answers in small steps, so that what else the server does is not kept waiting.

What runs on the event loop stops everything else on it: the rows that arrive, other answers. A
page of 1,000 runs takes a second or more, so its nodes take turns (`in_turns`). So do the fields
that read something (`in_time`), of which a document may have hundreds. Of all GraphQL requests
together about `SLICE` is worked in one turn of the loop, then the loop goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from time import perf_counter
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

SLICE: Final = 0.005
"""seconds of one turn of the loop that answers may take together; one node may exceed it"""
_WOKEN: Final = 16
"""who waits is woken so many at a time: those who find the turn used up already wait again"""


class Pace:
    """Gives out the time of one event loop. Mutable state: the three below.

    It counts turns of the loop, of which anyio says nothing: so they are asyncio's futures.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began: float | None = None  # when work began in this turn of the loop
        self._turning = False  # whether the next turn is seen to
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def pause(self) -> None:
        """Wait for a turn of the loop with time left."""
        if not self._waiting and self._has_time():
            return
        while True:
            turn = self._loop.create_future()
            self._waiting.append(turn)
            self._see_to_the_next_turn()
            await turn
            if self._has_time():
                return

    def _has_time(self) -> bool:
        now = perf_counter()
        if self._began is None:
            self._began = now
            self._see_to_the_next_turn()
        return now - self._began < SLICE

    def _see_to_the_next_turn(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._began, self._turning = None, False
        woken = 0
        while self._waiting and woken < _WOKEN:
            turn = self._waiting.popleft()
            if not turn.done():  # else its request was given up
                turn.set_result(None)
                woken += 1
        if self._waiting:
            self._see_to_the_next_turn()


_paces: WeakKeyDictionary[asyncio.AbstractEventLoop, Pace] = WeakKeyDictionary()


async def pause() -> None:
    """Let others go on where this turn of the loop is used up."""
    loop = asyncio.get_running_loop()
    pace = _paces.get(loop)
    if pace is None:
        pace = _paces[loop] = Pace(loop)
    await pace.pause()


def in_time(resolve: Callable[..., object]) -> Callable[..., object]:
    """Return a resolver that begins when there is time; one that never waits stays as it is."""
    if iscoroutinefunction(resolve):

        @wraps(resolve)
        async def begin(*args: object, **named: object) -> object:
            await pause()
            return await resolve(*args, **named)

        return begin
    return resolve


class _InTurn(Generic[T]):
    """An item of a list that GraphQL takes up when there is time."""

    __slots__ = ("_item",)

    def __init__(self, item: T) -> None:
        self._item = item

    def __await__(self) -> Generator[object, None, T]:
        yield from pause().__await__()
        return self._item


def in_turns(items: Sequence[T]) -> Sequence[Awaitable[T]]:
    """Return items of which each is completed, with all that is asked of it, when there is time."""
    return [_InTurn(item) for item in items]


async def in_steps(items: Sequence[T]) -> AsyncIterator[T]:
    """Give items that are cheap to complete (texts, a few fields), with pauses between them."""
    for number, item in enumerate(items):
        if number % 20 == 0:
            await pause()
        yield item
