from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from asyncwb.client.query._sync.paging import Pages
from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import page_of, page_size
from asyncwb.client.query.requests.query import Page
from asyncwb.errors import CommError
from asyncwb.typing import JsonObject

SIZE = 2


class Shelf:
    """Five entries in pages of two; a page stays on its way until it is released."""

    def __init__(self, *, held: bool = False, length: int | None = None) -> None:
        self._length = length
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
        cursor = str(at + SIZE) if at + SIZE < 5 else None
        self.futures[-1].set_result(Page(entries, cursor, self._length))


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


def test_a_list_that_knows_its_length_loads_no_more_than_a_page_to_say_it() -> None:
    shelf = Shelf(length=5)
    pages = Pages(shelf.fetch, number)
    assert (pages.length, pages.cursor, pages.per_page) == (None, None, 50)
    assert (len(pages), pages.length, pages.cursor) == (5, 5, "2")
    assert shelf.asked == [None]
    assert pages.first() == 0
    assert shelf.asked == [None]
    assert list(pages) == [0, 1, 2, 3, 4]
    assert (pages.length, pages.cursor) == (5, None)


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "50"])
def test_what_is_no_size_of_a_page_is_a_value_error(given: Any) -> None:
    with pytest.raises(ValueError, match="per_page"):
        page_size(given)


def test_a_page_is_no_larger_than_servers_give_and_ends_where_they_say() -> None:
    assert (page_size(None, 200), page_size(10**6)) == (200, 1000)
    edges = [{"node": {"n": 1}, "cursor": "a"}]
    assert page_of({"edges": edges, "pageInfo": {"hasNextPage": True}}) == ([{"n": 1}], "a", None)
    assert page_of({"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": "a"}}, 1) == (
        [{"n": 1}],
        None,
        1,
    )
    assert page_of({"edges": [], "pageInfo": {"hasNextPage": True}}).cursor is None


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


def test_a_loop_begins_anew_for_next_as_well() -> None:
    pages = Pages(Shelf().fetch, number)
    assert [next(pages), next(pages)] == [0, 1]
    assert list(iter(pages)) == [0, 1, 2, 3, 4]
    assert next(pages) == 0


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
    found = []

    async def read() -> None:
        found.append(await pages.get(0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        with anyio.move_on_after(0):
            await read()
        assert shelf.asked == [None]
        shelf.release()
    assert found == [0, 0]
    assert pages.objects == [0, 1]
    assert shelf.asked == [None]
