"""Sweeping: once in a period, whoever does it, and a slice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from asyncwb.server.objects import garbage_collection
from asyncwb.server.store.claims import Claims
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

pytestmark = pytest.mark.anyio


@both_databases
async def test_of_several_processes_one_sweeps_in_a_period(lab: Lab) -> None:
    async def look(now: float) -> int:
        lab.now = now
        processes = [Claims(lab.database, lambda: lab.now) for _ in range(4)]
        due = [garbage_collection.is_due(claims, "files", 3600.0) for claims in processes]
        return sum(await asyncio.gather(*due))

    found = [await look(now) for now in (0.0, 10.0, 3599.0, 3600.0, 7200.0)]
    assert found == [1, 0, 0, 1, 1]


async def test_a_pass_holds_a_slice_of_the_listing(lab: Lab) -> None:
    names = [f"files/{number:04}" for number in range(1200)]
    for name in names:
        (lab.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.folder / name).write_bytes(b"x")
    kept, asked = set(names[::100]), list[int]()

    async def known(some: Sequence[str]) -> set[str]:
        asked.append(len(some))
        return kept & set(some)

    (first, *_) = lab.objects.list("files")
    assert (
        await garbage_collection.collect_orphans(lab.objects, "files", first.modified - 3600, known)
        == 0
    )
    assert asked == []
    assert (
        await garbage_collection.collect_orphans(lab.objects, "files", first.modified + 3600, known)
        == 1188
    )
    assert {found.name for found in lab.objects.list("files")} == kept
    assert sum(asked) == 1200
    assert max(asked) <= 500


async def test_an_object_is_looked_up_by_an_index(lab: Lab) -> None:
    plan = "EXPLAIN QUERY PLAN SELECT object FROM blobs WHERE object IN ('files/a', 'files/b')"
    async with lab.database.connect() as connection:
        steps: list[Any] = list(await connection.execute(text(plan)))
    assert "INDEX sqlite_autoindex_blobs" in steps[0][-1]
