"""What W&B clients send is there, once, and looks like what our own clients log."""

from __future__ import annotations

import asyncio
import gzip
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwb.server.http.state import STATE, State
from asyncwb.server.intake import file_stream, file_stream_request, lines
from asyncwb.server.intake.crash import end_silent_runs
from asyncwb.server.intake.file_stream import LineCounts, rules_from_wandb
from asyncwb.wire.rows.value_count import MAX_VALUES
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.ingest_client import connect, event_frame, first_frame
from tests.server.wandb_client import (
    EPOCH,
    EVENTS,
    HISTORY,
    OUTPUT,
    SUMMARY,
    Wandb,
    block,
    make_run,
    row,
    wandb,
)

pytestmark = [pytest.mark.anyio, both_databases]


def on(server: ServerHandle, work: Callable[[State], Any]) -> Any:
    """Run a coroutine function with the server's state, on its loop."""

    async def run(app: web.Application) -> Any:
        return await work(app[STATE])

    return server.call(run)


async def test_rows_are_the_rows_that_our_own_client_would_have_sent(server: ServerHandle) -> None:
    media = {"_type": "image-file", "path": "media/a.png", "size": 3}
    logged = [
        row(0, loss=0.5, n=1, text="a", val={"acc": 0.25, "deep": {"x": 1}}),
        row(1, loss=float("nan"), n=2, ok=True, **{"a.b": 1}),
        row(2, loss=float("inf"), n=2**70, nothing=None, list=[1, [2]], image=media),
    ]
    async with wandb(server) as client:
        assert await client.history(0, logged) == {}
        found, info = await client.rows(), await client.info()
    assert [(r["_step"], r["_timestamp"], r["_runtime"]) for r in found] == [
        (i, EPOCH + i, float(i)) for i in range(3)
    ]
    first, second, third = (
        {key: value for key, value in r.items() if key[0] != "_"} for r in found
    )
    assert first == {"loss": 0.5, "n": 1, "text": "a", "val.acc": 0.25, "val.deep.x": 1}
    assert type(first["n"]) is int
    assert second.pop("loss") != second.get("loss")
    assert second == {"n": 2, "ok": True, "a\\.b": 1}
    assert third["loss"] == float("inf")
    assert third["image"] == media
    assert (third["n"], third["list"], third["nothing"]) == (float(2**70), [1, [2]], None)
    assert (info["rows"], info["last_step"], info["started_at"]) == (3, 2, EPOCH)
    assert info["state"] == "running"


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_splits_overlaps_repeats_and_any_order_give_the_rows_once(
    server: ServerHandle, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 40))
    logged = [row(i, x=i) for i in range(n)]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, n - 1)))) & set(range(1, n)))
    pieces = list(zip([0, *cuts], [*cuts, n], strict=True))
    extra = data.draw(
        st.lists(st.tuples(st.integers(0, n), st.integers(0, n)).map(lambda t: (min(t), max(t))))
    )
    posts = data.draw(st.permutations([*pieces, *extra]))

    async def check() -> None:
        async with wandb(server, uuid.uuid4().hex) as client:
            for start, stop in posts:
                await client.history(start, logged[start:stop])
            found, info = await client.rows(), await client.info()
        assert [(r["_step"], r["x"]) for r in found] == [(i, i) for i in range(n)]
        assert info["rows"] == n
        assert info["metrics"][0]["count"] == n

    asyncio.run(check())


async def test_a_block_without_its_predecessors_is_kept_until_they_come(
    server: ServerHandle,
) -> None:
    _, run_id = make_run(server)
    async with wandb(server) as client:
        await client.history(20, [row(i, x=i) for i in range(20, 30)])
        await client.history(0, [row(i, x=i) for i in range(10)])
        assert (await client.info())["rows"] == 20
        counts = on(server, lambda state: file_stream.line_counts(state, run_id))
        assert counts == LineCounts(30, 0, 0)
        await client.history(5, [row(i, x=i) for i in range(5, 25)])
        await client.history(30, [row(30, x=30)], complete=True, exitcode=0)
        found, info = await client.rows(), await client.info()
    assert [r["x"] for r in found] == list(range(31))
    assert (info["rows"], info["state"]) == (31, "finished")


