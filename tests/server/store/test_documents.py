"""Documents of the database: one that is not as it was written is named, never shown or used."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Text, select, text, type_coerce

from asyncwb.server.backups import verify
from asyncwb.server.http.state import STATE
from asyncwb.server.store import schema
from asyncwb.server.store.documents import Bytes, DamagedText, read, seal
from asyncwb.settings import default_entity
from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle, both_databases
from tests.server.graphql.asking import ask, codes, data
from tests.server.ingest_client import connect, event_frame, first_frame, head, rows

json_text = st.dictionaries(st.text(), st.floats() | st.text() | st.none()).map(json.dumps)


@given(json_text, st.data())
def test_no_flipped_bit_gives_another_document(document: str, draw: st.DataObject) -> None:
    stored = seal(document).encode()
    assert read(stored) == (document, True)
    bit = draw.draw(st.integers(0, 8 * len(stored) - 1))
    flipped = bytearray(stored)
    flipped[bit // 8] ^= 1 << bit % 8
    assert isinstance(read(bytes(flipped))[0], DamagedText)


@given(json_text)
def test_a_document_of_an_older_release_is_itself(document: str) -> None:
    assert read(document.encode()) == (document, False)


def stored(server: ServerHandle, table: str, column: str, number: int = 1) -> bytes:
    """Return the bytes of a document as they stand in the database."""
    found = schema.metadata.tables[table]

    async def work(app: web.Application) -> bytes:
        raw = Bytes(type_coerce(found.c[column], Text))
        async with app[STATE].database.connect() as connection:
            return bytes(await connection.scalar(select(raw).where(found.c.id == number)))

    return server.call(work)


def change(
    server: ServerHandle,
    table: str,
    column: str,
    how: Callable[[str], str],
    number: int = 1,
) -> None:
    """Change a document behind the server's back, and let it forget what it remembers of runs."""
    now = how(stored(server, table, column, number).decode())

    async def work(app: web.Application) -> None:
        async with app[STATE].database.transaction() as connection:
            statement = text(f"UPDATE {table} SET {column} = :now WHERE id = :id")
            await connection.execute(statement, {"now": now, "id": number})
        app[STATE].folds._runs.clear()

    server.call(work)


def flip(document: str) -> str:
    """Change one digit; what is left is well-formed."""
    at = next(i for i, char in enumerate(document) if char.isdigit())
    return document[:at] + str((int(document[at]) + 1) % 10) + document[at + 1 :]


def _back(original: str, _: str) -> str:
    return original


pytestmark = pytest.mark.anyio


@both_databases
async def test_a_damaged_document_is_named_and_never_shown(server: ServerHandle) -> None:
    names = {"project": "p", "entity": "root"}
    async with connect(server) as client:
        await client.post([(head(run), [first_frame(config={"lr": 1})]) for run in ("r1", "r2")])
        for column in ("config", "summary", "fold"):
            before = await client.run()
            assert before["damaged"] == []
            original = stored(server, "runs", column).decode()
            change(server, "runs", column, flip)
            info = await client.run()
            assert info["damaged"] == [column]
            if column != "fold":
                assert info[column] == {}
            assert (info["metrics"] == []) is (column == "fold")
            other = await client.run("r2")
            assert (other["damaged"], other["config"]) == ([], {"lr": 1})
            listed = (await client.get(f"projects/{default_entity()}/p/runs"))["runs"]
            assert {one["id"]: one["damaged"] for one in listed} == {
                "r1": ["summary"] if column == "summary" else [],
                "r2": [],
            }
            asked = {"config": "config", "summary": "summaryMetrics", "fold": "historyKeys"}
            query = "query($entity: String, $project: String!) { project(entityName: $entity, "
            query += f'name: $project) {{ run(name: "r1") {{ name {asked[column]} }} }} }}'
            answer = ask(server, query, **names)
            assert codes(answer) == ["document_damaged"]
            assert column == "fold" or column in answer["errors"][0]["message"]
            problems = (await verify.verify(server.config)).problems
            assert [f"{column!r} of run 1 is damaged" in one for one in problems] == [True]
            change(server, "runs", column, partial(_back, original))
            assert (await client.run()) == before


