"""Ingest: what is acknowledged is there, once; what is bad leaves nothing behind."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlalchemy
import zstandard
from aiohttp import web

from asyncwb.server.http.state import STATE
from asyncwb.server.intake import ingest
from asyncwb.server.live.feed import Hub
from asyncwb.server.store.schema import frames
from asyncwb.wire.ingest import encode_batch
from asyncwb.wire.rows.columns import FLOAT, INT, JSON, Column, Table
from asyncwb.wire.rows.frames import HEADER_SIZE, Frame, decode, encode
from asyncwb.wire.rows.keys import STEP, TIME
from asyncwb.wire.rows.value_count import MAX_VALUES
from tests.fix_server import ServerHandle, both_databases
from tests.server.ingest_client import (
    EPOCH,
    connect,
    event_frame,
    first_frame,
    head,
    rows,
    start_event,
)

pytestmark = [pytest.mark.anyio, both_databases]


def stored_frames(server: ServerHandle) -> list[bytes]:
    """Return the frames' bytes in the order of their ids."""

    async def read(app: web.Application) -> list[bytes]:
        async with app[STATE].database.connect() as connection:
            found = await connection.execute(sqlalchemy.select(frames.c.data).order_by(frames.c.id))
            return [bytes(row[0]) for row in found]

    return server.call(read)


def stored_steps(server: ServerHandle) -> list[int]:
    return [step for data in stored_frames(server) for step in decode(data).table.steps.tolist()]


async def test_a_frame_is_stored_as_it_came_and_the_run_is_described(server: ServerHandle) -> None:
    first = first_frame(name="calm-lake", config={"lr": 0.1}, tags=["a"], group="g", notes="n")
    async with connect(server) as client:
        answer = await client.send(first)
        info = await client.run()
    entity = info["entity"]
    assert answer == {"run": f"{entity}/p/r1", "next": 11, "state": "running", "stop": False}
    assert stored_frames(server) == [first]
    assert info["config"] == {"lr": 0.1}
    assert info["summary"] == {"loss": 9.0, "_step": 9, "_timestamp": EPOCH + 9, "_runtime": 9.0}
    assert (info["name"], info["tags"], info["group"], info["notes"]) == (
        "calm-lake",
        ["a"],
        "g",
        "n",
    )
    assert (info["rows"], info["last_step"], info["lost"], info["started_at"]) == (10, 9, 0, EPOCH)
    assert info["metrics"] == [
        {
            "key": "loss",
            "kind": "f",
            "count": 10,
            "first_step": 0,
            "last_step": 9,
            "hidden": False,
            "step_metric": None,
        }
    ]
    assert info["url"] == f"{server.url}/{entity}/p/runs/r1"


async def test_whatever_is_sent_again_counts_once(server: ServerHandle) -> None:
    overlapping = encode(6, rows(5, 10))  # 6..15, of which 6..10 are there
    async with connect(server) as client:
        await client.send(first_frame())
        assert (await client.send(first_frame()))["next"] == 11
        assert (await client.send(first_frame(), overlapping))["next"] == 16
        assert (await client.send(overlapping))["next"] == 16
        info = await client.run()
    assert stored_steps(server) == list(range(15))
    assert (info["rows"], info["metrics"][0]["count"]) == (15, 15)


