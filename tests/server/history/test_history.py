"""Series and histories over HTTP: four formats, one error shape, any key."""

from __future__ import annotations

import asyncio
import io
import json
import math
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from pyarrow import parquet

from asyncwb.server.history import history
from asyncwb.server.history.history import SEALER, SOURCES
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Table
from tests.fix_server import ServerHandle, both_databases
from tests.server.history_lab import BEGAN, Row, exactly, merged, table_of
from tests.server.ingest_client import Client, connect, start_event

pytestmark = [pytest.mark.anyio, both_databases]

ROWS: list[Row] = [
    (0, {"loss": 1.5, "n": 1}),
    (1, {"loss": math.nan, "n": 0.5, "a.b/c d": "text"}),
    (3, {"loss": math.inf, "ключ": {"x": [1]}, "n": True}),
    (2, {"loss": 7.0}),
    (3, {"loss": -math.inf}),
]


@asynccontextmanager
async def logged(server: ServerHandle, rows: list[Row]) -> AsyncIterator[tuple[Client, str]]:
    """A run that began at BEGAN and has these rows; gives the address of its resources."""
    async with connect(server) as client:
        start = (0, start_event() | {"at": BEGAN})
        answer = await client.send(frames.encode(0, table_of(rows), [start]))
        yield client, f"runs/{answer['run']}"


def seal(server: ServerHandle) -> None:
    """Seal everything there is."""

    async def run(app: web.Application) -> None:
        store = app[SOURCES].store
        sealer = app[SEALER]
        while await store.tails():
            await sealer.turn()

    server.call(run)


async def fetch(client: Client, path: str, query: Any) -> tuple[str, bytes]:
    async with client.session.get(f"/api/v1/{path}", params=query) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        return answer.headers["Content-Type"].partition(";")[0], body


def decode_frames(body: bytes) -> list[Table]:
    tables, at = [], 0
    while at < len(body):
        (size,) = struct.unpack_from("<I", body, at)
        tables.append(frames.decode(body[at + 4 : at + 4 + size]).table)
        at += 4 + size
    return tables


@pytest.mark.parametrize("sealed", [False, True])
async def test_the_four_formats_say_the_same(server: ServerHandle, sealed: bool) -> None:
    async with logged(server, ROWS) as (client, run):
        if sealed:
            finish = {"t": "finish", "exit_code": 0, "at": BEGAN + 9}
            await client.send(frames.encode(6, table_of([]), [(0, finish)]))
            await asyncio.to_thread(seal, server)
        expected = exactly(merged(ROWS))
        kind, body = await fetch(client, f"{run}/history", {})
        assert kind == "application/vnd.asyncwb.frames"
        found = [row for table in decode_frames(body) for row in table.iter_rows()]
        assert exactly(found) == expected

        kind, body = await fetch(client, f"{run}/history", {"format": "jsonl"})
        assert kind == "application/x-ndjson"
        assert exactly([json.loads(line) for line in body.splitlines()]) == expected

        kind, body = await fetch(client, f"{run}/history", {"format": "arrow"})
        assert kind == "application/vnd.apache.arrow.stream"
        table = pa.ipc.open_stream(io.BytesIO(body)).read_all()
        assert table.column("_step").to_pylist() == [0, 1, 2, 3]
        assert table.column("_runtime").to_pylist() == [0.0, 1.0, 3.0, 4.0]
        assert table.column("n").to_pylist() == [1.0, 0.5, None, 1.0]
        assert table.column("a.b/c d").to_pylist() == [None, '"text"', None, None]
        assert table.column("ключ").to_pylist() == [None, None, None, '{"x":[1]}']
        assert repr(table.column("loss").to_pylist()) == "[1.5, nan, 7.0, -inf]"

        kind, body = await fetch(client, f"{run}/history", {"format": "parquet"})
        assert kind == "application/vnd.apache.parquet"
        exported = parquet.read_table(io.BytesIO(body))
        assert exported.schema.equals(table.schema, check_metadata=True)
        assert repr(exported.to_pydict()) == repr(table.to_pydict())