async def test_a_project_is_renamed_while_a_client_logs(server: ServerHandle) -> None:
    make_run(server)
    told = 'mutation{upsertBucket(input:{modelName:"p",name:"%s"}){inserted bucket{project{name}}}}'
    async with wandb(server) as client:
        await client.history(0, [row(0, x=0)])
        project = f"/api/v1/projects/{client.path.entity}/p"
        async with client.session.patch(project, json={"name": "q"}) as answer:
            assert answer.status == 200
        await client.history(1, [row(1, x=1)])
        found = []
        for run in ("r1", "new"):
            async with client.session.post("/graphql", json={"query": told % run}) as answer:
                found.append((await answer.json())["data"]["upsertBucket"])
        assert found == [
            {"inserted": inserted, "bucket": {"project": {"name": "q"}}}
            for inserted in (False, True)
        ]
        assert [r["x"] for r in await client.rows()] == [0, 1]
        assert (await client.info())["project"] == "q"
        # A new project of the former name takes nothing that was there before.
        made = {"entity": client.path.entity, "name": "p"}
        async with client.session.post("/api/v1/projects", json=made) as answer:
            assert answer.status == 201
        await client.history(2, [row(2, x=2)])
        found = []
        for run in ("r1", "newer"):
            async with client.session.post("/graphql", json={"query": told % run}) as answer:
                bucket = (await answer.json())["data"]["upsertBucket"]
                found.append((bucket["inserted"], bucket["bucket"]["project"]["name"]))
        assert found == [(False, "q"), (True, "p")]
        assert [r["x"] for r in await client.rows()] == [0, 1, 2]
        await client.history(0, [row(0, x=9)], complete=True, exitcode=0)


async def test_a_run_that_another_client_began_is_gone_on_with(server: ServerHandle) -> None:
    async with connect(server) as native:
        await native.send(first_frame(10))
        await native.send(event_frame(11, {"t": "finish", "exit_code": 0, "at": EPOCH}))
    _, run_id = make_run(server)
    async with wandb(server) as client:
        counts = on(server, lambda state: file_stream.line_counts(state, run_id))
        assert counts.history == 10
        await client.history(10, [row(10, loss=0.25)])
        info, found = await client.info(), await client.rows()
    assert (info["state"], info["rows"], info["summary"]["loss"]) == ("running", 11, 0.25)
    assert [r["_step"] for r in found] == list(range(11))


async def test_a_new_process_with_an_old_id_writes_over_the_old_rows(
    server: ServerHandle,
) -> None:
    async with wandb(server) as client:
        await client.history(0, [row(i, x=i) for i in range(5)], complete=True, exitcode=1)
        again = [row(i, x=10 + i, y=1) for i in range(3)]
        await client.history(0, again[:2])
        await client.history(0, again[:2])  # sent twice
        await client.history(2, again[2:], complete=True, exitcode=0)
        found, info = await client.rows(), await client.info()
    assert [r["x"] for r in found] == [10, 11, 12, 3, 4]
    assert (info["rows"], info["state"]) == (8, "finished")


async def test_a_folder_that_is_sent_again_adds_what_was_missing(server: ServerHandle) -> None:
    rows = [row(i, x=i, y={"a": i, "b": [i]}) for i in range(5)]
    turned = [dict(reversed(line.items())) for line in rows]
    async with wandb(server) as client:
        await client.history(0, rows[:3])
        await client.history(0, turned, complete=True, exitcode=0)
        found, info = await client.rows(), await client.info()
    assert [r["x"] for r in found] == list(range(5))
    assert (info["rows"], info["state"]) == (5, "finished")


async def test_clients_that_share_a_run_have_numbers_of_their_own(server: ServerHandle) -> None:
    header = {file_stream.CLIENT_HEADER: "01a1fced-3e1c-7692-b0a1-55844db43d95"}
    async with wandb(server) as client:
        await client.history(0, [row(7, x=7)])
        plain = {"x": 8, "_timestamp": EPOCH + 1}
        for _ in range(2):
            body = {"files": {HISTORY: block(0, [plain, {**plain, "x": 9}])}}
            await client.post(body, **header)
        found = await client.rows()
    assert [(r["_step"], r["x"]) for r in found] == [(7, 7), (8, 8), (9, 9)]


async def test_the_summary_line_is_the_whole_summary_until_the_next_row(
    server: ServerHandle,
) -> None:
    whole = {"loss": 0.5, "best": {"acc": 0.9}, "_wandb": {"runtime": 3}, "_step": 0}
    async with wandb(server) as client:
        await client.history(0, [row(0, loss=0.5, gone=1)])
        summary = {"files": {SUMMARY: block(0, ["{}", whole])}}
        await client.post(summary)
        info = await client.info()
        shown = {k: v for k, v in info["summary"].items() if k not in ("_timestamp", "_runtime")}
        assert shown == {**whole, "_step": 0}
        await client.history(1, [row(1, loss=0.25, gone=2)])
        assert (await client.info())["summary"]["gone"] == 2


