"""Starting a run: arguments, modes, resume, reinit, and how little it waits for."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

import asyncwb
from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.errors import CommError, ConfigError, Error, SettingsError, UsageError
from asyncwb.settings import Settings
from tests.client.conftest import Ask


def test_a_mode_decides_what_is_kept(data_folder: Path) -> None:
    with asyncwb.init("p", mode="disabled") as run:
        run.log({"a": 1})
        assert run.summary["a"] == 1
        assert run.url is None
        assert run.disabled
        assert (run.name, run.entity) == (f"dummy-{run.id}", "dummy")  # as W&B has it
    assert not data_folder.exists()
    with asyncwb.init("p", mode="offline", name="n") as run:
        run.log({"a": 1})
        assert run.offline
        assert run.url is None
    (folder,) = (data_folder / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["mode"] == "offline"
    assert not list((folder / "journal").glob("*.seg")), "it is sealed"
    assert (folder / "sealed" / "frames.awf").stat().st_size > 100


CYCLIC: dict[str, Any] = {}
CYCLIC["again"] = CYCLIC


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "sometimes"},
        {"project": "a/b"},
        {"id": ""},
        {"tags": ["x" * 65]},
        {"reinit": "maybe"},
        {"resume": "perhaps"},
        {"settings": {"no_such": 1}},
        {"settings": 3},
        {"config": 5},
        {"config": {"a": 1}, "config_include_keys": "abc"},
        {"config": {"a": 1}, "config_include_keys": ["a"], "config_exclude_keys": ["b"]},
        {"config": {"a": 1}, "config_exclude_keys": "abc"},
        {"config": {"a": json.loads("[" * 150 + "]" * 150)}},
        {"config": {"a": json.loads("[" * 500 + "]" * 500)}},
        {"config": CYCLIC},
        {"id": "a%2e"},
        {"name": "x" * 10_000},
        {"config": "/no/such/file.yaml"},
    ],
    ids=repr,
)
def test_an_argument_at_fault_starts_nothing(arguments: Any, data_folder: Path) -> None:
    with pytest.raises((Error, TypeError)):
        asyncwb.init(**arguments)
    assert asyncwb.run is None
    assert not (data_folder / "runs").exists()
    with pytest.raises(TypeError, match=r"^init\(\) got an unexpected keyword argument 'foo'$"):
        asyncwb.init(foo=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^init_async\(\) got an unexpected .* 'foo'$"):
        asyncwb.init_async(foo=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r" 'nam' \(did you mean 'name'\?\)$"):
        asyncwb.init(nam="x")  # type: ignore[call-arg]


def test_resume_asks_the_server(to_server: Settings, ask: Ask) -> None:
    def start(**more: Any) -> Run:
        return asyncwb.init("p", settings=to_server, **more)

    with pytest.raises(UsageError, match="no run p/r"):
        start(id="r", resume="must")
    with start(id="r", resume="never", config={"a": 1}) as run:
        assert not run.resumed
        run.log({"x": 1}, step=9, commit=True)
    with pytest.raises(UsageError, match="has a run p/r"):
        start(id="r", resume="never")
    for resume in ("must", "allow"):
        with start(id="r", resume=resume, config={"b": resume}) as run:
            assert run.resumed
            assert run.config.a == 1
            step = run.step
            run.log({"x": 2})
        assert step == (10 if resume == "must" else 11)
    with start(id="new", resume="allow") as run:
        assert (run.step, run.resumed) == (0, False)
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["last_step"], info["state"]) == (3, 11, "finished")
    assert info["config"] == {"a": 1, "b": "allow"}


ABOUT: dict[str, Any] = {
    "name": "My run",
    "notes": "n",
    "tags": ["keep"],
    "group": "g",
    "job_type": "j",
    "config": {"x": 1},
}


def test_an_offline_run_goes_on_with_what_this_machine_has() -> None:
    def start(**more: Any) -> Any:
        return asyncwb.init("p", id="r", mode="offline", **more)

    with pytest.raises(UsageError, match=r'resume="must", and this machine has no run p/r'):
        start(resume="must")
    with start(resume="never", config={"a": 1, "b": 1}, tags=["t"]) as run:
        assert (run.resumed, run.step) == (False, 0)
        run.define_metric("loss", summary="min,max,best", goal="minimize")
        for loss in (3.0, 1.0, 2.0):
            run.log({"loss": loss})
        run.name = "named"
        del run.config["b"]
    with pytest.raises(UsageError, match=r'resume="never", and this machine has a run p/r'):
        start(resume="never")
    with start(resume="must", config={"c": 1}) as run:
        assert (run.resumed, run.step, run.name, run.tags) == (True, 3, "named", ("t",))
        assert dict(run.config) == {"a": 1, "c": 1}
        run.log({"loss": 9.0})
        assert run.summary["loss"] == {"min": 1.0, "max": 9.0, "best": 1.0}
    with start(resume="allow") as run:  # after two parts
        assert (run.step, run.summary["loss"]["max"]) == (4, 9.0)
    with start() as run:
        assert (run.resumed, run.step) == (False, 0)


@pytest.mark.anyio
async def test_an_offline_run_goes_on_from_a_coroutine_behind_one_that_still_logs() -> None:
    more: dict[str, Any] = {"id": "r", "mode": "offline", "resume": "allow"}
    async with asyncwb.init_async("p", **more) as first:
        await first.log({"a": 1})
        async with asyncwb.init_async("p", **more) as second:
            assert (second.resumed, second.step, second.summary["a"]) == (True, 1, 1)


def _log_and_rename(to_server: Settings) -> None:
    with asyncwb.init("p", id="r", settings=to_server, **ABOUT) as run:
        run.define_metric("loss", summary="min")
        run.log({"loss": 1.0, "bad": math.nan, "deep": {"a": 1, "b": 2}})
        run.summary["best"] = 5
    overrides = {"base_url": to_server.base_url}
    stored = asyncwb.Api(overrides=overrides, api_key=to_server.api_key).run("p/r")
    stored.name = "Renamed on the page"
    stored.update()


def test_a_resumed_run_shows_and_keeps_what_the_server_has(to_server: Settings, ask: Ask) -> None:
    _log_and_rename(to_server)
    with asyncwb.init("p", id="r", resume="must", notes="new notes", settings=to_server) as run:
        assert (run.name, run.tags) == ("Renamed on the page", ("keep",))
        assert (run.notes, run.group, run.job_type) == ("new notes", "g", "j")
        assert run.config["x"] == 1
        shown = run.summary.as_dict()
        assert math.isnan(shown.pop("bad"))
        for own in ("_timestamp", "_runtime"):
            assert shown.pop(own) >= 0
        assert shown == {"loss": {"min": 1.0}, "deep": {"a": 1, "b": 2}, "best": 5, "_step": 0}
        run.tags += ("new",)
        del run.summary["best"]
        del run.summary["deep"]["a"]
        run.define_metric("loss", summary="min")
        run.log({"loss": 0.5})
        assert run.summary["loss"] == {"min": 0.5}
        assert run.summary["deep"] == {"b": 2}
        assert "best" not in run.summary
    info = ask("runs/{entity}/p/r")
    assert (info["name"], info["tags"]) == ("Renamed on the page", ["keep", "new"])
    assert (info["notes"], info["group"], info["job_type"]) == ("new notes", "g", "j")
    assert info["config"] == {"x": 1}
    kept = {name: info["summary"].get(name) for name in ("loss", "deep", "best", "bad")}
    assert kept == {"loss": {"min": 0.5}, "deep": {"b": 2}, "best": None, "bad": "NaN"}


def test_a_resumed_summary_goes_on_from_the_runs(to_server: Settings, ask: Ask) -> None:
    ops = "min,max,mean,first,last"

    def define(run: Run) -> None:
        run.define_metric("loss", summary=ops)
        run.define_metric("acc", summary="best", goal="maximize")

    with asyncwb.init("p", id="r", settings=to_server) as run:
        define(run)
        for value in (1.0, 9.0, 5.0):
            run.log({"loss": value, "acc": value, "plain": value})
    with asyncwb.init("p", id="r", resume="must", settings=to_server) as run:
        define(run)
        run.log({"loss": 7.0, "acc": 3.0})
        run.log({"plain": 0.0, "loss": 3.0}, step=1)  # late: behind the part of before
        shown = run.summary.as_dict()
        assert shown["loss"] == {"min": 1.0, "max": 9.0, "mean": 5.0, "last": 7.0, "first": 1.0}
        assert (shown["acc"], shown["plain"], shown["_step"]) == ({"best": 9.0}, 5.0, 3)
        assert run.flush()
        assert ask("runs/{entity}/p/r")["summary"] == shown


def test_an_id_used_again_changes_only_what_is_given(to_server: Settings, ask: Ask) -> None:
    _log_and_rename(to_server)
    with asyncwb.init("p", id="r", group="other", settings=to_server):
        pass
    info = ask("runs/{entity}/p/r")
    assert (info["name"], info["tags"], info["notes"]) == ("Renamed on the page", ["keep"], "n")
    assert (info["group"], info["job_type"], info["summary"]["best"]) == ("other", "j", 5)
    with asyncwb.init("p", id="unnamed", settings=to_server) as run:
        assert run.name == "unnamed"
    assert ask("runs/{entity}/p/unnamed")["name"] == "unnamed"


def test_what_a_config_leaves_out_comes_from_a_file(
    to_server: Settings, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = Path("config-defaults.yaml")
    defaults.write_text("wandb_version: 1\nlr: {value: 0.1, desc: null}\nseed: {value: 3}\n")
    with asyncwb.init("p", id="r", config={"lr": 0.5}, settings=to_server) as run:
        assert dict(run.config) == {"lr": 0.5, "seed": 3}
        run.log({"x": 1})
    defaults.write_text("lr: {value: 0.1}\nseed: {value: 4}\nnew: {value: 1}\n")
    with asyncwb.init("p", id="r", resume="must", settings=to_server) as run:
        assert dict(run.config) == {"lr": 0.5, "seed": 3, "new": 1}, "the run has the first two"
    assert ask("runs/{entity}/p/r")["config"] == {"lr": 0.5, "seed": 3, "new": 1}
    defaults.write_text("- no mapping")
    with pytest.raises(ConfigError, match=r"config-defaults.yaml is no mapping"):
        asyncwb.init("p", settings=to_server)
    assert asyncwb.run is None


def test_resume_without_a_server_is_an_error_and_in_time() -> None:
    settings = {"base_url": "http://127.0.0.1:9", "api_key": "k", "init_timeout": 5}
    with pytest.raises(CommError, match="no answer"):
        asyncwb.init("p", id="r", resume="allow", settings=settings)
    assert asyncwb.run is None


def test_reinit_says_what_becomes_of_the_run_before() -> None:
    first = asyncwb.init("p", mode="offline")
    again = asyncwb.init("p", mode="offline", reinit="return_previous")
    assert again is first
    second = asyncwb.init("p", mode="offline")
    assert not first._state.finished
    assert asyncwb.run is second
    third = asyncwb.init("p", mode="offline", reinit="finish_previous")
    assert second._state.finished
    assert asyncwb.run is third
    third.finish()
    assert asyncwb.run is first, "the run that is still open"
    first.finish()
    assert asyncwb.run is None


@pytest.mark.anyio
async def test_init_async_is_awaited_or_entered() -> None:
    run = await asyncwb.init_async("p", mode="offline")
    assert isinstance(run, AsyncRun)
    await run.finish()
    async with asyncwb.init_async("p", mode="offline") as run:
        await run.log({"a": 1})
        previous = await asyncwb.init_async("p", reinit="return_previous")
        assert previous._state is run._state
    assert run._state.finished
    with pytest.raises(UsageError, match="finished"):
        await run.__aenter__()
    with pytest.raises(SettingsError):
        asyncwb.init_async("p", mode="sometimes")


@pytest.mark.anyio
async def test_an_exception_in_the_block_is_exit_code_1(to_server: Settings, ask: Ask) -> None:
    with pytest.raises(ZeroDivisionError):
        async with asyncwb.init_async("p", id="r", settings=to_server):
            raise ZeroDivisionError
    info = await to_thread.run_sync(ask, "runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("failed", 1)


def test_init_needs_no_server_and_says_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    settings = {"base_url": "http://127.0.0.1:9", "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", settings=settings)
    deadline = time.monotonic() + 10
    while run.status().last_error is None:
        assert time.monotonic() < deadline
        run.log({"a": 1})
    run.finish(timeout=0)
    said = capfd.readouterr().err
    assert said.count("The run goes on.") == 1
    assert str(run._session.folder.path) in said


def test_a_folder_that_cannot_be_made_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match="Set `dir` or `data_dir`"):
        asyncwb.init("p", mode="offline", dir=tmp_path / "file")
    assert asyncwb.run is None


def test_a_new_run_has_a_name_of_words(to_server: Settings, ask: Ask) -> None:
    with asyncwb.init("p", settings=to_server) as run:
        assert re.fullmatch("[a-z]+-[a-z]+-[1-9][0-9]{0,2}", run.name or "")
    assert ask(f"runs/{{entity}}/p/{run.id}")["name"] == run.name
    with asyncwb.init("p", id=run.id, settings=to_server) as again:
        assert again.name == run.id, "nobody asked the server"
    assert ask(f"runs/{{entity}}/p/{run.id}")["name"] == run.name
