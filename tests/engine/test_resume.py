"""Going on with a run: what this machine has of it is sent first, then the server is asked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncwb.engine.journal.folder import RunFolder
from asyncwb.engine.journal.journal import find_segments
from asyncwb.engine.resume import find_run
from asyncwb.engine.uplink.dialect import Dialects
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Reply
from asyncwb.errors import AuthenticationError, CommError
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import FLOAT, INT, Column, Kind, Table
from asyncwb.wire.rows.frames import encode
from asyncwb.wire.rows.keys import STEP, TIME
from asyncwb.wire.stream import StreamHead
from tests.engine.conftest import Line
from tests.engine.lab import leave
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, start_event

pytestmark = pytest.mark.anyio

HEAD = StreamHead(None, "p", "r", "me")
ROWS = 300


@pytest.fixture
def to_server(server: ServerHandle, tmp_path: Path) -> Settings:
    return settings(tmp_path, base_url=server.url, api_key=server.api_key)


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(**{"data_dir": tmp_path, "resume": "allow", "init_timeout": 30, **given})


async def find(line: Line, given: Settings, head: StreamHead = HEAD) -> JsonObject | None:
    assert given.base_url is not None
    return await find_run(Address(given.base_url, given.api_key), line, Dialects(), given, head)


async def test_what_is_left_is_sent_first_and_the_steps_go_on_behind_it(
    to_server: Settings, line: Line
) -> None:
    url = to_server.base_url
    parts = [
        leave(to_server.runs_dir, rows=ROWS, first=first, who=f"w{first}", base_url=url, ends=False)
        for first in (0, ROWS)
    ]
    found = await find(line, to_server)
    assert found is not None
    assert (found["last_step"], found["rows"]) == (2 * ROWS - 1, 2 * ROWS)
    assert found["summary"]["i"] == 2 * ROWS - 1
    assert found["fold"]["step"] == 2 * ROWS - 1
    assert found["config"] == {"lr": 1}
    assert not any(part.path.exists() for part in parts)
    (asked,) = [i for i, url in enumerate(line.asked) if "/api/v1/runs/" in url]
    assert asked == len(line.asked) - 1, "once all of it is there"


async def test_parts_arrive_in_the_order_in_which_they_were_logged(
    server: ServerHandle, to_server: Settings, line: Line
) -> None:
    for number in (2, 0, 1):  # as a folder may list them
        leave(
            to_server.runs_dir,
            rows=5,
            first=5 * number,
            who=f"w{number}",
            base_url=to_server.base_url,
            started_at=1_700_000_000.0 + number,
            ends=False,
        )
    await find(line, to_server)
    async with connect(server) as client:
        url, jsonl = "/api/v1/runs/root/p/r/history", {"format": "jsonl"}
        async with client.session.get(url, params=jsonl) as answer:
            rows = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert [row["i"] for row in rows] == [*range(15)]


async def test_a_server_without_the_run_says_so(to_server: Settings, line: Line) -> None:
    assert await find(line, to_server) is None
    named = StreamHead("root", "a project / of mine", "r#1?", "me")
    assert await find(line, to_server, named) is None


@pytest.mark.parametrize(
    ("changed", "given"),
    [
        ({"base_url": "http://elsewhere"}, {}),
        ({"run": "other"}, {}),
        ({}, {"resume": "never"}),
    ],
    ids=["of another server", "of another run", "a run that may not be there"],
)
async def test_what_is_no_part_of_it_stays(
    to_server: Settings, line: Line, changed: dict[str, Any], given: dict[str, Any]
) -> None:
    folder = leave(to_server.runs_dir, **{"base_url": to_server.base_url, **changed})
    assert await find(line, Settings(**{**to_server.given, **given})) is None
    assert find_segments(folder.journal)
    assert not any(url.endswith("/ingest") for url in line.asked)


async def test_what_a_process_still_logs_to_is_sent_and_stays(
    to_server: Settings, line: Line
) -> None:
    folder = leave(to_server.runs_dir, rows=ROWS, base_url=to_server.base_url, ends=False)
    assert folder.lock()
    found = await find(line, to_server)
    assert found is not None
    assert found["last_step"] == ROWS - 1
    assert find_segments(folder.journal)
    assert not RunFolder(folder.path).lock()
    folder.unlock()


async def test_what_is_not_all_there_is_said_and_the_run_goes_on(
    to_server: Settings, line: Line, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = leave(to_server.runs_dir, rows=ROWS, base_url=to_server.base_url, ends=False)
    last = find_segments(folder.journal)[-1]
    data = bytearray(last.read_bytes())
    data[200] ^= 1
    last.write_bytes(data)
    found = await find(line, to_server)
    assert found is not None
    assert 0 < found["last_step"] < ROWS - 1
    said = capfd.readouterr().err
    assert said.count(f"asyncwb sync {folder.path}") == 1
    assert "is not all at the server" in said
    assert last.read_bytes() == data
    await find(line, Settings(**{**to_server.given, "silent": True}))
    assert capfd.readouterr().err == ""


async def test_floats_that_are_not_finite_come_back(
    server: ServerHandle, to_server: Settings, line: Line
) -> None:
    told: dict[str, tuple[Kind, float]] = {
        STEP: (INT, 0),
        TIME: (FLOAT, 1.0),
        **{key: (FLOAT, v) for key, v in _ODD.items()},
    }
    values = [Column(key, kind, np.array([value])) for key, (kind, value) in told.items()]
    async with connect(server) as client:
        frame = encode(0, Table.from_columns(1, values), [(0, start_event())])
        await client.send(frame, run="r", project="p")
    found = await find(line, to_server)
    assert found is not None
    assert {key: found["summary"][key] for key in _ODD} == pytest.approx(_ODD, nan_ok=True)


_ODD = {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "deep.er": 1.5}


async def test_a_server_of_wandbs_is_asked_in_its_own_words(
    start_server: Any, tmp_path: Path, line: Line
) -> None:
    server: ServerHandle = start_server(native=False)
    given = settings(tmp_path, base_url=server.url, api_key=server.api_key)
    assert await find(line, given) is None
    leave(given.runs_dir, rows=ROWS, base_url=server.url, ends=False)
    found = await find(line, given)
    assert found is not None
    assert (found["last_step"], found["summary"]["i"]) == (ROWS - 1, ROWS - 1)
    assert found["config"]["lr"] == 1
    assert "fold" not in found


@pytest.mark.parametrize("left", [False, True])
async def test_a_server_that_does_not_answer_is_an_error_and_in_time(
    tmp_path: Path, line: Line, nowhere: str, left: bool
) -> None:
    given = settings(tmp_path, base_url=nowhere, api_key="k", init_timeout=0.2)
    folder = leave(given.runs_dir, base_url=nowhere) if left else None
    with pytest.raises(CommError, match=r"did not answer within 0\.2 s"):
        await find(line, given)
    assert folder is None or find_segments(folder.journal)


async def test_nobody_there_is_an_error(tmp_path: Path, line: Line) -> None:
    given = settings(tmp_path, base_url="http://127.0.0.1:9", api_key="k", init_timeout=5)
    with pytest.raises(CommError):
        await find(line, given)


@pytest.mark.parametrize("native", [True, False])
async def test_a_wrong_key_is_an_error(
    start_server: Any, tmp_path: Path, line: Line, native: bool
) -> None:
    server: ServerHandle = start_server(native=native)
    with pytest.raises(AuthenticationError):
        await find(line, settings(tmp_path, base_url=server.url, api_key="w" * 40))


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_another_answer_is_an_error(to_server: Settings, line: Line, status: int) -> None:
    line.answer = Reply(status, {}, b'{"error":{"code":"no","message":"not now"}}')
    with pytest.raises(CommError, match="not now") as caught:
        await find(line, to_server)
    assert caught.value.status == status