async def test_lines_of_console_and_system_metrics(server: ServerHandle) -> None:
    _, run_id = make_run(server)
    system = {"_wandb": True, "_timestamp": EPOCH, "_runtime": 1.0, "system.cpu": 5.0}
    later = {"_wandb": True, "_timestamp": EPOCH + 9, "system.memory": 7}
    async with wandb(server) as client:
        await client.post({"files": {OUTPUT: block(0, ["a", "b"]), EVENTS: block(0, [system])}})
        await client.post({"files": {OUTPUT: block(1, ["B", "c"]), EVENTS: block(1, [later])}})
        await client.post({"files": {EVENTS: block(0, [system]), "else.log": {"offset": "x"}}})
    output = on(server, lambda state: lines.read(state, run_id, lines.OUTPUT))
    assert output == [(0, "a"), (1, "B"), (2, "c")]
    events = on(server, lambda state: lines.read(state, run_id, lines.EVENTS))
    assert [json.loads(text) for _, text in events] == [system, later]

    async def read(state: State) -> Any:
        run = await state.runs.get(client.path)
        assert run is not None
        return json.loads(run.columns["system"])

    assert on(server, read) == {
        "_timestamp": EPOCH + 9,
        "_runtime": 1.0,
        "system.cpu": 5.0,
        "system.memory": 7,
    }


async def test_states(start_server: Callable[..., ServerHandle]) -> None:
    clock = FakeTime()
    server = start_server(clock=clock, crash_after=60.0)

    def silence() -> None:
        clock.now += 61
        on(server, lambda state: end_silent_runs(state, 0.0))

    async with wandb(server) as client:

        async def state_of() -> tuple[str, int | None]:
            info = await client.info()
            return info["state"], info["exit_code"]

        await client.post({})
        assert await state_of() == ("running", None)
        clock.now += 50
        await client.post({})
        clock.now += 50
        on(server, lambda state: end_silent_runs(state, 0.0))
        assert await state_of() == ("running", None)
        silence()
        assert await state_of() == ("crashed", None)
        await client.post({})
        assert await state_of() == ("running", None)
        await client.history(0, [row(0, x=1)], complete=True, exitcode=3, uploaded=["a"])
        assert await state_of() == ("failed", 3)
        await client.history(0, [row(0, x=1)])  # sent again: no life
        assert await state_of() == ("failed", 3)
        await client.history(1, [row(1, x=1)])
        assert await state_of() == ("running", None)
        await client.post({"complete": True, "exitcode": 0})
        assert await state_of() == ("finished", 0)
        on(server, lambda state: file_stream.begin(state, client.path))
        await client.post({"preempting": True})
        await client.post({})
        assert await state_of() == ("preempting", None)
        silence()
        assert await state_of() == ("preempted", None)
        await client.history(2, [row(2)], preempting=True, complete=True, exitcode=4_294_967_295)
        assert await state_of() == ("preempted", -1)


@pytest.mark.parametrize("native", [True, False])
async def test_what_comes_late_wakes_no_run_that_has_ended(
    server: ServerHandle, native: bool
) -> None:
    async with connect(server) as ours, wandb(server, "theirs") as theirs:
        done = {"t": "finish", "exit_code": 0, "at": 1.0}
        await ours.send(first_frame(1), event_frame(2, done), run="ours")
        await theirs.history(0, [row(0, x=1)], complete=True, exitcode=0)
        client = Wandb(theirs.session, theirs.path._replace(run="ours" if native else "theirs"))
        ended = await client.info()
        assert (ended["state"], ended["exit_code"]) == ("finished", 0)
        late: list[dict[str, Any]] = [
            {},
            {"uploaded": ["x"]},
            {"files": {OUTPUT: block(5, ["late"])}},
            {"files": {EVENTS: block(5, ['{"system.cpu": 1}'])}},
            {"files": {SUMMARY: block(0, ['{"best": 1}'])}},
            {"preempting": True},
            {"complete": True, "exitcode": 3},
        ]
        for body in late:
            await client.post(body)
            after = await client.info()
            same = ("state", "exit_code", "finished_at", "heartbeat_at")
            assert {key: after[key] for key in same} == {key: ended[key] for key in same}, body
        assert after["summary"]["best"] == 1
        await client.history(1 - native, [row(1, x=2)])
        assert (await client.info())["state"] == "running"
        await client.post({"complete": True, "exitcode": 3})
        assert ((await client.info())["state"], (await client.info())["exit_code"]) == ("failed", 3)


