"""Objects that nothing names any more go, once nobody can be reading or writing them.

Two kinds of them. Those that were dropped stand in a list, and are collected when they have stood
there for a grace; those of blobs come there once nothing has referred to the blob for as long.
Orphans, which a failure left and nothing ever named, are found by listing the
store; those that are too young may be about to be named.

Of several server processes one does it, once in a period: the claim is kept to its deadline and
not given back. A pass holds a slice of the listing, and asks the database for a slice at a time.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from anyio import to_thread

from asyncwb.server.http.state import State
from asyncwb.server.objects.objects import Objects, Stored
from asyncwb.server.process.background import Tasks, shielded
from asyncwb.server.store.blobs import Blobs
from asyncwb.server.store.claims import Claim, Claims
from asyncwb.server.store.database import Database
from asyncwb.server.store.dropped import Dropped

GRACE: Final = 3600.0
"""seconds for which an object stays that nothing names any more: what a reader that has begun, or a
backup that has copied the database, has until it must have read it"""
_EVERY: Final = 300.0
_SLICE: Final = 500


@asynccontextmanager
async def collecting(state: State, objects: Objects, tasks: Tasks) -> AsyncIterator[None]:
    """Collect what was dropped, in the background, for the length of the block."""

    async def turn() -> float:
        if await shielded(is_due(state.claims, "dropped", _EVERY)):
            before = state.clock() - GRACE
            await shielded(collect_dropped(objects, state.database, before))
        return _EVERY

    async with tasks.keep("collecting objects", turn, after=_EVERY):
        yield


async def collect_dropped(objects: Objects, database: Database, before: float) -> int:
    """Delete the objects that were dropped before a time, blobs' too; return how many."""
    blobs, dropped = Blobs(database), Dropped(database)
    while await blobs.let_go(before):
        pass
    gone = 0
    while names := await dropped.before(before):
        await to_thread.run_sync(_delete, objects, names)
        await dropped.forget(names)
        gone += len(names)
    return gone


async def is_due(claims: Claims, folder: str, every: float) -> bool:
    """Claim a folder's orphans for `every` seconds; False where somebody has them."""
    return await claims.take(Claim(f"sweep/{folder}", uuid.uuid4().hex), every)


async def collect_orphans(
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
    while stored := await to_thread.run_sync(_next, listing):
        old = [found.name for found in stored if found.modified < before]
        in_use = await known(old) if old else set()
        orphans = [name for name in old if name not in in_use]
        await to_thread.run_sync(_delete, objects, orphans)
        gone += len(orphans)
    return gone


def _next(listing: Iterator[Stored]) -> list[Stored]:
    return list(islice(listing, _SLICE))


def _delete(objects: Objects, names: Sequence[str]) -> None:
    for name in names:
        objects.delete(name)
