"""How many bytes of documents one request may have read, and how many in one turn of the loop.

A config or a summary has up to 16 MiB, and a page up to 1,000 runs: read at once they held up
everybody else, and filled the memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from sqlalchemy import Column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import batches
from asyncwb.server.store.documents import Size

_MOST: Final = 256 * 2**20
_SIZES_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 100
_AT_ONCE: Final = 4 * 2**20
"""bytes that are read in one turn of the event loop, unless one document has more: some 10 ms"""


class TooMuchError(Exception):
    """One request asks for more documents than are read for it; none of these was read."""


class Allowance:
    """The bytes of documents that may be read for one request, 256 MiB.

    Mutable state: `left`.
    """

    def __init__(self) -> None:
        self.left = _MOST

    def take(self, size: int) -> None:
        """Use up some bytes, before they are read.

        Raises:
            TooMuchError: there are not as many left; none was used up.
        """
        if size > self.left:
            raise TooMuchError(
                f"The configs and summaries that this asks for have over {_MOST:,} bytes. "
                "Nothing is lost; ask for fewer runs at a time, or for less of each."
            )
        self.left -= size


async def sized_batches(
    connection: AsyncConnection,
    key: Column[int],
    size: Size,
    ids: Collection[int],
    allowance: Allowance,
) -> list[list[int]]:
    """Divide the ids of rows into as many at a time as may be read in one turn of the event loop.

    Args:
        connection: of the transaction in which they are read.
        key: the column of the ids.
        size: of the documents that will be read of each.
        ids: which rows.
        allowance: what the documents of all of them are taken from.

    Raises:
        TooMuchError: they are more than is left of it.
    """
    sizes: dict[int, int] = {}
    for some in batches(ids, _SIZES_AT_ONCE):
        found = await connection.execute(select(key, size).where(key.in_(some)))
        sizes.update((row[0], row[1]) for row in found)
    allowance.take(sum(sizes.values()))
    return list(portions(((row_id, sizes.get(row_id, 0)) for row_id in ids), _AT_ONCE))


def portions(sized: Iterable[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Yield the ids of (id, size) so that those of a portion have `most` together, or it is one."""
    portion: list[int] = []
    held = 0
    for number, size in sized:
        if portion and (held + size > most or len(portion) >= _ROWS_AT_ONCE):
            yield portion
            portion, held = [], 0
        portion.append(number)
        held += size
    if portion:
        yield portion
