"""Flipped bits in the store: what is whole is served, what is not is named, no value is wrong.

The model of every test is what was logged. A value that comes back is that of the model, or it does
not come back and `missing` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pyarrow import parquet as arrow  # type: ignore[import-untyped]
from sqlalchemy import select, update

from asyncwb.server.backups import verify
from asyncwb.server.backups.verify import Verified
from asyncwb.server.history import chart, parquet, rows, wide
from asyncwb.server.history.chart import Query
from asyncwb.server.history.rows import Selection
from asyncwb.server.history.sources import Sources
from asyncwb.server.http.state import STATE
from asyncwb.server.intake import lines
from asyncwb.server.objects.damage import Missing
from asyncwb.server.store import schema
from asyncwb.server.store.inventory import inline
from asyncwb.server.store.runs.segments import RunRef
from asyncwb.wire.rows import frames
from tests.client.query.test_api import api_of
from tests.fix_server import ServerHandle, both_databases
from tests.server.graphql.asking import ask, codes
from tests.server.history.test_history import decode_frames, logged, seal
from tests.server.history_lab import BEGAN, Lab, Row, exactly, merged, table_of
from tests.server.ingest_client import Client
from tests.server.intake.test_lines import write

pytestmark = pytest.mark.anyio

GROUP = 64
STEPS = 3 * GROUP


def some(first: int, n: int) -> list[Row]:
    """Rows of every kind; each value tells its step."""
    return [
        (
            step,
            {"loss": step * 0.5, "epoch": step, "good": step % 3 == 0, "note": {"at": [step]}}
            | ({"rare": float(step)} if step % 5 == 0 else {}),
        )
        for step in range(first, first + n)
    ]


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of few rows, so that a file has several."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", GROUP)


async def sealed(lab: Lab, first: int = 0, n: int = STEPS) -> tuple[RunRef, Path]:
    run = await lab.run()
    await lab.log(run, some(first, n))
    assert await lab.sealer().turn()
    (name,) = lab.files(run)
    return run, lab.folder / name


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


async def read(lab: Lab, run: RunRef) -> tuple[list[dict[str, Any]], list[Missing]]:
    """Read all, with nothing in memory from before."""
    missing: list[Missing] = []
    sources = Sources(lab.store, lab.objects)
    found = [t async for t in rows.read(sources, run, Selection(), missing)]
    sources.threads.close()
    return [row for table in found for row in table.iter_rows()], missing


def explained(
    found: Sequence[dict[str, Any]], missing: Sequence[Missing], model: Sequence[dict[str, Any]]
) -> None:
    """Check that rows are the model's, but for what is said to be missing."""
    given = {row["_step"]: row for row in found}
    for whole in model:
        step = whole["_step"]
        told = [one for one in missing if one.first_step <= step <= one.last_step]
        if step not in given:
            assert any(one.keys is None for one in told), f"step {step} lacks, and nothing says so"
            continue
        named = {key for one in told for key in one.keys or ()}
        expected = {key: value for key, value in whole.items() if key not in named}
        assert exactly([given[step]]) == exactly([expected])
    assert given.keys() <= {row["_step"] for row in model}


async def test_a_bit_flipped_anywhere_in_a_segment_never_gives_a_wrong_value(
    lab: Lab, small_groups: None
) -> None:
    run, path = await sealed(lab)
    model, whole = merged(some(0, STEPS)), path.read_bytes()
    assert (await read(lab, run)) == (model, [])
    costs: list[int] = []
    bits = range(0, 8 * len(whole), 397)
    for bit in bits:
        flip(path, bit)
        found, missing = await read(lab, run)
        explained(found, missing, model)
        costs.append(STEPS - len(found))
        assert missing or bit < 32, f"nothing is said of bit {bit}"  # the magic is not read
        query = Query("loss", "_step", 1000, began=BEGAN)
        sources = Sources(lab.store, lab.objects)
        (answer,) = await chart.read(sources, run.id, [query])
        sources.threads.close()
        shown = answer.buckets
        assert shown.last.tolist() == [x * 0.5 for x in shown.x_last.tolist()]
        assert answer.missing or len(shown) == STEPS
        path.write_bytes(whole)
    assert 0 in costs, "a column costs no row"
    assert GROUP in costs, "a row group costs itself alone"
    assert STEPS in costs, "the footer costs the file"