async def test_a_stop_reaches_the_client_and_the_run_is_killed(server: ServerHandle) -> None:
    _, run_id = make_run(server)
    async with wandb(server) as client:
        assert await client.post({}) == {}
        assert on(server, lambda state: file_stream.request_stop(state, run_id)) is True
        assert await client.post({}) == {"stopped": True}
        await client.post({"complete": True, "exitcode": 255})
        info = await client.info()
        assert (info["state"], info["exit_code"]) == ("killed", 255)
        assert on(server, lambda state: file_stream.request_stop(state, run_id)) is False
        on(server, lambda state: file_stream.begin(state, client.path))
        assert await client.post({}) == {}


async def test_a_stop_reaches_our_own_client_too(server: ServerHandle) -> None:
    async with connect(server) as native:
        assert (await native.send(first_frame()))["stop"] is False
        _, run_id = make_run(server)
        on(server, lambda state: file_stream.request_stop(state, run_id))
        assert (await native.send())["stop"] is True
        finish = {"t": "finish", "exit_code": 255, "at": EPOCH}
        assert (await native.send(event_frame(11, finish)))["state"] == "killed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        {"files": []},
        {"files": {HISTORY: []}},
        {"files": {HISTORY: {"offset": -1, "content": []}}},
        {"files": {HISTORY: {"offset": 2**60, "content": []}}},
        {"files": {HISTORY: {"offset": True, "content": []}}},
        {"files": {HISTORY: {"offset": 0, "content": "{}"}}},
        {"files": {HISTORY: {"offset": 0, "content": [1]}}},
        {"files": {HISTORY: {"offset": 0, "content": ["{}", "nope"]}}},
        {"files": {HISTORY: {"offset": 0, "content": ['{"a":1},{"b":2}']}}},
        {"files": {HISTORY: {"offset": 0, "content": ["[]"]}}},
        {"files": {HISTORY: {"offset": 0, "content": ['{"a":' + "[" * 150 + "]" * 150 + "}"]}}},
        {"files": {HISTORY: {"offset": 0, "content": ['{"a":' * 150 + "1" + "}" * 150]}}},
        {"files": {HISTORY: {"offset": 0, "content": ['{"a":' * 5000 + "1" + "}" * 5000]}}},
        {"files": {HISTORY: {"offset": 0, "content": ['{"a":"\\ud800"}']}}},
        {"files": {EVENTS: {"offset": 0, "content": ["1"]}}},
        {"files": {SUMMARY: {"offset": 0, "content": ["[]"]}}},
        {"files": {SUMMARY: {"offset": 0, "content": ['{"a":' + "[" * 150 + "]" * 150 + "}"]}}},
    ],
)
async def test_what_is_malformed_is_refused_and_leaves_nothing(
    server: ServerHandle, body: Any
) -> None:
    good = {OUTPUT: block(0, ["x"])}
    if isinstance(body, dict) and isinstance(body["files"], dict):
        body["files"].update(good)
    _, run_id = make_run(server)
    async with wandb(server) as client:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = await client.post_raw(data)
        assert (status, answer["error"]["code"]) == (400, "bad_file_stream")
        assert "Nothing was written" in answer["error"]["message"]
        assert (await client.info())["version"] == 0
    assert on(server, lambda state: lines.count(state, run_id, lines.OUTPUT)) == 0


async def test_what_is_too_large_is_refused(start_server: Callable[..., ServerHandle]) -> None:
    server = start_server(max_body=12 * 2**20)
    async with wandb(server) as client:
        long = {"files": {OUTPUT: {"offset": 0, "content": ["x" * (10 * 2**20 + 1)]}}}
        status, answer = await client.post_raw(json.dumps(long).encode())
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
        status, _ = await client.post_raw(b" " * (12 * 2**20 + 1))
        assert status == 413
        bomb = gzip.compress(b" " * (200 * 2**20))
        status, _ = await client.post_raw(bomb, **{"Content-Encoding": "gzip"})
        assert status == 413
        wide = json.dumps({f"k{i}": 1 for i in range(100_001)})
        status, _ = await client.post_raw(
            json.dumps({"files": {HISTORY: block(0, [wide])}}).encode()
        )
        assert status == 400
        assert (await client.info())["version"] == 0


