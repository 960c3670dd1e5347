"""Each run's row says how much of it is not sealed, whatever is done to the run."""

from __future__ import annotations

import random
from typing import TypeAlias

import pytest
from aiohttp import web
from sqlalchemy import delete, func, select

from asyncwb.server.history.history import SEALER
from asyncwb.server.http.state import STATE
from asyncwb.server.store.schema import frames, runs
from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle, both_databases
from tests.server.graphql.asking import data
from tests.server.graphql.wandb_client import WandbClient
from tests.server.history_lab import Lab
from tests.server.ingest_client import connect, event_frame, first_frame, rows

pytestmark = [pytest.mark.anyio, both_databases]

Tail: TypeAlias = tuple[int, int, int]
"""frames, rows, bytes"""

_DELETE = "mutation($input: DeleteRunInput!) { deleteRun(input: $input) { success } }"


async def told_and_there(app: web.Application) -> tuple[dict[int, Tail], dict[int, Tail]]:
    """Return the tails of all runs as their rows say, and as their frames are."""
    counted = (
        select(
            frames.c.run_id, func.count(), func.sum(frames.c.rows), func.sum(frames.c.size)
        ).group_by(frames.c.run_id)
    )  # fmt: skip
    async with app[STATE].database.connect() as connection:
        there = {
            run_id: (n, int(total), int(size))
            for run_id, n, total, size in await connection.execute(counted)
        }
        told = select(runs.c.id, runs.c.tail_frames, runs.c.tail_rows, runs.c.tail_size)
        said = {
            run_id: (n, total, size) for run_id, n, total, size in await connection.execute(told)
        }
    due = {tail.run_id for tail in await app[SEALER]._store.tails()}
    assert due == set(there)
    return said, {run: there.get(run, (0, 0, 0)) for run in said}


async def test_what_an_older_server_did_beside_this_one_is_counted_in_the_end(lab: Lab) -> None:
    """Two runs get frames, and one loses some, that nobody counts; nothing of it stays for long."""
    added, lost, gone = [await lab.run() for _ in range(3)]
    for run in (added, lost, gone):
        await lab.log(run, [(step, {"x": 1.0}) for step in range(10)])
        await lab.set(run, state="finished")
    uncounted = dict.fromkeys(("tail_frames", "tail_rows", "tail_size"), 0)
    await lab.set(added, **uncounted)
    await lab.set(lost, tail_frames=-3, tail_rows=-30)
    async with lab.database.transaction() as connection:
        await connection.execute(delete(frames).where(frames.c.run_id == gone.id))
    assert {tail.run_id for tail in await lab.store.tails()} == {gone.id}
    sealer = lab.sealer()
    for _ in range(4):
        await sealer.work()
    assert await lab.store.tails() == []
    assert await lab.store.miscounted() == []
    assert [await lab.counts(run) for run in (added, lost)] == [(0, 1)] * 2
    # And where it happens later: who finds nothing to seal does not look for it again.
    await lab.set(gone, tail_frames=5, tail_rows=50)
    assert not await sealer.turn()
    assert await lab.store.tails() == []


@pytest.mark.parametrize("seed", range(2))
async def test_the_count_is_that_of_the_frames(server: ServerHandle, seed: int) -> None:
    pick = random.Random(seed)
    other = WandbClient(server)
    other.begin()
    lines, seqs = 0, dict[str, int]()

    async def seal(app: web.Application) -> None:
        await app[SEALER].turn()

    async with connect(server) as client:
        for _ in range(60):
            name = pick.choice(["a", "b", "c"])
            seq = seqs.get(name, 0)
            match pick.randrange(8):
                case 0 | 1 | 2:
                    n = pick.randrange(1, 30)
                    frame = first_frame(n) if seq == 0 else encode(seq, rows(seq, n))
                    again = [frame] * pick.choice([1, 1, 2])  # a duplicate changes nothing
                    seqs[name] = (await client.send(*again, run=name))["next"]
                case 3 if seq:
                    event = {"t": "summary", "set": {"x": seq}}
                    seqs[name] = (await client.send(event_frame(seq, event), run=name))["next"]
                case 4:
                    n = pick.randrange(1, 10)
                    other.log(lines, [{"_step": lines + i, "v": i} for i in range(n)])
                    lines += n
                case 5:
                    lines = other.rewind(pick.randrange(lines + 1))
                case 6 if seq:
                    of = WandbClient(server, run=name)
                    assert data(server, _DELETE, input={"id": of.ask("id")["id"]})["deleteRun"]
                    del seqs[name]
                case _:
                    server.call(seal)
            told, there = server.call(told_and_there)
            assert told == there
