"""What a resolver finds under `info.context`, and how it batches what a list needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
from aiohttp import web
from graphql import GraphQLResolveInfo

from asyncwb.server.graphql.execution.pace import pause
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import State
from asyncwb.server.store.allowance import Allowance
from asyncwb.server.store.people.users import User

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

_QUIET_TURNS: Final = 3
_PAGES_AT_ONCE: Final = 1
_AT_ONCE: Final = 64
"""resolvers that go on in one turn of the loop"""
Info: TypeAlias = "GraphQLResolveInfo[Context]"
Fetch = Callable[["Context", list[K]], Awaitable[Mapping[K, V]]]


class Limit:
    """How long the resolvers of a request may take. Mutable state: `_timeout`, while they run."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None

    def begin(self, timeout: asyncio.Timeout) -> None:
        """Say which limit is in force."""
        self._timeout = timeout

    def lift(self) -> None:
        """Take it away: what the request has begun is bounded by itself."""
        if self._timeout is not None:
            self._timeout.reschedule(None)


@dataclass(frozen=True, slots=True)
class Context:
    """One request: the server's parts, who asks, and the server's address as clients see it.

    `url` has no slash at its end.
    """

    state: State
    user: User
    app: web.Application
    url: str
    limit: Limit = field(default_factory=Limit, init=False, repr=False)
    reading: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(_PAGES_AT_ONCE), init=False, repr=False
    )
    """for whoever reads a page or counts one: what many of them give at once holds everything up"""
    allowance: Allowance = field(default_factory=Allowance, init=False, repr=False)
    """the bytes of documents that the whole request may have read"""
    wrapping: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(1), init=False, repr=False
    )
    wrapped: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    """large configs, as they are stored, in the form that clients are given; whoever changes it
    holds `wrapping`"""
    _batches: dict[Any, Batch[Any, Any]] = field(default_factory=dict, init=False, repr=False)

    async def batch(self, fetch: Fetch[K, V], key: K) -> V | None:
        """Return what `fetch` finds for `key`; None where it finds nothing.

        All keys that the resolvers of one level ask for reach `fetch` as one list, so that a list
        of n nodes costs one statement and not n. Nothing is remembered from one level to the next.
        """
        found = self._batches.get(fetch)
        if found is None:
            found = self._batches[fetch] = Batch(self, fetch)
        result: V | None = await found.load(key)
        return result


class Batch(Generic[K, V]):
    """Collects keys until the event loop has run every resolver that is ready.

    Nodes take turns (`pace`), so aiodataloader, which goes off at the next turn of the loop, sends
    some 290 statements for a page of 1,000 runs where this sends some 30, for 1.3 times the CPU.

    Whoever asks first fetches for all of them; the others wait.
    """

    def __init__(self, context: Context, fetch: Fetch[K, V]) -> None:
        self._context = context
        self._fetch = fetch
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] | None = None

    async def load(self, key: K) -> V | None:
        """Return the value of one key."""
        found: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        if self._waiting is None:
            self._waiting = [(key, found)]
            await self._run(self._waiting)
        else:
            self._waiting.append((key, found))
        value = await found
        await pause()  # what is made of it takes time, too
        return value

    async def _run(self, waiting: list[tuple[K, asyncio.Future[V | None]]]) -> None:
        try:
            await self._quiet(waiting)
            self._waiting = None
            values = await self._fetch(
                self._context, list(dict.fromkeys(key for key, _ in waiting))
            )
            for number, (key, found) in enumerate(waiting):
                if not found.done():  # else its request was given up
                    found.set_result(values.get(key))
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await anyio.lowlevel.checkpoint()
        except Exception as error:  # everyone who waits gets it; nobody else may be left waiting
            for _, found in waiting:
                if not found.done():
                    found.set_exception(error)
        finally:
            if self._waiting is waiting:
                self._waiting = None
            for _, found in waiting:
                found.cancel()  # of those who have nothing yet: the request was given up

    async def _quiet(self, waiting: list[tuple[K, asyncio.Future[V | None]]]) -> None:
        # Resolvers of one level become ready in different turns of the loop: wait until some turns
        # have brought no further key.
        before = -1
        while before < len(waiting):
            before = len(waiting)
            for _ in range(_QUIET_TURNS):
                await anyio.lowlevel.checkpoint()


async def if_there(found: Awaitable[T]) -> T | None:
    """Await `found`; None where it says that there is no such thing (a 404).

    A query for something that is not there, or that the user may not see, answers null.
    """
    try:
        return await found
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def refused(code: str, message: str) -> ApiError:
    """Return the error for a request that cannot be done as it stands."""
    return ApiError(400, code, message)