@both_databases
async def test_nothing_is_made_of_a_damaged_document(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.post([(head(run), [first_frame(config={"lr": 1})]) for run in ("r1", "r2")])
        more = [(head(run), [encode(11, rows(10, 5))]) for run in ("r1", "r2")]
        original = stored(server, "runs", "fold").decode()
        change(server, "runs", "fold", flip)
        damaged = stored(server, "runs", "fold")
        first, second = await client.post(more)
        assert (first["error"]["code"], first["error"]["retry"]) == ("document_damaged", True)
        assert second["next"] == 16
        line = json.dumps({"_step": 10, "loss": 1.0})
        files = {"wandb-history.jsonl": {"offset": 0, "content": [line]}}
        address = f"/files/{default_entity()}/p/r1/file_stream"
        async with client.session.post(address, json={"files": files}) as answer:
            assert (answer.status, await answer.text()) == (503, _Naming("document_damaged"))
        rewind = """mutation { rewindRun(input: {entityName: "root", projectName: "p",
            runName: "r1", metricName: "_step", metricValue: 3}) { rewoundRun { name } } }"""
        assert codes(ask(server, rewind)) == ["history_damaged"]
        assert stored(server, "runs", "fold") == damaged
        change(server, "runs", "fold", lambda _: original)
        assert (await client.post(more))[0]["next"] == 16  # nothing was lost

        change(server, "runs", "config", flip)
        damaged = stored(server, "runs", "config")
        event = event_frame(16, {"t": "config", "set": {"seed": 3}})
        assert (await client.send(event))["error"]["code"] == "document_damaged"
        upsert = 'mutation($config: JSONString) { upsertBucket(input: {entityName: "root", '
        upsert += 'modelName: "p", name: "r1", config: $config}) { bucket { config } } }'
        assert stored(server, "runs", "config") == damaged
        whole = data(server, upsert, config='{"lr": {"value": 7}}')["upsertBucket"]["bucket"]
        assert json.loads(whole["config"])["lr"]["value"] == 7  # a whole one takes its place
        assert (await client.send(event))["next"] == 17
        assert (await client.run())["config"] == {"lr": 7, "seed": 3}


class _Naming(str):
    """A text that is equal to whatever holds it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in other

    __hash__ = str.__hash__


@both_databases
async def test_documents_of_older_releases_are_read_and_counted(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame(config={"lr": 1}))
        before = await client.run()
        assert (await verify.verify(server.config)).unchecked == 0
        for column in ("config", "summary", "fold", "system"):
            change(server, "runs", column, lambda sealed: read(sealed.encode())[0])
        found = await verify.verify(server.config)
        assert (found.counts["document"], found.unchecked, found.problems) == (4, 4, [])
        assert await client.run() == before
        await client.send(encode(11, rows(10, 5)))
        assert (await verify.verify(server.config)).unchecked == 2  # `config` is as it was
        change(server, "runs", "config", lambda old: old[:-1])
        (problem,) = (await verify.verify(server.config)).problems
        assert problem.startswith("'config' of run 1 is damaged")


@both_databases
async def test_reports_and_sweeps_have_checksums(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
    report = """mutation { upsertView(input: {entityName: "root", projectName: "p", type: "runs",
        name: "a", displayName: "A", spec: "{\\"version\\": 5}"}) { view { id spec } } }"""
    view = data(server, report)["upsertView"]["view"]
    sweep = """mutation { upsertSweep(input: {entityName: "root", projectName: "p",
        config: "method: random\\nparameters: {lr: {values: [1, 2]}}"}) { sweep { name } } }"""
    made = data(server, sweep)["upsertSweep"]["sweep"]
    change(server, "reports", "spec", flip)
    change(server, "sweeps", "config", flip)
    asked = f'{{ view(id: "{view["id"]}") {{ spec }} }}'
    assert codes(ask(server, asked)) == ["document_damaged"]
    name = made["name"]
    asked = '{ project(entityName: "root", name: "p") { sweep(sweepName: "%s") { config } } }'
    assert codes(ask(server, asked % name)) == ["document_damaged"]
    problems = (await verify.verify(server.config)).problems
    assert [one.split(" is damaged")[0] for one in problems] == [
        "'spec' of report 1",
        "'config' of sweep 1",
    ]
