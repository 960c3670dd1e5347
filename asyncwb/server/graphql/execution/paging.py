"""Pages of a list: opaque cursors that stay right while rows are added and removed.

A cursor names the last row that a client has seen, by the value that the list is sorted by and
its id, and not by its position. So no row is shown twice and none is passed over.

    after = decode(cursor, "members")            # (sort value, id) or None for the first page
    rows = SELECT ... WHERE (sort, id) > after ORDER BY sort, id LIMIT first + 1
    return connection(rows, first, key=lambda row: (row.sort, row.id), name="members")
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypedDict, TypeVar

import orjson

from asyncwb.server.graphql.execution.pace import in_turns
from asyncwb.server.http.errors import ApiError

T = TypeVar("T")
Key: TypeAlias = tuple[float | int | str | None, int]


class Edge(TypedDict):
    """A row of a connection, and where it stands."""

    node: object
    cursor: str


class PageInfo(TypedDict):
    """What a page is of its list."""

    start_cursor: str | None
    end_cursor: str | None
    has_next_page: bool
    has_previous_page: bool


class Connection(TypedDict):
    """A page of a list."""

    edges: Sequence[Awaitable[Edge]]
    page_info: PageInfo


MAX_PAGE: Final = 1000
"""rows; a larger `first` is taken as this"""
_MAX_LENGTH: Final = 8192


def page_size(first: int | None, default: int = 50) -> int:
    """Return how many rows a page has: `first`, at most `MAX_PAGE`.

    Raises:
        ApiError: `first` is negative.
    """
    if first is None:
        return default
    if first < 0:
        raise ApiError(400, "bad_page", f"`first` is {first}; it must not be negative.")
    return min(first, MAX_PAGE)


def encode(name: str, key: Key) -> str:
    """Return the cursor of a row of the list `name`."""
    return base64.urlsafe_b64encode(orjson.dumps([name, *key])).decode()


def decode(cursor: str | None, name: str) -> Key | None:
    """Return where a cursor of the list `name` stands; None for None and "" (the beginning).

    Raises:
        ApiError: the cursor is not from this list.
    """
    if not cursor:
        return None
    match _plain(cursor):
        case [str(whose), (float() | int() | str() | None) as value, int(number)] if (
            whose == name and not isinstance(number, bool) and abs(number) < 2**63
        ):
            return value, number
    raise ApiError(
        400, "bad_cursor", "The cursor is not from this list. Take `endCursor` of its last page."
    )


def connection(rows: Sequence[T], first: int, key: Callable[[T], Key], name: str) -> Connection:
    """Return a connection over the first `first` of `rows`.

    Args:
        rows: at most `first + 1` rows; one more than asked for says that there is a next page.
        first: the page's size.
        key: what a row is sorted by, and its id.
        name: the list, as in its cursors.
    """
    edges: list[Edge] = [{"node": row, "cursor": encode(name, key(row))} for row in rows[:first]]
    return of_edges(edges, has_next=len(rows) > first)


def of_edges(edges: Sequence[Edge], *, has_next: bool) -> Connection:
    """Return a connection of edges that have their cursors."""
    info: PageInfo = {
        "start_cursor": edges[0]["cursor"] if edges else None,
        "end_cursor": edges[-1]["cursor"] if edges else None,
        "has_next_page": has_next,
        "has_previous_page": False,
    }
    return {"edges": in_turns(edges), "page_info": info}


def nodes(rows: Sequence[object]) -> Connection:
    """Return a connection of a whole, short list."""
    edges: list[Edge] = [
        {"node": row, "cursor": encode("", (None, at))} for at, row in enumerate(rows)
    ]
    return of_edges(edges, has_next=False)


def _plain(cursor: str) -> object:
    if len(cursor) > _MAX_LENGTH:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        decoded: object = orjson.loads(text)
    except (binascii.Error, ValueError):
        return None
    return decoded
