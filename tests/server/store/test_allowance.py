"""Documents are read a few at a time, and no more of them than is allowed."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from asyncwb.server.http.errors import refusal_of
from asyncwb.server.store import allowance, schema
from asyncwb.server.store.allowance import Allowance, TooMuchError, sized_batches
from asyncwb.server.store.documents import Size
from asyncwb.server.store.queries.query import RunQuery
from asyncwb.server.store.runs.details import Details
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

pytestmark = [pytest.mark.anyio, both_databases]

CHECKSUM = 9
SIZES = [10, 900, 200, 3_000, 5, 5, 5, 5]


async def runs_of(lab: Lab, sizes: list[int]) -> list[int]:
    """Runs whose configs have so many bytes, their letters two each."""
    found = []
    for size in sizes:
        run = await lab.run()
        await lab.set(run, config="é" * (size // 2) + "x" * (size % 2))
        found.append(run.id)
    return found


async def test_a_batch_has_so_many_bytes_or_one_document(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "_AT_ONCE", 1_200)
    monkeypatch.setattr(allowance, "_ROWS_AT_ONCE", 3)
    monkeypatch.setattr(allowance, "_SIZES_AT_ONCE", 2)
    ids = await runs_of(lab, SIZES)
    size, left = Size(schema.runs.c.config), Allowance()
    had = left.left
    async with lab.database.connect() as connection:
        found = [
            [ids.index(row) for row in some]
            for some in await sized_batches(connection, schema.runs.c.id, size, ids, left)
        ]
    assert found == [[0, 1, 2], [3], [4, 5, 6], [7]]
    assert had - left.left == sum(SIZES) + CHECKSUM * len(SIZES)
    configs = await Details(lab.database).configs(ids)
    assert [len(configs[row].encode()) for row in ids] == SIZES


async def test_what_is_more_than_allowed_is_refused_before_it_is_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await runs_of(lab, SIZES)
    monkeypatch.setattr(allowance, "_MOST", 1_000)
    assert len(await Details(lab.database).configs(ids[:2])) == 2
    with pytest.raises(TooMuchError, match="ask for fewer runs") as raised:
        await Details(lab.database).configs(ids[:3])
    refusal = refusal_of(raised.value)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "too_much")
    one = Allowance()  # that of one request, whatever it asks for
    await Details(lab.database, one).configs(ids[:2])
    with pytest.raises(TooMuchError):
        await Details(lab.database, one).configs(ids[:2])


async def test_a_page_has_the_summaries_that_are_allowed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await lab.run()
    await lab.set(run, summary='{"a":"' + "x" * 500 + '"}')
    async with lab.database.connect() as connection:
        project = await connection.scalar(select(schema.projects.c.id))
    assert project is not None
    query = RunQuery(lab.database)
    assert len((await query.page(project)).rows) == 1
    monkeypatch.setattr(allowance, "_MOST", 500)
    with pytest.raises(TooMuchError):
        await RunQuery(lab.database).page(project)
