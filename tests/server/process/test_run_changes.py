"""What is computed for a run is computed with no transaction open, and written where it stands."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from sqlalchemy import event

from asyncwb.server.http.state import STATE
from asyncwb.server.process.run_changes import ROUNDS
from asyncwb.server.runs import edit_requests
from asyncwb.server.runs.edits import Edit
from asyncwb.server.store.records import RunKey
from asyncwb.wire.rows.columns import FLOAT, INT, Column, Table
from asyncwb.wire.rows.frames import encode
from asyncwb.wire.rows.keys import STEP, TIME
from asyncwb.wire.summary.fold import Fold
from tests.fix_server import ServerHandle, both_databases
from tests.server.ingest_client import EPOCH, Client, connect, first_frame, start_event
from tests.server.intake.test_ingest import stored_steps

pytestmark = [pytest.mark.anyio, both_databases]

RUN = RunKey("root", "p", "r1")
MANY = 5000
"""rows of a batch that is worth a thread: the loop is free while it is folded"""


def many(first_step: int) -> Table:
    """Return MANY rows; their noise keeps the batch large, however well it is packed."""
    steps = np.arange(first_step, first_step + MANY)
    noise = np.random.default_rng(7).random(MANY)
    columns = [
        Column(STEP, INT, steps),
        Column(TIME, FLOAT, EPOCH + steps),
        Column("loss", FLOAT, steps.astype(np.float64)),
        Column("noise", FLOAT, noise),
    ]
    return Table.from_columns(MANY, columns)


@contextmanager
def while_folding(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[int], None], *, rows: int
) -> Iterator[None]:
    """Call `work` with a number from 0 on, whenever a table of so many rows is to be folded."""
    apply, calls, lock = Fold.apply, iter(range(1000)), threading.Lock()

    def folding(self: Fold, table: Any, *more: Any) -> None:
        if table.n == rows:
            with lock:
                number = next(calls)
            work(number)
        apply(self, table, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Fold, "apply", folding)
        yield


@contextmanager
def open_transactions(server: ServerHandle) -> Iterator[set[int]]:
    """Give the transactions of requests that are open, reading ones included, at any time."""
    found: set[int] = set()

    def begun(connection: Any) -> None:
        found.add(id(connection))

    def ended(connection: Any) -> None:
        found.discard(id(connection))

    async def listen(app: web.Application) -> None:
        engine = app[STATE].database.engine.sync_engine
        event.listen(engine, "begin", begun)
        event.listen(engine, "commit", ended)
        event.listen(engine, "rollback", ended)

    async def forget(app: web.Application) -> None:
        engine = app[STATE].database.engine.sync_engine
        event.remove(engine, "begin", begun)
        event.remove(engine, "commit", ended)
        event.remove(engine, "rollback", ended)

    server.call(listen)
    yield found
    server.call(forget)


async def by_ingest(client: Client) -> None:
    assert (await client.send(encode(11, many(10))))["next"] == 11 + MANY


async def by_file_stream(client: Client) -> None:
    lines = [json.dumps({"_step": 10 + i, "loss": float(10 + i)}) for i in range(MANY)]
    files = {"wandb-history.jsonl": {"offset": 0, "content": lines}}
    path = f"/files/{'/'.join(RUN)}/file_stream"
    async with client.session.post(path, json={"files": files}) as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.parametrize("log", [by_ingest, by_file_stream])
async def test_rows_are_folded_with_no_transaction_open(
    start_server: Callable[..., ServerHandle],
    monkeypatch: pytest.MonkeyPatch,
    log: Callable[[Client], Any],
) -> None:
    # No other task of the server's has a transaction open: none ends runs, none seals.
    server = start_server(crash_after=10**6)
    seen: list[int] = []
    async with connect(server) as client:
        await client.send(first_frame())
        with (
            open_transactions(server) as transactions,
            while_folding(monkeypatch, lambda _: seen.append(len(transactions)), rows=MANY),
        ):
            await log(client)
        assert seen == [0]
        assert (await client.run())["rows"] == 10 + MANY


@pytest.fixture
def second(
    server: ServerHandle, start_server: Callable[..., ServerHandle], tmp_path: Path
) -> ServerHandle:
    """Another server on the database of the first."""
    return start_server(
        data=tmp_path / "second",
        database=server.config.database_url,
        objects=str(server.data / "objects"),
    )


def edit_summary(server: ServerHandle, summary: dict[str, Any]) -> None:
    async def work(app: web.Application) -> None:
        state = app[STATE]
        user = await state.users.first()
        assert user is not None
        await edit_requests.edit_run(state, user, RUN, Edit(summary=summary))

    server.call(work)


@pytest.mark.parametrize("log", [by_ingest, by_file_stream])
async def test_an_edit_in_between_is_not_lost(
    server: ServerHandle,
    second: ServerHandle,
    monkeypatch: pytest.MonkeyPatch,
    log: Callable[[Client], Any],
) -> None:
    def work(number: int) -> None:
        if number == 0:
            edit_summary(second, {"loss": 9.0, "by_hand": 1})

    async with connect(server) as client:
        await client.send(first_frame())
        with while_folding(monkeypatch, work, rows=MANY):
            await log(client)
        info = await client.run()
    assert (info["rows"], info["summary"]["by_hand"]) == (10 + MANY, 1)
    assert info["summary"]["loss"] == 9.0 + MANY
    assert info["metrics"][0]["count"] == 10 + MANY


async def test_the_same_rows_in_between_count_once(
    server: ServerHandle, second: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(server) as client, connect(second, server.api_key) as other:
        await client.send(first_frame())
        sent = threading.Event()

        def work(number: int) -> None:
            if number == 0:  # the second server folds the same rows, and gets ahead
                second.call(lambda _: by_ingest_there())

        async def by_ingest_there() -> None:
            async with connect(second, server.api_key) as there:
                await by_ingest(there)
            sent.set()

        with while_folding(monkeypatch, work, rows=MANY):
            await by_ingest(client)
        assert sent.is_set()
        for one in (client, other):
            info = await one.run()
            assert (info["rows"], info["metrics"][0]["count"]) == (10 + MANY, 10 + MANY)
    assert stored_steps(server) == list(range(10 + MANY))


async def test_a_run_that_is_deleted_in_between_takes_no_rows(
    server: ServerHandle, second: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(number: int) -> None:
        async def delete(app: web.Application) -> None:
            user = await app[STATE].users.first()
            assert user is not None
            await edit_requests.delete(app, user, RUN)

        if number == 0:
            second.call(delete)

    async with connect(server) as client:
        await client.send(first_frame())
        with while_folding(monkeypatch, work, rows=MANY):
            answer = await client.send(encode(11, many(10)))
        assert (answer["error"]["code"], answer["next"]) == ("run_not_found", 0)
        assert stored_steps(server) == []
        assert (await client.send(first_frame()))["next"] == 11  # from the beginning, as it says
        assert (await client.run())["rows"] == 10


async def test_a_run_that_another_server_makes_in_between_is_gone_on_with(
    server: ServerHandle, second: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(server) as client:

        async def make(_app: web.Application) -> None:
            async with connect(second, server.api_key) as there:
                assert (await there.send(first_frame(), writer="w2"))["next"] == 11

        def work(number: int) -> None:
            if number == 0:
                second.call(make)

        with while_folding(monkeypatch, work, rows=MANY):
            first = encode(0, many(0), [(0, start_event())])
            assert (await client.send(first))["next"] == MANY + 1
        info = await client.run()
    assert (info["rows"], info["metrics"][0]["count"]) == (10 + MANY, 10 + MANY)


async def test_rows_get_in_however_often_the_run_changes(
    server: ServerHandle, second: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def work(number: int) -> None:
        calls.append(number)
        if number < ROUNDS:  # then its row is locked, and whoever comes waits
            edit_summary(second, {"loss": 9.0, "by_hand": number})

    async with connect(server) as client:
        await client.send(first_frame())
        with while_folding(monkeypatch, work, rows=MANY):
            await by_ingest(client)
        info = await client.run()
    assert calls == list(range(ROUNDS + 1))
    assert (info["rows"], info["summary"]["by_hand"]) == (10 + MANY, ROUNDS - 1)
