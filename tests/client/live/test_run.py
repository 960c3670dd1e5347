"""A run, in both faces, against a real server."""

from __future__ import annotations

import asyncio
import errno
import inspect
import json
import pickle
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from anyio import to_thread

import asyncwb
from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.client.sync.sync import sync
from asyncwb.client.waiting import wait_async
from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.journal.segment import Segment
from asyncwb.engine.thread import Engine
from asyncwb.engine.upkeep import Upkeep
from asyncwb.engine.uplink.native import NativeSpeaker
from asyncwb.engine.uploads.saved import Saved
from asyncwb.errors import ConfigError, LogTypeError, SettingsError, UsageError
from asyncwb.settings import Settings
from asyncwb.wire.rows.value_count import MAX_VALUES
from tests.client.conftest import Ask
from tests.engine.lab import session_of
from tests.fix_disk import Disk

Rows = Callable[[str], list[dict[str, Any]]]


def test_an_engine_that_has_stopped_is_in_the_status(nowhere: str) -> None:
    run = asyncwb.init("p", settings={"base_url": nowhere, "detach_uploader": False})
    run.log({"n": 1})
    assert run.status().last_error is None
    Engine.current().stop()
    assert run.status().last_error == "the logging engine has stopped"
    run.finish()
    assert run.status().journaled == 1


def test_a_disk_that_refuses_matters_no_more_once_all_has_arrived(
    to_server: Settings,
) -> None:
    with asyncwb.init("p", id="r", settings={**to_server.given, "sync_interval": 60}) as run:
        run.log({"n": 1})
        run._session.sync_error = OSError(errno.EIO, "refused")  # as a sync that came earlier has
        assert run.flush()
        assert run.status().last_error is None


def test_a_journal_that_cannot_be_deleted_is_no_error(
    to_server: Settings, ask: Ask, rows_of: Rows
) -> None:
    run = asyncwb.init("p", id="r", settings=to_server)
    for n in range(3):
        run.log({"n": n})
    assert run.flush()
    for segment in (Path(run.dir).parent / "journal").iterdir():
        segment.unlink()
        segment.mkdir()
    run.finish()
    assert run.status().acknowledged == len(rows_of("r")) == 3
    assert ask("runs/{entity}/p/r")["state"] == "finished"


def test_what_is_logged_is_there(to_server: Settings, ask: Ask, rows_of: Rows) -> None:
    with asyncwb.init("p", id="r", config={"lr": 0.1}, tags=["t"], settings=to_server) as run:
        run.log({"loss": 0.5, "n": 1, "ok": True})
        run.log({"loss": float("nan"), "nested": {"x": 1}}, commit=False)
        run.log({"text": "a"})
        run.log({"late": 1}, step=0)
        run.config.batch = 32
        run.summary["best"] = 7
        run.name, run.notes, run.tags = "second", "note", ("a", "b")
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"], info["lost"], info["rows"]) == ("finished", 0, 0, 4)
    assert info["config"] == {"lr": 0.1, "batch": 32}
    assert (info["name"], info["notes"], info["tags"]) == ("second", "note", ["a", "b"])
    assert info["summary"]["best"] == 7
    assert rows_of("r")[0] == {"_step": 0, "loss": 0.5, "n": 1, "ok": True, "late": 1}
    assert rows_of("r")[1]["nested.x"] == 1
    assert rows_of("r")[1]["text"] == "a"
    assert run.url == info["url"]
    assert run.path == f"{info['entity']}/p/r"
    status = run.status()
    assert (status.accepted, status.acknowledged, status.journaled, status.lost) == (4, 4, 0, 0)
    assert not Path(run.dir).exists(), "everything is acknowledged: nothing stays on disk"


@pytest.mark.anyio
async def test_both_faces_share_one_session(to_server: Settings, rows_of: Rows) -> None:
    async with asyncwb.init_async("p", id="r", settings=to_server) as run:
        twin = Run(run._state)
        for i in range(10):
            await run.log({"i": 2 * i})
            twin.log({"i": 2 * i + 1})
        assert run.log_nowait({"i": 20})
        assert await run.flush()
        assert run.status().acknowledged == twin.status().acknowledged == 21
        assert run.summary["i"] == twin.summary["i"] == 20
        assert run.step == twin.step == 21
    assert twin._state.finished
    await to_thread.run_sync(twin.finish)
    assert [row["i"] for row in await to_thread.run_sync(rows_of, "r")] == list(range(21))


