"""`asyncwb sync` from Python: offline and cut-off runs, again and again, live, in parallel."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import asyncwb
from asyncwb.cli.sync import outcome
from asyncwb.client.sync.backlog import look
from asyncwb.client.sync.sync import SyncProgress, SyncResult, sync
from asyncwb.engine.journal.folder import RunFolder
from asyncwb.engine.journal.journal import find_segments
from asyncwb.engine.journal.segment import Segment
from asyncwb.engine.uplink import native
from asyncwb.engine.uplink.embedded import Embedded
from asyncwb.engine.uplink.http import Http
from asyncwb.settings import Settings
from asyncwb.wire.rows.value_count import MAX_VALUES
from tests.client.conftest import Ask
from tests.conftest import stop_embedded
from tests.engine.lab import session_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run it as its callers do, by `asyncio.run`."""
    return "asyncio"


async def send(settings: Settings, *paths: Path, jobs: int = 4) -> list[SyncResult]:
    """Sync folders; check that what is reported never goes beyond what there is."""
    steps: list[Any] = []
    results = await sync(paths, settings=settings, jobs=jobs, report=steps.append)
    assert all(0 <= step.sent <= step.total for step in steps)
    return results


def offline(run_id: str, rows: int) -> Path:
    """Log an offline run; return its folder."""
    with asyncwb.init("p", id=run_id, mode="offline", settings={"flush_interval": 0.01}) as run:
        for i in range(rows):
            run.log({"i": i, "s": str(i % 3)})
            if i == rows // 2:
                run.flush()
        return run._session.folder.path


async def test_offline_runs_arrive_once_however_often_they_are_synced(
    to_server: Settings, ask: Ask, data_folder: Path
) -> None:
    folders = [await asyncio.to_thread(offline, f"r{n}", 200) for n in range(3)]
    results = await send(to_server, data_folder / "runs")
    assert [(r.sent, r.lost, r.error) for r in results] == [(200, 0, None)] * 3
    again = await send(to_server, *folders)
    assert [(r.sent, r.error) for r in again] in ([], [(0, None)] * 3)
    for folder in folders:  # as if it had never been noted what the server has
        (folder / "synced.json").unlink()
    third = await send(to_server, *folders)
    assert [r.error for r in third] == [None] * 3
    for n in range(3):
        info = await asyncio.to_thread(ask, f"runs/{{entity}}/p/r{n}")
        assert (info["rows"], info["lost"], info["state"]) == (200, 0, "finished")


async def test_one_server_is_started_and_asked_what_it_speaks_once_for_all_folders(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Embedded] = []
    asked: list[str] = []
    start, request = Embedded._start, Http.request

    def start_and_note(self: Embedded) -> Any:
        started.append(self)
        return start(self)

    monkeypatch.setattr(Embedded, "_start", start_and_note)

    def note(self: Http, method: str, url: str, **more: Any) -> Any:
        asked.append(urlsplit(url).path)
        return request(self, method, url, **more)

    monkeypatch.setattr(Http, "request", note)
    folders = [await asyncio.to_thread(offline, f"r{n}", 3) for n in range(4)]
    try:
        results = await send(Settings.resolve(), *folders)
        assert [(r.sent, r.error) for r in results] == [(3, None)] * 4
        assert len(started) == 1
        announced = json.loads((data_folder / "server" / "server.json").read_bytes())
        key = (data_folder / "server" / "api_key").read_text().strip()
        for folder in folders:
            (folder / "synced.json").unlink()
        asked.clear()
        server = {"base_url": announced["url"], "api_key": key}
        assert [r.error for r in await send(Settings.resolve(server), *folders, jobs=1)] == [
            None
        ] * 4
        assert asked.count("/ready") == 1
    finally:
        await asyncio.to_thread(stop_embedded, data_folder)


