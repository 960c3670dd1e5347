"""Lists that a server gives page by page: a sequence and an iterator in one.

What was loaded stays, so looking back costs nothing. A loop has the next page fetched while it
works on the last one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Generic, TypeVar, overload

from asyncwb.client.query.requests.query import Page
from asyncwb.client.waiting import of_ones_own, wait_async
from asyncwb.typing import JsonObject

T = TypeVar("T")


class AsyncPages(Generic[T]):
    """A lazy list; nothing is asked for before it is used. For one thread at a time.

    Mutable state: `_objects` (what was loaded), `_cursor` and `_more` (where the rest begins, and
    whether there is one), `_length` (how many there are in all, where the server said so),
    `_ahead` (the page on its way), `_index` (of `next`).

    Args:
        fetch: asks for the page that begins at a cursor.
        make: turns an entry of a page into an element of the list.
        per_page: entries that one question gives.
    """

    def __init__(
        self,
        fetch: Callable[[str | None], Future[Page]],
        make: Callable[[JsonObject], T],
        per_page: int = 50,
    ) -> None:
        self._fetch = fetch
        self._make = make
        self.per_page = per_page
        self._objects: list[T] = []
        self._cursor: str | None = None
        self._more = True
        self._length: int | None = None
        self._ahead: Future[Page] | None = None
        self._index = 0

    async def len(self) -> int:  # sync: def __len__(self) -> int:
        """Count the entries: the server's count where it gives one, else by loading every page."""
        if self._more and not self._objects:
            await self._load(1)
        if self._more and self._length is not None:
            return self._length
        await self._load(None)
        return len(self._objects)

    @overload
    async def get(self, index: int) -> T: ...

    @overload
    async def get(self, index: slice) -> list[T]: ...

    async def get(self, index: int | slice) -> T | list[T]:
        """Return an entry or a slice of them, loading the pages up to there."""
        last = index.stop if isinstance(index, slice) else index
        backwards = isinstance(index, slice) and (index.start or 0) < 0
        await self._load(None if last is None or last < 0 or backwards else last + 1)
        return self._objects[index]

    async def first(self) -> T | None:
        """Return the first entry, None where there is none."""
        await self._load(1)
        return self._objects[0] if self._objects else None

    def __aiter__(self) -> AsyncGenerator[T, None]:
        """Iterate from the first entry on; `next` begins anew, too."""
        self._index = 0
        return self._each()

    async def _each(self) -> AsyncGenerator[T, None]:
        at = 0
        while at < len(self._objects) or self._more:
            if at == len(self._objects):
                await self._load(at + 1)
                continue
            self._fetch_ahead()
            yield self._objects[at]
            at += 1

    async def __anext__(self) -> T:
        await self._load(self._index + 1)
        if self._index >= len(self._objects):
            raise StopAsyncIteration
        self._fetch_ahead()
        self._index += 1
        return self._objects[self._index - 1]

    async def next(self) -> T:
        """Return the entry after the last one that `next` returned.

        Raises:
            StopAsyncIteration: there are no more.
        """
        return await anext(self)

    @property
    def objects(self) -> list[T]:
        """The entries that were loaded so far."""
        return self._objects

    @property
    def more(self) -> bool:
        """Whether there are pages that were not loaded."""
        return self._more

    @property
    def cursor(self) -> str | None:
        """Where the next page begins; None before the first page and after the last."""
        return self._cursor

    @property
    def length(self) -> int | None:
        """How many entries there are in all; None as long as nobody knows."""
        return self._length if self._more else len(self._objects)

    def _fetch_ahead(self) -> Future[Page] | None:
        """Have the next page fetched, if there is one and it is not on its way already."""
        if self._ahead is not None and _failed(self._ahead):
            self._ahead = None
        if self._ahead is None and self._more:
            self._ahead = self._fetch(self._cursor)
        return self._ahead

    async def _load(self, count: int | None) -> None:
        """Load pages until there are `count` entries, or all of them."""
        while count is None or len(self._objects) < count:
            ahead = self._fetch_ahead()
            if ahead is None:
                return
            # Several tasks may wait for it, of which one is cancelled.
            page = await wait_async(of_ones_own(ahead))
            if ahead is self._ahead:  # the first of several tasks that wait for it takes it in
                self._ahead = None
                self._objects += map(self._make, page.entries)
                self._cursor, self._more = page.cursor, page.cursor is not None
                self._length = page.length


def _failed(future: Future[Page]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