async def test_an_export_of_sealed_and_live_rows_keeps_every_value(server: ServerHandle) -> None:
    some: list[Row] = [
        (step, {"i": 2**53 + step, "f": step / 7 if step % 7 else math.nan, "b": step % 2 == 0})
        for step in range(2_000)
    ]
    some[5][1].update({"s": "ü", r"a\.b": 1, "c.d": 2, r"x\.y": 3, "x.y": 4, "l": [1, {"q": None}]})
    late: list[Row] = [(1_999, {"f": math.inf}), (5_000, {"i": -1, "late": True})]
    async with logged(server, some) as (client, run):
        await asyncio.to_thread(seal_now, server)
        await client.send(frames.encode(len(some) + 1, table_of(late, len(some))))
        _, body = await fetch(client, f"{run}/history", {"format": "parquet"})
        _, lines = await fetch(client, f"{run}/history", {"format": "jsonl"})
        table = parquet.read_table(io.BytesIO(body))
        types = {name: str(table.schema.field(name).type) for name in ("i", "f", "b", "late", "s")}
        found = {"i": "int64", "f": "double", "b": "bool", "late": "bool", "s": "string"}
        assert types == found
        assert {"a.b", "c.d", r"x\.y", "x.y"} <= set(table.column_names)
        texts = {f.name for f in table.schema if f.metadata}
        assert texts == {"s", "l"}
        rows = [
            {
                name if name != "a.b" else r"a\.b": json.loads(value) if name in texts else value
                for name, value in row.items()
                if value is not None
            }
            for row in table.to_pylist()
        ]
        assert exactly(rows) == exactly([json.loads(line) for line in lines.splitlines()])
        assert [row["_step"] for row in rows[-2:]] == [1_999, 5_000]

        query = {"format": "parquet", "key": "late", "min_step": "1"}
        _, body = await fetch(client, f"{run}/history", query)
        part = parquet.read_table(io.BytesIO(body))
        assert part.column_names == ["_step", "_timestamp", "_runtime", "late"]
        assert part.column("_step").to_pylist() == [5_000]


async def test_a_run_without_rows_is_a_file_without_rows(server: ServerHandle) -> None:
    async with logged(server, []) as (client, run):
        _, body = await fetch(client, f"{run}/history", {"format": "parquet"})
        table = parquet.read_table(io.BytesIO(body))
        assert (table.num_rows, table.column_names) == (0, ["_step", "_timestamp", "_runtime"])


async def test_keys_and_steps_can_be_chosen(server: ServerHandle) -> None:
    async with logged(server, ROWS) as (client, run):

        async def lines(*query: tuple[str, str]) -> list[dict[str, Any]]:
            asked = [("format", "jsonl"), *query]
            _, body = await fetch(client, f"{run}/history", asked)
            return [json.loads(line) for line in body.splitlines()]

        found = await lines(("key", "a.b/c d"), ("key", "ключ"))
        assert [row["_step"] for row in found] == [1, 3]
        assert found[1].keys() == {"_step", "_timestamp", "_runtime", "ключ"}
        found = await lines(("keys", "n,loss"), ("min_step", "1"), ("max_step", "3"))
        assert [row["_step"] for row in found] == [1, 2]
        assert [row["_step"] for row in await lines(("samples", "2"))] == [0, 3]
        assert len(await lines(("key", "_step"))) == 4
        assert await lines(("key", "never")) == []
        assert await lines(("min_step", "-5"), ("max_step", "-1")) == []


async def test_series_over_http(server: ServerHandle) -> None:
    rows: list[Row] = [(step, {"a.b/c d": math.sin(step), "ключ": step}) for step in range(5_000)]
    async with logged(server, rows) as (client, run):
        query = [("key", "a.b/c d"), ("key", "ключ"), ("key", "never"), ("buckets", "100")]
        answer = json.loads((await fetch(client, f"{run}/series", query))[1])
        assert answer["x"] == "_step"
        first, second, third = answer["series"]
        assert (first["key"], first["rows"], first["exact"]) == ("a.b/c d", 5_000, False)
        assert sum(second["count"]) == 5_000
        assert (second["x"][-1], second["last"][-1]) == (4_999, 4_999)
        assert (third["rows"], third["x"]) == (0, [])
        await asyncio.to_thread(seal_now, server)
        again = json.loads((await fetch(client, f"{run}/series", query))[1])["series"]
        for before, after in zip(answer["series"], again, strict=True):
            np.testing.assert_allclose(before.pop("mean"), after.pop("mean"), atol=1e-12)
            assert before == after

        query = [("key", "ключ"), ("x", "_runtime"), ("min", "10"), ("max", "20.5")]
        (zoom,) = json.loads((await fetch(client, f"{run}/series", query))[1])["series"]
        assert zoom["exact"]
        assert zoom["x"] == [float(n) for n in range(10, 21)]


async def test_charts_that_are_still_the_same_are_not_sent_again(server: ServerHandle) -> None:
    async with logged(server, [(step, {"loss": step}) for step in range(5)]) as (client, run):
        address, query = f"/api/v1/{run}/series", {"key": "loss"}
        async with client.session.get(address, params=query) as first:
            tag = first.headers["ETag"]
        for known, status in ((f'"other", {tag}', 304), ('"other"', 200)):
            asked = {"If-None-Match": known}
            async with client.session.get(address, params=query, headers=asked) as answer:
                assert (answer.status, answer.headers["ETag"]) == (status, tag)
                assert bool(await answer.read()) == (status == 200)
        await client.send(frames.encode(6, table_of([(5, {"loss": 5})])))
        async with client.session.get(
            address, params=query, headers={"If-None-Match": tag}
        ) as answer:
            assert (answer.status, answer.headers["ETag"] == tag) == (200, False)