async def test_what_was_said_without_a_row_is_sent(to_server: Settings, ask: Ask) -> None:
    run = asyncwb.init("p", id="r", mode="offline")
    folder = run._session.folder.path
    for i in range(100):
        run.log({"i": i})
    await asyncio.to_thread(run.flush)
    assert [r.sent for r in await send(to_server, folder)] == [100]
    assert look(folder) is None
    run.config["late"] = 5
    run.summary["best"] = 7
    await asyncio.to_thread(run.finish)
    waiting = look(folder)
    assert waiting is not None
    assert (waiting.rows, waiting.changes > 2) == (0, True)
    assert [(r.sent, r.lost, r.error) for r in await send(to_server, folder.parent)] == [
        (0, 0, None)
    ]
    info = await asyncio.to_thread(ask, "runs/{entity}/p/r")
    assert (info["rows"], info["state"]) == (100, "finished")
    assert (info["config"]["late"], info["summary"]["best"]) == (5, 7)
    assert look(folder) is None
    assert await send(to_server, folder) == []


async def test_a_frame_of_which_a_server_has_the_start_counts_for_the_rest(
    data_folder: Path,
) -> None:
    folder = await asyncio.to_thread(offline, "r", 200)
    whole = look(folder)
    assert whole is not None
    end = whole.rows + whole.changes
    for synced in (1, 2, 50, 150, end - 1):  # the last: the end of the run
        RunFolder(folder).write_synced("http://somewhere", synced)
        rest = look(folder)
        assert rest is not None
        assert (rest.rows + rest.changes, rest.rows == 0) == (end - synced, synced == end - 1)


async def test_two_syncs_at_once_and_a_run_that_goes_on(to_server: Settings, ask: Ask) -> None:
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings=nowhere)
    folder = run._session.folder.path
    for part in range(4):
        for i in range(500):
            run.log({"i": 500 * part + i})
        results = await asyncio.gather(*(send(to_server, folder) for _ in range(2)))
        assert [r.error for (r,) in results] == [None, None]
        info = await asyncio.to_thread(ask, "runs/{entity}/p/r")
        assert (info["rows"], info["lost"], info["state"]) == (500 * (part + 1), 0, "running")
    run.log({"i": 2000})
    await asyncio.to_thread(run.finish, timeout=0)
    results = await asyncio.gather(*(send(to_server, folder) for _ in range(2)))
    assert [r.error for found in results for r in found] == [None] * sum(map(len, results))
    info = await asyncio.to_thread(ask, "runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["state"]) == (2001, 0, "finished")
    assert not list(folder.glob("journal/*")), "what the server has is cleared away"


async def test_a_damaged_run_gives_what_can_be_read_and_stops_nobody(
    to_server: Settings, ask: Ask
) -> None:
    good, sealed = [await asyncio.to_thread(offline, name, 100) for name in ("good", "sealed")]
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="cut", settings=nowhere)
    for i in range(100):
        run.log({"i": i})
    await asyncio.to_thread(run.finish, timeout=0)
    cut = run._session.folder.path
    (segment,) = cut.glob("journal/*.seg")
    data = bytearray(segment.read_bytes())
    end = session_of(run).inbox._end
    data[end - 400] ^= 1
    segment.write_bytes(bytes(data))
    frames = sealed / "sealed" / "frames.awf"
    whole = frames.read_bytes()
    frames.write_bytes(whole[:-20])
    unreadable = good.parent / "unreadable"
    shutil.copytree(good, unreadable)
    (unreadable / "run.json").write_text("{")

    results = {r.path.name: r for r in await send(to_server, good.parent)}
    assert results[good.name].error is None
    assert "run.json" in str(results["unreadable"].error)
    assert "records before it are good" in str(results[cut.name].error)
    assert "frames.awf" in str(results[sealed.name].error)
    infos = [await asyncio.to_thread(ask, f"runs/{{entity}}/p/{n}") for n in ("good", "cut")]
    assert infos[0]["rows"] == 100
    assert 80 <= infos[1]["rows"] < 100
    assert infos[1]["summary"]["i"] == infos[1]["rows"] - 1, "a prefix"
    frames.write_bytes(whole)
    (result,) = await send(to_server, sealed)
    assert result.error is None
    info = await asyncio.to_thread(ask, "runs/{entity}/p/sealed")
    assert (info["rows"], info["lost"]) == (100, 0)