@both_databases
async def test_a_damaged_frame_costs_its_own_rows(lab: Lab) -> None:
    run = await lab.run()
    for first in (0, 10, 20):
        await lab.log(run, some(first, 10))
    table = schema.frames
    async with lab.database.transaction() as connection:
        ids = list(await connection.scalars(select(table.c.id).order_by(table.c.id)))
        here = select(table.c.data).where(table.c.id == ids[1])
        data = bytearray((await connection.execute(here)).scalar_one())
        data[len(data) // 2] ^= 4
        await connection.execute(update(table).where(table.c.id == ids[1]).values(data=bytes(data)))
    found, missing = await read(lab, run)
    assert [row["_step"] for row in found] == [*range(10), *range(20, 30)]
    assert [(one.first_step, one.last_step, one.rows, one.keys) for one in missing] == [
        (10, 19, 10, None)
    ]
    assert f"frame {ids[1]}" in missing[0].place
    query = Query("loss", began=BEGAN)
    (answer,) = await chart.read(lab.sources, run.id, [query])
    assert (len(answer.buckets), answer.missing) == (20, missing)
    for _ in range(2):
        assert b'"missing"' in (await chart.read_json(lab.sources, run.id, [query]))[0]
    assert not lab.sources.charts._data  # it may be mended
    assert not await lab.sealer().turn()  # and nobody deletes what may be mended
    assert (await lab.counts(run))[0] == 3


async def test_a_kept_chart_is_not_that_of_a_run_with_a_damaged_frame_more(lab: Lab) -> None:
    run, query = await lab.run(), Query("loss", began=BEGAN)
    await lab.log(run, some(0, 10))
    (before,) = await chart.read_json(lab.sources, run.id, [query])
    assert b'"missing"' not in before
    await lab.log(run, some(10, 10))
    table = schema.frames
    async with lab.database.transaction() as connection:
        newest = select(table.c.id, table.c.data).order_by(table.c.id.desc()).limit(1)
        frame, data = (await connection.execute(newest)).one()
        damaged = data[:-8] + bytes([data[-8] ^ 4]) + data[-7:]
        await connection.execute(update(table).where(table.c.id == frame).values(data=damaged))
    (after,) = await chart.read_json(lab.sources, run.id, [query])
    assert b'"missing"' in after


@pytest.mark.parametrize(("columns", "damaged"), [(2**14, "loss"), (1, "loss"), (1, "")])
async def test_a_damaged_rollup_is_made_anew(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, columns: int, damaged: str
) -> None:
    """Of a wide segment the values of a key, or (under no key) its rows' steps and times."""
    monkeypatch.setattr(wide, "_COLUMNS", columns)
    run, _ = await sealed(lab, n=1_000)
    query = Query("loss", "_step", 10, began=BEGAN)
    (intact,) = await chart.read(Sources(lab.store, lab.objects), run.id, [query])
    table = schema.rollups
    mine = (table.c.key == damaged) & (table.c.kind != schema.SAMPLE)
    async with lab.database.transaction() as connection:
        data = bytearray((await connection.execute(select(table.c.data).where(mine))).scalar_one())
    for place in range(0, len(data), len(data) // 8):
        wrong = bytearray(data)
        wrong[place] ^= 1
        async with lab.database.transaction() as connection:
            await connection.execute(update(table).where(mine).values(data=bytes(wrong)))
        (anew,) = await chart.read(Sources(lab.store, lab.objects), run.id, [query])
        before, after = intact.buckets, anew.buckets
        assert not anew.missing
        assert after.max.tolist() == before.max.tolist()
        assert after.count.tolist() == before.count.tolist()
        found = Verified()
        async for one in inline(lab.database):
            verify._look(one, found)
        (problem,) = found.problems
        assert ("the rollup of 'loss'" if damaged else "the axis") in problem


async def test_sealing_goes_on_beside_a_damaged_segment(lab: Lab) -> None:
    run, path = await sealed(lab, n=50)
    flip(path, 8 * 300)
    damaged = path.read_bytes()
    await lab.log(run, some(50, 50))
    await lab.set(run, state="finished")
    while await lab.sealer().turn():
        pass
    assert await lab.counts(run) == (0, 2)
    await lab.collect()
    assert path.read_bytes() == damaged
    found, missing = await read(lab, run)
    explained(found, missing, merged(some(0, 100)))
    assert missing
    assert [row["_step"] for row in found][-50:] == list(range(50, 100))


@pytest.fixture
def flipped(server: ServerHandle, small_groups: None) -> Callable[[], None]:
    """Flip a bit of the column `loss` in the second row group of the only segment."""

    def work() -> None:
        (path,) = (server.data / "objects" / "segments").rglob("*.parquet")
        footer = arrow.read_metadata(path)
        names = footer.schema.names
        chunk = footer.row_group(1).column(names.index("loss"))
        flip(path, 8 * (chunk.data_page_offset + chunk.total_compressed_size // 2))

    return work


@asynccontextmanager
async def ended(server: ServerHandle, model: list[Row]) -> AsyncIterator[tuple[Client, str]]:
    """A run that has ended and is sealed."""
    async with logged(server, model) as (client, run):
        finish = {"t": "finish", "exit_code": 0, "at": BEGAN + STEPS}
        await client.send(frames.encode(len(model) + 1, table_of([]), [(0, finish)]))
        seal(server)
        yield client, run


async def test_every_answer_names_what_is_missing(
    server: ServerHandle, flipped: Callable[[], None]
) -> None:
    model = some(0, STEPS)
    async with ended(server, model) as (client, run):
        flipped()
        address = f"/api/v1/{run}"
        span = (GROUP, 2 * GROUP - 1)

        async with client.session.get(f"{address}/history") as answer:
            body = await answer.read()
        given = [row for table in decode_frames(body) for row in table.iter_rows()]
        assert [row["_step"] for row in given] == list(range(STEPS))
        lacking = [row["_step"] for row in given if "loss" not in row]
        assert lacking == list(range(GROUP, 2 * GROUP))
        said = [f.events[0][1]["reason"] for f in whole_frames(body) if f.lost]
        assert len(said) == 1
        assert f"'loss' of {GROUP} in steps {span[0]} to {span[1]}" in said[0]

        for form in ("jsonl", "arrow", "parquet"):
            asked = {"format": form}
            async with client.session.get(f"{address}/history", params=asked) as answer:
                refused = await answer.json()
                assert (answer.status, refused["error"]["code"]) == (410, "history_damaged")
                assert f"steps {span[0]} to {span[1]}" in refused["error"]["message"]
            asked |= {"damaged": "skip"}
            async with client.session.get(f"{address}/history", params=asked) as answer:
                assert answer.status == 200
            # What is whole needs no such word.
            asked = {"format": form, "key": "epoch"}
            async with client.session.get(f"{address}/history", params=asked) as answer:
                assert answer.status == 200

        keys = {"key": ["loss", "epoch"], "min": "0", "max": str(STEPS), "buckets": "1000"}
        async with client.session.get(f"{address}/series", params=keys) as answer:
            series = await answer.json()
        assert [len(one["x"]) for one in series["series"]] == [2 * GROUP, STEPS]
        (missing,) = series["series"][0]["missing"]
        assert "missing" not in series["series"][1]
        assert (missing["first_step"], missing["last_step"]) == span
        assert missing["keys"] == ["loss"]


HISTORY = """query Q($low: Int64, $high: Int64) {
  project(name: "p") { run(name: "r1") { history(minStep: $low, maxStep: $high, samples: 1000) } }
}"""


def test_graphql_names_the_steps_and_gives_the_others(
    server: ServerHandle, flipped: Callable[[], None]
) -> None:
    anyio.run(_log_and_seal, server)
    flipped()
    refused = ask(server, HISTORY, low=0, high=STEPS)
    assert codes(refused) == ["history_damaged"]
    assert f"steps {GROUP} to {2 * GROUP - 1}" in refused["errors"][0]["message"]
    whole = ask(server, HISTORY)  # of the rows that sealing kept aside, which are sound
    assert len(whole["data"]["project"]["run"]["history"]) == STEPS
    for low, high in ((0, GROUP), (2 * GROUP, STEPS)):
        given = ask(server, HISTORY, low=low, high=high)
        assert len(given["data"]["project"]["run"]["history"]) == high - low


def whole_frames(body: bytes) -> Iterator[frames.Frame]:
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "little")
        yield frames.decode(body[at + 4 : at + 4 + size])
        at += 4 + size


def test_the_client_says_what_a_history_lacks(
    server: ServerHandle, flipped: Callable[[], None], tmp_path: Path
) -> None:
    anyio.run(_log_and_seal, server)
    run = api_of(server).run("p/r1")
    flipped()
    with pytest.warns(UserWarning, match=f"'loss' of {GROUP} in steps {GROUP} to"):
        found = list(run.scan_history())
    assert [row["_step"] for row in found] == list(range(STEPS))
    with pytest.warns(UserWarning, match="is not the whole history"):
        result = run.download_history_exports(tmp_path, require_complete_history=False)
    assert arrow.read_table(result.paths[0]).num_rows == STEPS


async def _log_and_seal(server: ServerHandle) -> None:
    async with ended(server, some(0, STEPS)):
        pass


async def test_damaged_console_lines_are_shown_as_such(server: ServerHandle) -> None:
    async with logged(server, some(0, 1)) as (_, _run):
        pass

    async def work(app: Any) -> list[tuple[int, str]]:
        state = app[STATE]
        async with state.database.transaction() as connection:
            for first in (0, 5000):
                text = [f"line {n}" for n in range(first, first + 100)]
                await write(connection, 1, first, text)
            table = schema.lines
            mine = table.c["first"] == 0
            data = bytearray(
                (await connection.execute(select(table.c.data).where(mine))).scalar_one()
            )
            data[len(data) // 2] ^= 1
            await connection.execute(update(table).where(mine).values(data=bytes(data)))
        return await lines.read(state, 1, lines.OUTPUT)

    found = server.call(work)
    assert found[0] == (0, "[asyncwb: lines 0 to 99 are damaged in the store]")
    assert found[1] == (5000, "line 5000")