async def test_gzip_is_taken_and_broken_gzip_refused(server: ServerHandle) -> None:
    body = gzip.compress(json.dumps({"files": {HISTORY: block(0, [row(0, x=1)])}}).encode())
    async with wandb(server) as client:
        status, _ = await client.post_raw(body, **{"Content-Encoding": "gzip"})
        assert status == 200
        assert len(await client.rows()) == 1
        for broken in (b"nonsense", body[:-9]):
            status, _ = await client.post_raw(broken, **{"Content-Encoding": "gzip"})
            assert status == 400


async def test_a_run_that_is_not_there_and_a_key_that_may_not(server: ServerHandle) -> None:
    async with wandb(server) as client:
        client.path = client.path._replace(run="other")
        status, answer = await client.post_raw(b"{}")
        assert (status, answer["error"]["code"]) == (404, "run_not_found")
        url = f"{server.url}/files/{client.path}/file_stream"
        nobody = {"Authorization": "Bearer nobody"}
        async with client.session.post(url, data=b"{}", headers=nobody) as answer:
            assert answer.status == 401


def test_rules_of_a_config(server: ServerHandle) -> None:
    listed = [
        {"1": "epoch", "6": [3]},
        {"2": "val/*", "5": 1, "6": [1, 3], "7": [1, 2]},
        {"1": "secret", "6": [2, 3], "8": 2, "7": [4]},
        {"1": ""},
        "nonsense",
        {"1": "a*b"},
        {"1": 7},
    ]
    events = rules_from_wandb({"_wandb": {"m": listed}})
    assert [event["name"] for event in events] == ["epoch", "val/*", "secret"]
    assert (events[1]["step_metric"], events[1]["summary"]) == ("epoch", ["min", "max"])
    assert (events[2]["hidden"], events[2]["goal"]) == (True, "maximize")
    for odd in ({}, {"_wandb": None}, {"_wandb": {"m": 3}}):
        assert rules_from_wandb(odd) == []

    async def check() -> None:
        async with wandb(server) as client:
            on(server, lambda state: file_stream.set_rules(state, client.path, events))
            version = (await client.info())["version"]
            on(server, lambda state: file_stream.set_rules(state, client.path, events))
            assert (await client.info())["version"] == version
            await client.history(0, [row(0, epoch=1, secret=2, **{"val/a": 3})])
            metrics = {m["key"]: m for m in (await client.info())["metrics"]}
        assert metrics["secret"]["hidden"] is True
        assert metrics["val/a"]["step_metric"] == "epoch"

    asyncio.run(check())


async def test_what_has_too_many_values_is_refused_and_what_has_the_most_is_taken(
    server: ServerHandle,
) -> None:
    _, run_id = make_run(server)

    def line(values: int) -> str:
        return json.dumps({"_step": 0, "a": [0] * (values - 5)})  # two names, a step, two brackets

    bad: list[dict[str, Any]] = [
        {name: block(0, [line(MAX_VALUES + 1)])} for name in (HISTORY, EVENTS, SUMMARY)
    ]
    bad.append({"another": [0] * (MAX_VALUES + file_stream_request.MAX_LINES)})
    good = {
        HISTORY: block(0, [line(MAX_VALUES), json.dumps({"_step": 1, "csv": "1,2," * 500_000})]),
        EVENTS: block(0, [line(MAX_VALUES)] * 2),
        SUMMARY: block(0, [json.dumps({f"metric {i}": 0.5 for i in range(100_000)})]),
        OUTPUT: block(0, [line(MAX_VALUES + 1)]),
    }
    async with wandb(server) as client:
        for files in bad:
            body = {"files": {OUTPUT: block(0, ["x"]), **files}}
            status, answer = await client.post_raw(json.dumps(body).encode())
            assert (status, answer["error"]["code"]) == (413, "body_too_large")
            assert "names. Nothing was written" in answer["error"]["message"]
        assert (await client.info())["version"] == 0
        status, answer = await client.post_raw(json.dumps({"files": good}).encode())
        assert (status, answer) == (200, {})
        info = await client.info()
    assert (info["rows"], info["summary"]["metric 99999"]) == (2, 0.5)
    assert on(server, lambda state: lines.count(state, run_id, lines.OUTPUT)) == 1