async def test_a_wrong_key_and_a_server_that_is_away_are_said(to_server: Settings) -> None:
    folder = await asyncio.to_thread(offline, "r", 10)
    wrong = Settings(**{**to_server.given, "api_key": "wrong"})
    (result,) = await send(wrong, folder)
    assert "does not accept the API key" in str(result.error)
    away = {**to_server.given, "base_url": "http://127.0.0.1:9", "finish_timeout": 0.2}
    (result,) = await send(Settings(**away), folder)
    assert "no answer" in str(result.error)
    (result,) = await send(to_server, folder)
    assert (result.sent, result.error) == (10, None)


async def test_a_server_that_is_away_is_waited_for_once_and_not_in_silence(
    to_server: Settings,
) -> None:
    folders = [await asyncio.to_thread(offline, f"r{n}", 1) for n in range(3)]
    url = "http://127.0.0.1:9"
    away = Settings(**{**to_server.given, "base_url": url, "finish_timeout": 0.2})
    said: list[SyncProgress] = []
    results = await sync(folders, settings=away, jobs=1, report=said.append)
    first, *others = [str(result.error) for result in results]
    assert first.startswith(f"no answer from {url}")
    assert others == [f"not tried: {first}"] * 2
    assert [step.path for step in said if step.trouble] == folders[:1]
    assert all(url in str(step.trouble) for step in said if step.trouble)
    results = await send(to_server, *folders)
    assert [(r.sent, r.error) for r in results] == [(1, None)] * 3


async def test_what_no_server_takes_is_set_aside_and_the_rest_is_sent(
    to_server: Settings, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older release left it, which took rows of any size."""
    monkeypatch.setattr("asyncwb.engine.journal.checks.MAX_RECORD", 2**40)
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings=nowhere)
    letters = np.random.default_rng(1).integers(256, 2048, 26 * 2**20, np.uint16)
    noise = letters.tobytes().decode("utf-16")
    for i in range(1_000):
        run.log({"i": i} if i != 500 else {"i": i, "noise": noise})
    folder = run._session.folder.path
    await asyncio.to_thread(run.finish, timeout=0)
    (result,) = await send(to_server, folder)
    assert (result.sent, result.lost) == (999, 0)
    assert "1 row or event is larger than any server takes" in str(result.error)
    (aside,) = (folder / "aside").iterdir()
    assert str(aside.parent) in str(result.error)
    assert json.loads(aside.read_bytes())["noise"] == noise
    info = await asyncio.to_thread(ask, "runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["state"]) == (999, 1, "finished")
    assert await send(to_server, folder) == [], "nothing is left that could be sent"
    assert aside.exists()


async def test_what_has_too_many_values_is_set_aside_and_the_rest_is_sent(
    to_server: Settings, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older release left it, which took values of any number."""
    for module in ("engine.journal.checks", "client.live.config"):
        monkeypatch.setattr(f"asyncwb.{module}.has_too_many", lambda _: False)
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings=nowhere)
    zeros = [0] * (MAX_VALUES + 100)
    for i in range(100):
        run.log({"i": i} if i != 50 else {"i": i, "zeros": zeros})
    run.config["zeros"] = zeros
    run.config["a"] = 1
    folder = run._session.folder.path
    await asyncio.to_thread(run.finish, timeout=0)
    (result,) = await send(to_server, folder)
    assert (result.sent, result.lost) == (99, 0)
    assert "2 rows or events are larger than the server" in str(result.error)
    assert f"over {MAX_VALUES:,} values" in str(result.error)
    assert len([*(folder / "aside").iterdir()]) == 2
    info = await asyncio.to_thread(ask, "runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["state"]) == (99, 2, "finished")
    assert info["config"]["a"] == 1


async def test_a_row_whose_names_alone_fill_a_frame_arrives(to_server: Settings) -> None:
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings=nowhere)
    run.log({f"a metric with quite a long name {i}": 1.0 for i in range(120_000)})
    run.log({"i": 1})
    await asyncio.to_thread(run.finish, timeout=0)
    (result,) = await send(to_server, run._session.folder.path)
    assert (result.sent, result.lost, result.error) == (2, 0, None)


