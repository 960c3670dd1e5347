from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from asyncwb.client.paging import Pages
from asyncwb.client.paging_async import AsyncPages
from asyncwb.client.query import Page
from asyncwb.errors import CommError
from asyncwb.typing import JsonObject

SIZE = 2


class Shelf:
    """Five entries in pages of two; a page stays on its way until it is released."""

    def __init__(self, *, held: bool = False) -> None:
        self.asked: list[str | None] = []
        self.futures: list[Future[Page]] = []
        self._held = held

    def fetch(self, cursor: str | None) -> Future[Page]:
        self.asked.append(cursor)
        self.futures.append(Future())
        if not self._held:
            self.release()
        return self.futures[-1]

    def release(self) -> None:
        at = int(self.asked[-1] or 0)
        entries = [{"n": n} for n in range(at, min(at + SIZE, 5))]
        self.futures[-1].set_result((entries, str(at + SIZE) if at + SIZE < 5 else None))


def number(entry: JsonObject) -> int:
    return int(entry["n"])


def test_a_list_asks_for_no_more_than_is_used() -> None:
    shelf = Shelf()
    pages = Pages(shelf.fetch, number)
    assert shelf.asked == []
    assert pages[1] == 1
    assert shelf.asked == [None]
    assert pages[:3] == [0, 1, 2]
    assert shelf.asked == [None, "2"]
    assert pages.more
    assert pages[-1] == 4
    assert not pages.more
    assert (pages[-2:], pages[::-2], len(pages)) == ([3, 4], [4, 2, 0], 5)
    assert shelf.asked == [None, "2", "4"]


def test_a_loop_has_the_next_page_on_its_way() -> None:
    shelf = Shelf()
    loop = iter(Pages(shelf.fetch, number))
    assert next(loop) == 0
    assert shelf.asked == [None, "2"]
    assert list(loop) == [1, 2, 3, 4]
    assert shelf.asked == [None, "2", "4"]


def test_loops_do_not_disturb_each_other() -> None:
    pages = Pages(Shelf().fetch, number)
    assert [(a, b) for a in pages for b in pages] == [(a, b) for a in range(5) for b in range(5)]
    assert [pages.next(), next(pages)] == [0, 1]


def test_a_page_that_failed_is_asked_for_again() -> None:
    shelf = Shelf(held=True)
    pages = Pages(lambda cursor: _fail_first(shelf, cursor), number)
    with pytest.raises(CommError):
        pages[0]
    assert pages[0] == 0
    assert shelf.asked == [None, None]


def _fail_first(shelf: Shelf, cursor: str | None) -> Future[Page]:
    future = shelf.fetch(cursor)
    if len(shelf.asked) == 1:
        future.set_exception(CommError("no answer"))
    else:
        shelf.release()
    return future


@pytest.mark.anyio
async def test_tasks_share_a_page_and_one_of_them_may_leave() -> None:
    shelf = Shelf(held=True)
    pages = AsyncPages(shelf.fetch, number)
    first, second, gone = (asyncio.create_task(pages.get(0)) for _ in range(3))
    await asyncio.sleep(0)
    assert shelf.asked == [None]
    shelf.futures[0].set_running_or_notify_cancel()  # as the engine does when it begins
    gone.cancel()
    await asyncio.wait([gone])
    shelf.release()
    assert (await first, await second) == (0, 0)
    assert pages.objects == [0, 1]
    assert shelf.asked == [None]
