"""How many bytes of documents one request may have read, and how many in one turn of the loop.

A config or a summary has up to 16 MiB, and a page up to 1,000 runs: read at once they held up
everybody else, and filled the memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
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
    """One request asks for more documents than are read for it."""


class Allowance:
    """The bytes of documents that may be read for one request, 256 MiB.

    Mutable state: `left`.
    """

    def __init__(self) -> None:
        self.left = _MOST

    def take(self, size: int) -> None:
        """Use up some bytes, before they are read.

        Raises:
            TooMuchError: there are not as many left.
        """
        self.left -= size
        if self.left < 0:
            raise TooMuchError(
                f"The configs and summaries that this asks for have over {_MOST:,} bytes. "
                "Nothing is lost; ask for fewer runs at a time, or for less of each."
            )


async def sized_batches(
    connection: AsyncConnection,
    key: Column[int],
    size: Size,
    ids: Collection[int],
    allowance: Allowance,
) -> AsyncIterator[list[int]]:
    """Yield the ids of rows, as many at a time as may be read in one turn of the event loop.

    Args:
        connection: of the transaction in which they are read.
        key: the column of the ids.
        size: of the documents that will be read of each.
        ids: which rows.
        allowance: what the documents of all of them are taken from.

    Raises:
        TooMuchError: they are more than is left of it.
    """
    batch: list[int] = []
    total = 0
    for some in batches(ids, _SIZES_AT_ONCE):
        found = await connection.execute(select(key, size).where(key.in_(some)))
        sizes = {row[0]: row[1] for row in found}
        for row_id in some:
            bytes_of_it = sizes.get(row_id, 0)
            allowance.take(bytes_of_it)
            if batch and (total + bytes_of_it > _AT_ONCE or len(batch) >= _ROWS_AT_ONCE):
                yield batch
                batch, total = [], 0
            batch.append(row_id)
            total += bytes_of_it
    if batch:
        yield batch