def left_behind(rows: int) -> Path:
    """Log a run whose server is away; return its folder."""
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings=nowhere)
    for i in range(rows):
        run.log({"i": i})
    run.finish(timeout=0)
    return run._session.folder.path


async def test_a_server_without_the_run_is_sent_what_there_still_is(
    to_server: Settings, ask: Ask
) -> None:
    folder = await asyncio.to_thread(left_behind, 20_000)
    description = RunFolder(folder).describe()
    first, second, *_ = find_segments(folder / "journal")
    segment = Segment.open(second)
    assert segment is not None
    segment.close()
    first.unlink()  # which a server had acknowledged, before it lost what it had
    (result,) = await send(to_server, folder)
    gone = segment.first_seq - 1  # the start is said from what `run.json` has
    assert (result.error, result.lost, result.lacks_start) == (None, gone, True)
    assert "what it said of the run (config, name" in outcome(result)
    info = await asyncio.to_thread(ask, "runs/{entity}/p/r")
    assert (info["rows"], info["lost"]) == (20_000 - gone, gone)
    assert info["summary"]["i"] == 19_999
    assert info["started_at"] == pytest.approx(description.started_at)


async def test_a_sync_leaves_the_start_to_the_process_that_still_has_it(
    to_server: Settings, ask: Ask
) -> None:
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", config={"lr": 1}, settings=nowhere)
    for i in range(20_000):
        run.log({"i": i})
    folder, journal = run._session.folder.path, session_of(run).journal
    first = journal.segments[0]
    journal.trim(first.first_seq + first.count)  # a server had it, and has lost it
    (result,) = await send(to_server, folder)
    assert (result.sent, result.lost, result.error) == (0, 0, None)
    assert await asyncio.to_thread(ask, "runs/{entity}/p/r") is None
    await asyncio.to_thread(run.finish, timeout=0)


async def test_a_server_that_claims_more_than_there_is_has_nothing_deleted(
    to_server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = await asyncio.to_thread(left_behind, 100)
    before = find_segments(folder / "journal")
    monkeypatch.setattr(native, "_number", lambda number: int(number) + 1)
    (result,) = await send(to_server, folder)
    assert "acknowledges 103 records of a writer that has written 102" in str(result.error)
    assert find_segments(folder / "journal") == before
    monkeypatch.undo()
    (result,) = await send(to_server, folder)
    assert result.error is None
    assert not find_segments(folder / "journal")


@pytest.mark.parametrize("native_server", [True, False], ids=["native", "wandb"])
async def test_a_run_that_must_be_there_is_made_anew_where_its_server_has_lost_it(
    start_server: Any, tmp_path: Path, native_server: bool
) -> None:
    server = start_server(native=native_server)
    given = {"base_url": server.url, "api_key": server.api_key, "detach_uploader": False}
    with asyncwb.init("p", id="r", settings=given) as run:
        run.log({"i": 0})
    away = {**given, "init_timeout": 20}
    run = asyncwb.init("p", id="r", resume="must", settings=away)
    emptied = start_server(native=native_server, data=tmp_path / "emptied")
    server.stop()
    run.log({"i": 1})
    folder = run._session.folder.path
    await asyncio.to_thread(run.finish, timeout=0)
    settings = Settings.resolve({"base_url": emptied.url, "api_key": emptied.api_key})
    (result,) = await send(settings, folder)
    assert "asyncwb sync --create" in str(result.error)
    (result,) = await sync([folder], settings=settings, jobs=1, report=lambda _: None, create=True)
    assert (result.sent, result.lost, result.error) == (1, 0, None)
    assert not folder.exists()
