"""Sweeping: objects that nothing names any more, and that are too old to be about to be named.

Of several server processes one does it, once in a period: the claim is kept to its deadline and
not given back. A pass holds a slice of the listing, and asks the database for a slice at a time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from asyncwb.server.objects import Objects, Stored
from asyncwb.server.store.claims import Claim, Claims

_SLICE: Final = 500


async def is_due(claims: Claims, folder: str, now: float, every: float) -> bool:
    """Take the right to sweep a folder for `every` seconds; False where somebody has it."""
    return await claims.take(Claim(f"sweep/{folder}", uuid.uuid4().hex), now, now + every)


async def sweep(
    objects: Objects,
    folder: str,
    before: float,
    known: Callable[[Sequence[str]], Awaitable[set[str]]],
) -> int:
    """Delete the objects of a folder that were written before a time and that nobody knows.

    Args:
        objects: the store.
        folder: the first part of their names.
        before: unix seconds. A younger object may belong to what is about to be committed.
        known: says which of some names are in use.

    Returns:
        How many were deleted.
    """
    listing, gone = objects.list(folder), 0
    while stored := await asyncio.to_thread(_next, listing):
        old = [found.name for found in stored if found.modified < before]
        in_use = await known(old) if old else set()
        orphans = [name for name in old if name not in in_use]
        await asyncio.to_thread(_delete, objects, orphans)
        gone += len(orphans)
    return gone


def _next(listing: Iterator[Stored]) -> list[Stored]:
    return list(islice(listing, _SLICE))


def _delete(objects: Objects, names: Sequence[str]) -> None:
    for name in names:
        objects.delete(name)