async def test_one_thread_at_a_time_writes_rows_as_json(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several would take each other, and the event loop, the interpreter."""
    two, met, encode = threading.Barrier(2), list[int](), history._JsonLines.encode

    def meet(self: Any, table: Table) -> bytes:
        with suppress(threading.BrokenBarrierError):
            met.append(two.wait(0.2))
        return encode(self, table)

    monkeypatch.setattr(history._JsonLines, "encode", meet)
    async with logged(server, [(0, {"loss": 1})]) as (client, run):
        query = {"format": "jsonl"}
        answers = [fetch(client, f"{run}/history", query) for _ in range(2)]
        (_, first), (_, second) = await asyncio.gather(*answers)
    assert first == second != b""
    assert not met


def seal_now(server: ServerHandle) -> None:
    """Seal a running run's tail although it is small."""

    async def run(app: web.Application) -> None:
        tails = await app[SOURCES].store.tails()
        for tail in tails:
            await app[SEALER]._seal_claimed(tail)

    server.call(run)


async def test_numbers_that_are_none_are_words_in_series(server: ServerHandle) -> None:
    async with logged(server, ROWS) as (client, run):
        _, body = await fetch(client, f"{run}/series", {"key": "loss"})
        (loss,) = json.loads(body)["series"]
        assert loss["exact"]
        assert loss["last"] == [1.5, "NaN", 7.0, "-Infinity"]


async def test_a_name_may_be_empty_and_costs_its_neighbours_nothing(server: ServerHandle) -> None:
    async with logged(server, [(0, {"": 1.5, "loss": 2.0})]) as (client, run):
        _, body = await fetch(client, f"{run}/series", [("key", "loss"), ("key", "")])
        assert [one["last"] for one in json.loads(body)["series"]] == [[2.0], [1.5]]
        _, body = await fetch(client, f"{run}/history", {"key": "", "format": "jsonl"})
        assert [json.loads(line)[""] for line in body.splitlines()] == [1.5]


@pytest.mark.parametrize(
    ("resource", "query"),
    [
        ("history", "format=csv"),
        ("history", "min_step=x"),
        ("history", "min_step=1.5"),
        ("history", "max_step=99999999999999999999"),
        ("history", "samples=0"),
        ("series", ""),
        ("series", "key=a&buckets=0"),
        ("series", "key=a&buckets=1e3"),
        ("series", "key=a&x=loss"),
        ("series", "key=a&min=nan"),
        ("series", "key=a&min=x"),
        ("series", "key=a&min=2&max=1"),
        ("series", "&".join(["key=a", *(f"key=k{i}" for i in range(200))])),
    ],
)
async def test_bad_questions_are_refused(server: ServerHandle, resource: str, query: str) -> None:
    async with (
        logged(server, ROWS) as (client, run),
        client.session.get(f"/api/v1/{run}/{resource}?{query}") as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "bad_request"


async def test_an_unknown_run_is_not_found(server: ServerHandle) -> None:
    async with logged(server, ROWS) as (client, run):
        for resource in ("series?key=a", "history"):
            async with client.session.get(f"/api/v1/{run}x/{resource}") as answer:
                assert answer.status == 404
                assert (await answer.json())["error"]["code"] == "run_not_found"


async def test_an_answer_that_cannot_be_finished_is_cut(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [(step, {"loss": 1.0}) for step in range(200_000)]
    encode = frames.encode

    def fail(first: int, table: Table) -> bytes:
        if first:
            raise OSError("the disk went away")
        return encode(first, table)

    async with logged(server, rows) as (client, run):
        monkeypatch.setattr("asyncwb.server.history.history.frames.encode", fail)
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
            await fetch(client, f"{run}/history", {})


async def test_arrays_of_the_pages_size_are_whole(server: ServerHandle) -> None:
    rows: list[Row] = [(step, {"loss": float(step)}) for step in range(70_000)]
    async with logged(server, rows) as (client, run):
        _, body = await fetch(client, f"{run}/history", {"key": "loss"})
        tables = decode_frames(body)
        assert [table.n for table in tables] == [65_536, 4_464]
        np.testing.assert_array_equal(
            np.concatenate([table.steps for table in tables]), np.arange(70_000)
        )


async def test_a_key_with_a_nul_is_asked_for_like_any_other(server: ServerHandle) -> None:
    nul: list[Row] = [(step, {"nul\0": step, "loss": 1.0}) for step in range(3)]
    async with logged(server, nul) as (client, run):
        for sealed in (False, True):
            if sealed:
                finish = {"t": "finish", "exit_code": 0, "at": BEGAN + 9}
                await client.send(frames.encode(4, table_of([]), [(0, finish)]))
                await asyncio.to_thread(seal, server)
            found = await client.get(f"{run}/series", key="nul\0")
            assert found["series"][0]["last"] == [0, 1, 2]
            for query in ({"key": "nul\0"}, {"name": "nul\0", "samples": "9"}):
                _, body = await fetch(client, f"{run}/history", {"format": "jsonl", **query})
                lines = [json.loads(line) for line in body.splitlines()]
                assert [line["nul\0"] for line in lines] == [0, 1, 2]