def test_the_summary_has_a_row_at_once() -> None:
    with asyncwb.init("p", mode="offline") as run:
        for i in range(50):
            run.log({"i": i, "inner": {"x": i}})
            assert run.summary["i"] == i
            assert run.summary["inner"]["x"] == i
        run.summary["i"] = "mine"
        assert run.summary["i"] == "mine"
        run.log({"i": 50})
        assert run.summary["i"] == 50


def test_a_definition_may_cover_no_key(to_server: Settings, ask: Ask) -> None:
    with asyncwb.init("p", id="r", settings=to_server) as run:
        assert run.define_metric("_*").name == "_*"
        rule = run.define_metric("_abc*", summary="max")
        assert (rule.name, rule.ops) == ("_abc*", ("max",))
        run.log({"_abcd": 2, "a": 2})
        run.log({"_abcd": 1, "a": 1})
        assert (run.summary["_abcd"], run.summary["a"]) == (1, 1)
    assert ask("runs/{entity}/p/r")["summary"]["_abcd"] == 1


def test_step_metrics_are_filled_in(to_server: Settings, rows_of: Rows) -> None:
    with asyncwb.init("p", id="r", settings=to_server) as run:
        run.log({"val/loss": 9})
        run.log({"batch": 7})
        run.define_metric("val/*", step_metric="epoch")
        run.define_metric("speed", step_metric="batch")
        run.log({"val/loss": 1})
        run.log({"epoch": 3, "train": 1})
        run.log({"val/loss": 2, "val/acc": 3})
        run.log({"other": 1})
        run.log({"speed": 1})
    found = [{k: v for k, v in row.items() if k != "_step"} for row in rows_of("r")]
    assert found == [
        {"val/loss": 9},
        {"batch": 7},
        {"val/loss": 1, "epoch": 0},
        {"epoch": 3, "train": 1},
        {"val/loss": 2, "val/acc": 3, "epoch": 3},
        {"other": 1},
        {"speed": 1, "batch": 7},
    ]


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_bad_rows_and_use_after_finish(mode: str) -> None:
    run = asyncwb.init("p", mode=mode)
    for bad, key in ((5, ""), ({1: 2}, ""), ({"a": {"b": object()}}, "a.b")):
        with pytest.raises(LogTypeError) as caught:
            run.log(bad)  # type: ignore[arg-type]
        assert caught.value.key == key
        assert key.split(".")[-1] in str(caught.value)
    run.log({"good": 1})
    assert Path(run.dir).is_dir()
    run.finish()
    run.finish()
    assert run.flush() in (True, False)
    for use in (
        lambda: run.log({"a": 1}),
        lambda: run.log_nowait({"a": 1}),
        lambda: run.define_metric("a"),
        lambda: run.__enter__(),
        lambda: run.summary.update({"a": 1}),
        lambda: run.config.update({"a": 1}),
        lambda: setattr(run, "name", "x"),
    ):
        with pytest.raises(UsageError, match="finished"):
            use()
    assert run.step == 1
    assert run.summary["good"] == 1