async def test_a_hole_is_refused_with_the_number_to_send_from(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
        answer = await client.send(encode(11, rows(10, 5)), encode(20, rows(19, 5)))
        assert (answer["error"]["code"], answer["error"]["retry"]) == ("sequence_gap", True)
        assert answer["next"] == 16  # what came before the hole is in
        unknown = await client.send(encode(7, rows(0, 5)), run="r2")
        assert (unknown["error"]["code"], unknown["next"]) == ("run_not_found", 0)
    assert stored_steps(server) == list(range(15))


async def test_a_bad_stream_leaves_nothing_and_the_others_go_on(server: ServerHandle) -> None:
    flipped = bytearray(first_frame())
    flipped[-3] ^= 1
    async with connect(server) as client:
        bad, good, foreign = await client.post(
            [
                (head("bad"), [first_frame(), bytes(flipped)]),
                (head("good"), [first_frame(3)]),
                (head("foreign", entity="others"), []),
            ]
        )
        runs = await client.get(f"projects/{good['run'].split('/')[0]}/p/runs")
    assert bad["error"]["code"] == "bad_frame"
    assert good["next"] == 4
    assert foreign["error"]["code"] == "run_not_found"  # an admin may, but there is no such run
    assert [run["id"] for run in runs["runs"]] == ["good"]
    assert stored_steps(server) == [0, 1, 2]


async def test_a_bad_name_is_told_the_rule_and_the_other_streams_go_on(
    server: ServerHandle,
) -> None:
    names = ["..", " ", "a/b", "a#b", "a?b", "a%2eb", "a\x00b", "x" * 129]
    heads = [
        *(head(run=name) for name in names),
        *(head(project=name) for name in names),
        *(head(entity=name) for name in [*names, "login", "a b c", "-"]),
        head("good"),
    ]
    async with connect(server) as client:
        *bad, good = await client.post([(one, [first_frame(1)]) for one in heads])
        projects = (await client.get("projects"))["projects"]
        teams = (await client.get("teams"))["teams"]
    assert {answer["error"]["code"] for answer in bad} == {"bad_name"}
    assert "1 to 128 printable characters" in bad[0]["error"]["message"]
    assert "begins with a letter" in bad[-1]["error"]["message"]
    assert good["next"] == 2
    assert [(project["name"], project["runs"]) for project in projects] == [("p", 1)]
    assert teams == []


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def test_what_is_nested_too_deep_harms_nobody(server: ServerHandle) -> None:
    config = {"a": 1, "deep": nested(100), "fits": nested(99)}
    summary = {"t": "summary", "set": {"x": 1, "y": nested(101)}}
    cells = Table.from_columns(
        1,
        [
            Column(STEP, INT, np.array([0])),
            Column(TIME, FLOAT, np.array([EPOCH])),
            Column("a", JSON, [nested(101)]),
        ],
    )
    async with connect(server) as client:
        bad = [
            await client.send(encode(0, cells, [(0, start_event())]), run="bad"),
            await client.send(event_frame(0, start_event(config={"a": nested(293)})), run="bad"),
        ]
        await client.send(first_frame(1, config=config))
        await client.send(event_frame(2, {"t": "config", "set": {"b": 2, "a": nested(253)}}))
        await client.send(event_frame(3, summary))
        info = await client.run()
        listed = await client.get(f"projects/{info['entity']}/p/runs")
    assert {(one["error"]["code"], one["error"]["retry"]) for one in bad} == {("too_deep", False)}
    assert info["config"] == {"a": 1, "b": 2, "fits": nested(99)}
    assert (info["summary"]["x"], "y" in info["summary"]) == (1, False)
    assert [run["id"] for run in listed["runs"]] == ["r1"]


def cell(value: object) -> Table:
    """Return a table of one row with one metric."""
    step, time = Column(STEP, INT, np.array([0])), Column(TIME, FLOAT, np.array([EPOCH]))
    return Table.from_columns(1, [step, time, Column("a", JSON, [value])])


async def test_what_has_too_many_values_is_refused_and_what_has_the_most_is_taken(
    server: ServerHandle,
) -> None:
    most, over = [0] * (MAX_VALUES - 60), [0] * (MAX_VALUES + 20)
    refused = [
        encode(0, cell(over), [(0, start_event())]),
        first_frame(1, config={"a": over}),
        event_frame(0, {"t": "summary", "set": {"a": over}}),
        encode(0, cell("x"), [(0, {"t": "x", "a": over[:200_000]})] * 2),
    ]
    wide = {f"metric {i}": 0.5 for i in range(100_000)}
    async with connect(server) as client:
        bad = [await client.send(frame, run=f"bad{i}") for i, frame in enumerate(refused)]
        await client.send(first_frame(1, config={"a": most, "text": 'a,"b",[{' * 500_000}))
        await client.send(event_frame(2, {"t": "summary", "set": wide}))
        await client.send(encode(3, cell(most)))
        await client.send(encode(4, cell('1,"2",{[' * 500_000)))
        info = await client.run()
        listed = await client.get(f"projects/{info['entity']}/p/runs")
    assert {(one["error"]["code"], one["error"]["retry"]) for one in bad} == {
        ("frame_too_large", True)
    }
    assert f"over {MAX_VALUES:,} values" in bad[0]["error"]["message"]
    assert "Nothing of this stream was written" in bad[0]["error"]["message"]
    assert [run["id"] for run in listed["runs"]] == ["r1"]
    assert (len(info["config"]["a"]), len(info["config"]["text"])) == (len(most), 4_000_000)
    assert (info["rows"], info["summary"]["metric 99999"]) == (3, 0.5)


async def test_a_config_that_grows_beyond_the_most_values_stays_as_it_was(
    server: ServerHandle,
) -> None:
    half = [0] * (MAX_VALUES // 2)
    async with connect(server) as client:
        await client.send(first_frame(1, config={"a": half}))
        await client.send(event_frame(2, {"t": "config", "set": {"b": half}}))
        answer = await client.send(event_frame(3, {"t": "config", "set": {"a": 1}}))
        info = await client.run()
    assert (answer["next"], info["config"]) == (4, {"a": 1})


async def test_a_small_batch_that_becomes_a_large_one_is_decoded_beside_the_loop(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def noted(*args: Any, **kinds: Any) -> Frame:
        seen.append(threading.get_ident())
        return decode(*args, **kinds)

    async def ident(_: web.Application) -> int:
        return threading.get_ident()

    loop = server.call(ident)
    monkeypatch.setattr(ingest, "decode", noted)
    zeros = encode(0, cell([0] * 200_000), [(0, start_event())])
    assert len(zeros) < ingest._THREAD_ABOVE
    async with connect(server) as client:
        await client.send(zeros)
        await client.send(first_frame(2), run="small")
    assert [thread == loop for thread in seen] == [False, True]


async def test_a_text_that_is_too_long_is_cut(server: ServerHandle) -> None:
    long = "x" * 200_000
    said = {"name": long, "group": long, "job_type": long, "notes": long}
    tags = ["y" * 100, "y" * 99, "", *map(str, range(2_000))]
    async with connect(server) as client:
        await client.send(first_frame(1, **said, tags=tags, host=long))
        info = await client.run()
    assert {key: len(info[key]) for key in said} == {
        "name": 1_024,
        "group": 1_024,
        "job_type": 1_024,
        "notes": 100_000,
    }
    assert len(info["host"]) == 10_000
    assert (info["tags"][:3], len(info["tags"])) == (["y" * 64, "0", "1"], 1_000)


@pytest.mark.parametrize("cut", [0, 3, 8, 40, -1], ids=lambda cut: f"cut at {cut}")
async def test_a_body_that_lies_writes_nothing(server: ServerHandle, cut: int) -> None:
    body = encode_batch([(head(), [first_frame()])])
    async with connect(server) as client:
        status, answer = await client.post_raw(body[:cut])
        assert (status, answer["error"]["code"]) == (400, "bad_batch")
        assert "Nothing was written" in answer["error"]["message"]
        assert await client.get("projects") == {"projects": []}


async def test_bombs_and_floods_are_refused(start_server: Callable[..., ServerHandle]) -> None:
    server = start_server(max_body=200_000, max_raw=1_000_000)
    honest = _frame_of(bytes(2_000_000), says=2_000_000)
    lying = _frame_of(bytes(2_000_000), says=1_000)
    async with connect(server) as client:
        for bomb in (honest, lying):
            assert len(bomb) < 1_000
            assert "error" in await client.send(bomb)
        status, answer = await client.post_raw(bytes(300_000))
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert stored_frames(server) == []


def _frame_of(raw: bytes, says: int) -> bytes:
    body = zstandard.ZstdCompressor().compress(raw)
    start = struct.pack("<4sHHQIIII", b"AWF1", 1, 0, 0, 1, 0, says, len(body))
    crc = zlib.crc32(body, zlib.crc32(start + bytes(4)))
    frame = start + struct.pack("<I", crc) + body
    assert len(start) + 4 == HEADER_SIZE
    return frame


async def test_many_runs_in_one_request_cost_few_statements(server: ServerHandle) -> None:
    async with connect(server) as client:
        streams = [(head(f"r{i}"), [first_frame(2, config={"i": i})]) for i in range(100)]
        with server.statements() as counted:
            answers = await client.post(streams)
        assert {answer["next"] for answer in answers} == {3}
        assert 0 < len(counted) <= 20
        more = [(head(f"r{i}"), [encode(3, rows(2, 2))]) for i in range(100)]
        with server.statements() as counted:
            assert {answer["next"] for answer in await client.post(more)} == {5}
        assert 0 < len(counted) <= 10
        assert (await client.run("r42"))["config"] == {"i": 42}


async def test_events_change_the_run(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame(1, config={"a": 1, "b": {"c": 2}, "nan": float("nan")}))
        await client.send(
            event_frame(
                2,
                {"t": "config", "set": {"b": 3}, "delete": ["a"]},
                {"t": "attrs", "tags": ["x"], "notes": "new", "name": "n\0ul"},
                {"t": "summary", "set": {"best": 1}, "delete": []},
                {"t": "metric", "name": "loss", "hidden": True, "summary": ["min"]},
                {"t": "lost", "rows": 7, "reason": "disk_full"},
                {"t": "from-the-future", "x": 1},
                {"t": "config", "set": "nonsense"},
            )
        )
        info = await client.run()
    assert info["config"] == {"b": 3, "nan": "NaN"}
    assert (info["tags"], info["notes"], info["name"], info["lost"]) == (["x"], "new", "nul", 7)
    assert info["summary"]["best"] == 1
    assert info["metrics"][0]["hidden"] is True


async def test_resume_must_and_never(server: ServerHandle) -> None:
    async with connect(server) as client:
        must = await client.send(first_frame(resume="must"))
        assert (must["error"]["code"], must["error"]["retry"]) == ("run_not_found", False)
        assert "error" not in await client.send(first_frame(resume="never"))
        assert "error" not in await client.send(first_frame(resume="never"))  # sent twice
        never = await client.send(first_frame(resume="never"), writer="w2")
        assert (never["error"]["code"], never["error"]["retry"]) == ("run_exists", False)
        assert "error" not in await client.send(first_frame(resume="must"), writer="w2")
        assert (await client.run())["rows"] == 20


async def test_state_follows_the_writers(server: ServerHandle) -> None:
    finish = {"t": "finish", "exit_code": 0, "at": EPOCH + 60}
    async with connect(server) as client:
        await client.send(first_frame(2))
        await client.send(first_frame(2), writer="w2")
        assert (await client.send(event_frame(3, finish)))["state"] == "running"
        answer = await client.send(event_frame(3, {**finish, "exit_code": 3}), writer="w2")
        assert answer["state"] == "failed"
        assert (await client.send(event_frame(3, finish)))["state"] == "failed"  # sent again
        assert (await client.run())["exit_code"] == 3
        resumed = encode(0, rows(9, 1), [(0, start_event())])
        assert (await client.send(resumed, writer="w3"))["state"] == "running"
        info = await client.run()
        assert (info["exit_code"], info["finished_at"], info["rows"]) == (None, None, 5)


async def test_the_fold_goes_on_where_another_process_left_it(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server()
    async with connect(server) as client:
        await client.send(first_frame())
    server.stop()
    server.start()
    async with connect(server) as client:
        await client.send(encode(11, rows(10, 5)))
        info = await client.run()
    assert (info["metrics"][0]["count"], info["summary"]["loss"]) == (15, 14.0)


async def test_a_commit_whose_answer_is_lost_is_not_denied(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
        batch = encode_batch([(head(), [encode(11, rows(10, 5))])])
        with server.lost_commits():
            status, answer = await client.post_raw(batch)
        assert (status, answer["error"]["code"]) == (503, "storage_unavailable")
        assert "not known; sending it again is safe" in answer["error"]["message"]
        assert (await client.run())["rows"] == 15
        assert (await client.post_raw(batch))[0] == 200
        assert (await client.run())["rows"] == 15


async def test_an_error_after_the_commit_does_not_deny_it(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("after the commit")

    async with connect(server) as client:
        await client.send(first_frame())
        batch = encode_batch([(head(), [encode(11, rows(10, 5))])])
        with monkeypatch.context() as patched:
            patched.setattr(Hub, "publish", fail)
            status, answer = await client.post_raw(batch)
        assert (status, answer["error"]["code"]) == (500, "internal")
        assert "not known; sending it again is safe" in answer["error"]["message"]
        assert (await client.post_raw(batch))[0] == 200
        assert (await client.run())["rows"] == 15