def test_a_wrong_type_is_refused_at_the_call_and_changes_nothing(
    to_server: Settings, ask: Ask
) -> None:
    run: Any = asyncwb.init("p", id="r", name="n", notes="m", tags=["t"], settings=to_server)
    for attribute, value in (
        ("name", 3),
        ("name", None),
        ("name", ""),
        ("notes", 5),
        ("notes", ["x"]),
        ("name", "x" * 100_000),
    ):
        with pytest.raises(SettingsError, match=f"^run.{attribute}: "):
            setattr(run, attribute, value)
    for tags in (None, 3, [1], [""], ["x" * 65], "", map(str, range(100_000))):
        with pytest.raises(UsageError, match="unchanged"):
            run.tags = tags
    with pytest.raises(AttributeError):
        run.group = "g"
    for code in ("oops", 1.5, 2**31, 2**70, -(2**31) - 1, True):
        with pytest.raises(UsageError, match=r"exit code .* the run goes on"):
            run.finish(code)
    for timeout in ("x", -1, float("nan"), True):
        for method in (run.finish, run.flush):
            with pytest.raises(UsageError, match=r"the timeout .* the run goes on"):
                method(timeout=timeout)
    assert run.flush(timeout=float("inf"))
    for flag in ("y", 1, 0):
        with pytest.raises(UsageError, match="overwrite must be True or False"):
            run.define_metric("a", overwrite=flag)
    assert (run.name, run.notes, run.tags) == ("n", "m", ("t",))
    run.notes = None
    run.tags = "one"
    run.log({"a": 1})
    run.finish(np.int32(7))
    info = ask("runs/{entity}/p/r")
    assert (info["name"], info["notes"], info["tags"]) == ("n", None, ["one"])
    assert (info["state"], info["exit_code"], info["rows"]) == ("failed", 7, 1)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Upkeep, "look"),
        (Outbox, "fill"),
        (Outbox, "take"),
        (NativeSpeaker, "send"),
        (Saved, "mark"),
    ],
)
def test_whatever_is_raised_once_in_the_engine_all_is_sent(
    to_server: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    kind: type[BaseException],
) -> None:
    works, raised = getattr(owner, name), threading.Event()

    def fails_once(*given: Any) -> Any:
        if not raised.is_set():
            raised.set()
            raise kind("a handler of the program's")
        return works(*given)

    monkeypatch.setattr(owner, name, fails_once)
    (tmp_path / "f").write_text("text")
    run = asyncwb.init("p", settings={**to_server.given, "finish_timeout": 1e6})
    run.save(tmp_path / "f", base_path=tmp_path)
    run.log({"i": 1})
    assert raised.wait(60)
    run.finish()
    status = run.status()
    assert (status.acknowledged, status.files_uploaded, status.files_waiting) == (1, 1, 0)


@pytest.mark.anyio
async def test_rows_that_the_server_lost_are_not_called_acknowledged(
    to_server: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    async def start_over(worker: Any) -> None:  # with a journal that was trimmed
        box = worker.sessions[run._session]
        box.add_held(-30)
        box._count_gaps([(1, 31)])

    async with await asyncwb.init_async("p", id="r", settings=to_server) as run:
        for i in range(100):
            await run.log({"i": i})
        assert await run.flush()
        await wait_async(Engine.current().submit(start_over))
    status = run.status()
    assert (status.acknowledged, status.lost, status.journaled) == (70, 30, 0)
    assert "finished: 100 rows, 70 acknowledged, 30 lost." in capfd.readouterr().err


def test_an_engine_that_cannot_start_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bound = {"journal_max_bytes": 2**16, "overflow_timeout": 0.1, "detach_uploader": False}
    init = asyncwb.init  # loaded before nothing can be any more
    monkeypatch.setattr("asyncwb.engine.thread.importlib.import_module", _no_module)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    run = init("p", settings=bound)
    for i in range(3000):
        run.log({"i": i})  # beyond the bound: nobody will make room
    started = time.monotonic()
    run.finish()
    assert time.monotonic() - started < 5
    said = capfd.readouterr().err
    assert "the logging engine has stopped" in said
    assert "asyncwb sync" in said
    status = run.status()
    assert status.accepted + status.dropped["overflow"] == 3000
    assert status.accepted > 500
    assert Engine._current is None or Engine._current._stopped


def _no_module(name: str) -> Any:
    raise ImportError(f"no {name}")


def test_block_waits_for_room_until_its_deadline(to_server: Settings, rows_of: Rows) -> None:
    settings = {**to_server.given, "journal_max_bytes": 2**16}
    with asyncwb.init("p", id="r", settings=settings) as run:
        for i in range(20_000):  # many times the bound
            run.log({"i": i})
        assert run.flush()
        assert not _outbox_of(run).urgent, "from then on rows gather again"
    assert run.status().lost == 0
    assert [row["i"] for row in rows_of("r")] == list(range(20_000))


def _outbox_of(run: Run) -> Outbox:
    async def find(worker: Any) -> Outbox:
        return cast("Outbox", worker.sessions[run._session])

    return session_of(run).engine.submit(find).result(10)


@pytest.mark.parametrize("rows", [500, 3000])
def test_drop_oldest_counts_what_is_gone_and_keeps_the_start(
    rows: int, to_server: Settings, ask: Ask, rows_of: Rows, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "base_url": "http://127.0.0.1:9",
        "api_key": "k",
        "journal_max_bytes": 2**16,
        "overflow": "drop_oldest",
        "finish_timeout": 0.1,
        "detach_uploader": False,
    }
    run = asyncwb.init("p", id="r", config={"lr": 0.1}, settings=settings)
    for i in range(rows):
        run.log({"i": i, "s": "x" * 100})
    run.finish()
    status = run.status()
    gone = status.dropped["journal"]
    assert (status.accepted, status.acknowledged, status.journaled) == (rows, 0, rows - gone)
    said = capfd.readouterr().err
    assert f"{gone:,} rows were lost" in said
    assert f"0 of {rows:,} rows have arrived" in said
    assert f"; {rows - gone:,} are safe on disk." in said
    folder = run._session.folder.path
    (result,) = asyncio.run(sync([folder], settings=to_server, jobs=1, report=lambda _: None))
    assert (result.sent, result.lost, result.error) == (rows - gone, gone, None)
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["config"]) == (rows - gone, gone, {"lr": 0.1})
    kept = [row["i"] for row in rows_of("r")]
    assert kept[0] == 0
    assert kept[-1] == rows - 1
    assert len(kept) == rows - gone


def test_each_run_hears_of_its_own_data(
    to_server: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """Runs share an uplink; a silent one, which made it, says nothing for the others either."""
    asked = urllib.request.Request(
        f"{to_server.base_url}/api/v1/users",
        json.dumps({"name": "guest"}).encode(),
        {"Authorization": f"Bearer {to_server.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        key = json.load(answer)["key"]
    settings = {**to_server.given, "api_key": key, "finish_timeout": 5.0, "detach_uploader": False}
    runs = [
        asyncwb.init("p", id=name, entity=name, settings={**settings, "silent": name == "mute"})
        for name in ("mute", "not-mine", "nor-this")
    ]
    for run in runs:
        run.finish()
    lines = capfd.readouterr().err.splitlines()
    for run in runs:
        folder = str(run._session.folder.path)
        refusals = [line for line in lines if "refuses" in line and folder in line]
        assert len(refusals) == (run.id != "mute")
        assert all(f"p/{run.id}:" in line for line in refusals)
    assert sum("refuses" in line for line in lines) == 2


def test_block_gives_up_at_the_deadline_and_counts(
    nowhere: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = asyncwb.init(
        "p",
        settings={
            "base_url": nowhere,
            "api_key": "k",
            "journal_max_bytes": 2**16,
            "overflow_timeout": 0.05,
            "finish_timeout": 0.1,
            "detach_uploader": False,
        },
    )
    for i in range(3000):
        run.log({"i": i})
    status = run.status()
    assert status.dropped["overflow"] + status.accepted == 3000
    assert not run.log_nowait({"i": 1})
    assert run.status().dropped["overflow"] == status.dropped["overflow"] + 1
    run.finish()
    assert capfd.readouterr().err.count("is full: rows are dropped") == 1


def test_threads_log_into_one_run(to_server: Settings, ask: Ask) -> None:
    with asyncwb.init("p", id="r", settings=to_server) as run:
        threads = [
            threading.Thread(target=lambda: [run.log_nowait({"x": i}) for i in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["last_step"]) == (4000, 3999)


def test_a_full_disk_is_said_once_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, to_server: Settings, ask: Ask, capfd: Any
) -> None:
    run = asyncwb.init("p", id="r", settings=to_server)
    create, full = Segment.create, threading.Event()
    full.set()

    def make(*args: Any, **more: Any) -> Segment:
        if full.is_set():
            raise OSError(28, "No space left on device")
        return create(*args, **more)

    monkeypatch.setattr(Segment, "create", make)
    monkeypatch.setattr("asyncwb.engine.journal.inbox._RETRY_DISK", 0.0)
    run.log({"text": "x" * 2**21})  # into a segment of its own size, for which there is no room
    deadline = time.monotonic() + 10
    said = ""
    while "cannot grow" not in said:
        assert time.monotonic() < deadline
        said += capfd.readouterr().err
        run.log({"text": "x" * 2**21})
    assert "No space left on device" in str(run.status().last_error)
    full.clear()
    run.log({"text": "x" * 2**21})
    run.finish()
    dropped = run.status().dropped["disk_full"]
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"]) == (1, dropped)
    assert (said + capfd.readouterr().err).count("cannot grow") == 1


def test_a_live_run_is_not_pickled() -> None:
    with (
        asyncwb.init("p", id="r", mode="disabled") as run,
        pytest.raises(TypeError, match="id='r'"),
    ):
        pickle.dumps(run)


def test_every_public_name_of_a_face_is_documented() -> None:
    for face in (Run, AsyncRun):
        for name, member in vars(face).items():
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{face.__name__}.{name}"


def test_an_open_step_is_in_the_summary_and_found(to_server: Settings, ask: Ask) -> None:
    api = asyncwb.Api(overrides={"base_url": to_server.base_url}, api_key=to_server.api_key)
    with asyncwb.init("p", id="r", settings=to_server) as run:
        run.log({"acc": 0.9, "loss": 1}, step=100)
        assert run.flush()
        assert run.summary["acc"] == ask("runs/{entity}/p/r")["summary"]["acc"] == 0.9
        assert [r.id for r in api.runs("p", {"summary_metrics.acc": {"$gt": 0.8}})] == ["r"]
        run.summary["loss"] = 2
        run.log({"acc": 0.1, "loss": 3}, step=7)  # late: what is newer stays
        assert run.flush()
        local = run.summary.as_dict()
        assert (local["acc"], local["loss"], local["_step"]) == (0.9, 2, 100)
        assert ask("runs/{entity}/p/r")["summary"] == local


def test_a_project_is_renamed_while_a_run_logs(to_server: Settings, ask: Ask) -> None:
    api = asyncwb.Api(overrides={"base_url": to_server.base_url}, api_key=to_server.api_key)
    with asyncwb.init("p", id="r", settings=to_server) as run:
        run.log({"a": 1})
        assert run.flush()
        _rename(to_server, f"{run.entity}/p", "q")
        run.log({"a": 2})
    with asyncwb.init("p", id="new", settings=to_server) as run:
        run.log({"a": 3})
    with asyncwb.init("p", id="r", resume="must", settings=to_server) as run:
        assert run.step == 2
    assert [p["name"] for p in ask("projects")["projects"]] == ["q"]
    assert {r["id"]: r["rows"] for r in ask("projects/{entity}/q/runs")["runs"]} == {
        "r": 2,
        "new": 1,
    }
    assert [r.id for r in api.runs("p", order="+created_at")] == ["r", "new"]


def test_runs_go_on_where_they_were_though_a_new_project_takes_the_former_name(
    to_server: Settings, ask: Ask
) -> None:
    api = asyncwb.Api(overrides={"base_url": to_server.base_url}, api_key=to_server.api_key)
    more: dict[str, Any] = {"reinit": "create_new", "settings": to_server}
    with asyncwb.init("p", id="r", **more) as run:
        run.log({"a": 1})
        assert run.flush()
        _rename(to_server, f"{run.entity}/p", "q")
        api.create_project("p", str(run.entity))
        with asyncwb.init("q", id="later", **more) as later:
            later.log({"a": 1})
        run.log({"a": 2})
        assert run.flush()
        run.config["b"] = 1
    assert api.run("p/r").config == {"b": 1}
    with asyncwb.init("p", id="r", resume="must", **more) as run:
        assert run.step == 2
        run.log({"a": 3})
    # New to both, or to the one that had the name: the new project's.
    for name in ("new", "later"):
        with asyncwb.init("p", id=name, **more) as run:
            run.log({"a": 4})
    told = [
        {r["id"]: (r["rows"], r["state"]) for r in ask(f"projects/{{entity}}/{name}/runs")["runs"]}
        for name in ("q", "p")
    ]
    assert told == [
        {"r": (3, "finished"), "later": (1, "finished")},
        {"new": (1, "finished"), "later": (1, "finished")},
    ]


def _rename(settings: Settings, path: str, new: str) -> None:
    request = urllib.request.Request(
        f"{settings.base_url}/api/v1/projects/{path}",
        json.dumps({"name": new}).encode(),
        {"Authorization": f"Bearer {settings.api_key}", "Content-Type": "application/json"},
        method="PATCH",
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


def test_a_writer_that_ends_late_overwrites_nothing_newer(to_server: Settings, ask: Ask) -> None:
    more: dict[str, Any] = {"id": "r", "reinit": "create_new", "settings": to_server}
    with asyncwb.init("p", **more) as first:
        first.log({"a": 1, "mine": 1}, step=5)
        first.log({"a": 2}, step=6)
        with asyncwb.init("p", **more) as second:
            second.log({"a": 3}, step=9)
    shown = ask("runs/{entity}/p/r")["summary"]
    assert (shown["a"], shown["mine"], shown["_step"]) == (3, 1, 9)


@pytest.mark.parametrize("name", ["config", "summary"])
def test_without_a_run_the_module_has_no_config(name: str) -> None:
    assert asyncwb.run is None
    assert not hasattr(asyncwb, name)
    with pytest.raises(asyncwb.UsageError, match="init"):
        getattr(asyncwb, name)


_SLOW = Settings(mode="offline", flush_interval=60.0, sync_interval=0)
"""nothing comes to the disk before it is asked for"""


def test_a_durable_flush_forces_all_that_leads_to_a_row(watched_disk: Disk) -> None:
    with asyncwb.init("p", settings=_SLOW) as run:
        run.log({"i": 0})
        assert run.flush(durable=True)
        folder = Path(run.dir).parent.resolve()
        forced = {*watched_disk.forced}
        assert {*folder.glob("journal/*.seg")} & forced
        above = folder.parents[:3]  # runs, the data folder, and what that is in
        assert {folder / "journal", folder / "run.json", folder, *above} <= forced


def test_an_offline_run_that_finished_is_on_the_disk_and_all_that_leads_to_it(
    watched_disk: Disk,
) -> None:
    with asyncwb.init("p", settings=_SLOW) as run:
        run.log({"i": 0})
        folder = Path(run.dir).parent.resolve()
    assert run.flush(durable=True)
    above = folder.parents[:3]
    named = {folder / "sealed", folder / "run.json", folder, *above}
    assert {folder / "sealed" / "frames.awf", *named} <= {*watched_disk.forced}


def test_a_durable_flush_that_the_disk_refuses_says_so(
    watched_disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    with asyncwb.init("p", settings=_SLOW) as run:
        watched_disk.refuses = lambda path: path.suffix == ".seg"  # the sync by itself, too
        run.log({"i": 0})
        assert not run.flush(durable=True)
        assert "Input/output error" in str(run.status().last_error)
        assert not run.flush(durable=True), "the kernel has forgotten; we have not"
        assert run.flush(), "sealed into a file of its own"
        assert run.flush(durable=True)
        assert run.status().last_error is None
    assert "cannot be forced to disk" in capsys.readouterr().err


def test_what_no_server_takes_is_refused_where_it_is_given() -> None:
    text = "x" * (31 * 2**20)
    with pytest.raises(UsageError, match="this change of the config takes"):
        asyncwb.init("p", mode="offline", config={"text": text})
    with asyncwb.init("p", mode="offline") as run:
        with pytest.raises(LogTypeError, match="this row takes 32,505,"):
            run.log({"text": text})
        with pytest.raises(UsageError, match="this change of the config takes"):
            run.config["text"] = text
        with pytest.raises(UsageError, match="this change of the summary takes"):
            run.summary["text"] = text
        assert "text" not in run.config
        assert "text" not in run.summary
        run.log({"i": 1, "text": text[:-100]})
        assert run.step == 1
        assert run.flush()
        assert run.status().acknowledged == 1
    assert len(list(run.settings.runs_dir.iterdir())) == 1, "nothing of the first one is left"


def test_what_has_too_many_values_is_refused_where_it_is_given() -> None:
    most, over = [0] * (MAX_VALUES - 60), [0] * MAX_VALUES
    with pytest.raises(UsageError, match="this change of the config has more than 300,000 values"):
        asyncwb.init("p", mode="offline", config={"a": over})
    with asyncwb.init("p", mode="offline") as run:
        rows: list[dict[str, Any]] = [
            {"a": over},
            {"a": {"b": over}},
            {f"k{i}": [0, 0] for i in range(120_000)},
            {f"k{i}": 0.5 for i in range(MAX_VALUES + 1)},
        ]
        for row in rows:
            with pytest.raises(LogTypeError, match="this row has more than 300,000 values"):
                run.log(row)
        with pytest.raises(ConfigError, match="would have more than 300,000 values"):
            run.config["a"] = over
        with pytest.raises(UsageError, match="this change of the summary has more than 300,000"):
            run.summary["a"] = over
        assert "a" not in run.config
        assert "a" not in run.summary
        text = 'a,"b",[{' * 500_000
        run.config["b"] = run.summary["b"] = text
        for row in ({"a": most}, {"text": text}, {f"k{i}": 0.5 for i in range(100_000)}):
            run.log(row)
        run.summary["a"] = run.config["a"] = most
        assert run.step == 3
        assert run.flush()
        assert run.status().acknowledged == 3
    assert len(list(run.settings.runs_dir.iterdir())) == 1, "nothing of the first one is left"
