"""`save()`: which files are meant, what they are called, and what is in `run.dir` then."""

from __future__ import annotations

import errno
import fcntl
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

import asyncwb
import asyncwb.aio
from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.engine.uploads import saved
from asyncwb.engine.uploads.saved import Saved
from asyncwb.errors import UsageError
from asyncwb.settings import Settings
from tests.engine.lab import session_of
from tests.engine.uploads_lab import hashes, stored
from tests.fix_faults import Target
from tests.fix_server import ServerHandle


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some files in it."""
    made = tmp_path / "here"
    for name in ("top.txt", "ckpt/a.pt", "ckpt/b.pt", "ckpt/deep/c.pt", "x[1].pt"):
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def run(here: Path) -> Iterator[Any]:
    """An offline run that says nothing."""
    with asyncwb.init("p", mode="offline", settings={"flush_interval": 0.01}) as made:
        yield made


def names(run: Any, paths: list[str]) -> list[str]:
    """The names in the run of what `save()` has returned."""
    assert paths == sorted(paths)
    assert all(Path(path).is_file() for path in paths)
    return [os.path.relpath(path, run.dir) for path in paths]


def noted(run: Any) -> dict[str, str]:
    """What is to be sent: names and policies."""
    files = Saved(session_of(run).folder).read()
    return {name: file.policy for name, file in files.items()}


def test_a_lock_that_a_stopped_process_keeps_holds_nobody_up(
    here: Path, server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "_LOCK_TIMEOUT", 0.05)
    given = {"base_url": server.url, "api_key": server.api_key, "detach_uploader": False}
    run = asyncwb.init("p", settings={**given, "flush_interval": 0.01})
    run.save("top.txt")
    lock = os.open(session_of(run).folder.path / "files.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert run.save("ckpt/a.pt") == []
    assert "another process keeps the lock" in run.status().files_failed["ckpt/a.pt"]
    run.finish()
    os.close(lock)
    waiting = {file.name for file in Saved(session_of(run).folder).waiting()}
    assert waiting <= {"top.txt"}, "at most what could not be noted is sent once more"


def test_names_are_relative_to_the_base(run: Any, here: Path) -> None:
    assert names(run, run.save("ckpt/*.pt")) == ["ckpt/a.pt", "ckpt/b.pt"]
    assert names(run, run.save("ckpt/*.pt", base_path="ckpt")) == ["a.pt", "b.pt"]
    assert names(run, run.save("./ckpt/../top.txt")) == ["top.txt"]
    assert names(run, run.save(here / "ckpt" / "a.pt", base_path=here.parent)) == ["here/ckpt/a.pt"]
    assert names(run, run.save("ckpt/**/*.pt", base_path=here)) == [
        "ckpt/a.pt",
        "ckpt/b.pt",
        "ckpt/deep/c.pt",
    ]
    assert names(run, run.save(b"top.txt", policy="end")) == ["top.txt"]
    assert noted(run)["top.txt"] == "end"
    assert run.status().files_waiting == len(noted(run)) == 7


def test_an_absolute_path_keeps_its_last_folder(
    run: Any, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert names(run, run.save(str(here / "ckpt" / "*.pt"))) == ["ckpt/a.pt", "ckpt/b.pt"]
    assert capfd.readouterr().err.count("pass base_path") == 1


def test_nothing_is_meant(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run.save("none/*.pt") == []
    assert run.save("ckpt") == [], "a folder is no file"
    for address in ("s3://bucket/a.pt", "gs://bucket/*"):
        assert run.save(address) == []
    assert capfd.readouterr().err.count("is an address in cloud storage") == 2
    assert noted(run) == {}


def test_a_pattern_is_expanded_once_and_may_be_taken_as_it_stands(run: Any, here: Path) -> None:
    assert names(run, run.save("x[1].pt")) == ["x[1].pt"], "it is called exactly so"
    assert names(run, run.save("x[1].pt", glob=False)) == ["x[1].pt"]
    run.save("ckpt/*.pt")
    (here / "ckpt" / "late.pt").write_text("late")
    assert "ckpt/late.pt" not in noted(run)


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_arguments_at_fault(here: Path, mode: str) -> None:
    run = asyncwb.init("p", mode=mode)
    with pytest.raises(ValueError, match="policy is one of live, now, end"):
        run.save("top.txt", policy="often")  # type: ignore[arg-type]
    for pattern, base in (("../*", None), ("top.txt", "ckpt"), ("ckpt/../../*", "ckpt")):
        with pytest.raises(ValueError, match="is not below base_path"):
            run.save(pattern, base_path=base)
    run.finish()
    with pytest.raises(UsageError, match="has finished"):
        run.save("top.txt")


def test_a_disabled_run_writes_nothing(here: Path, data_folder: Path) -> None:
    with asyncwb.init("p", mode="disabled") as run:
        assert run.save("*") == []
        assert (run.status().files_waiting, run.status().files_failed) == (0, {})
    assert not data_folder.exists()


def test_files_are_linked_and_stay_the_users(run: Any, here: Path) -> None:
    (path,) = run.save("top.txt")
    assert Path(path).is_symlink()
    assert Path(path).samefile("top.txt")
    (own,) = run.save(_written(run, "own.txt"))
    assert not Path(own).is_symlink()
    assert names(run, run.save("own.*")) == ["own.txt"], "what is in run.dir is meant as well"
    assert run.save("top.txt") == [path]
    files = Saved(session_of(run).folder).read()
    assert {n: (f.asked, f.linked) for n, f in files.items()} == {
        "top.txt": (2, True),
        "own.txt": (2, False),
    }


def _written(run: Any, name: str) -> Path:
    path = Path(run.dir) / name
    path.write_text("mine")
    return path


def refuse(*_: Any, **__: Any) -> None:
    """What a file system without links does, or one that is full."""
    raise OSError(errno.EOPNOTSUPP, "not here")


def test_without_symbolic_links(run: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "symlink", refuse)
    (path,) = run.save("top.txt")
    assert not Path(path).is_symlink()
    assert Path(path).samefile("top.txt")
    assert noted(run) == {"top.txt": "live"}
    monkeypatch.setattr(os, "link", refuse)
    (copy,) = run.save("ckpt/a.pt")
    assert not Path(copy).samefile("ckpt/a.pt")
    assert noted(run)["ckpt/a.pt"] == "now", "a copy does not follow the file"
    Path("ckpt/a.pt").write_text("newer")
    run.save("ckpt/a.pt")
    assert Path(copy).read_text() == "newer"


def test_what_cannot_be_saved_is_said_and_stops_nobody(
    run: Any,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mine = _written(run, "top.txt")
    (here / os.fsdecode(b"\xff.txt")).write_text("no text")
    assert names(run, run.save("*.txt")) == []
    assert mine.read_text() == "mine", "what the user has put into run.dir is not replaced"
    monkeypatch.setattr("asyncwb.client.live.saving.shutil.copy2", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    assert run.save("ckpt/a.pt") == []
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(Saved, "add", refuse)
    assert run.save("ckpt/b.pt") == []
    failed = run.status().files_failed
    assert sorted(failed) == ["\\udcff.txt", "ckpt/a.pt", "ckpt/b.pt", "top.txt"]
    assert capfd.readouterr().err.count("is not saved") == 4


@pytest.mark.anyio
async def test_both_faces_and_the_modules(
    server: ServerHandle, to_server: Settings, here: Path
) -> None:
    async with asyncwb.init_async("p", id="r", settings=to_server) as run:
        (path,) = await run.save("top.txt")
        assert await to_thread.run_sync(Run(run._state).save, "top.txt") == [path]
        await asyncwb.aio.save("ckpt/a.pt", policy="end")
        await to_thread.run_sync(asyncwb.save, "ckpt/b.pt", "ckpt", "now")
    assert run.status().files_uploaded == 3
    there = Target(server.url, server.api_key)
    contents = {"top.txt": b"top.txt", "ckpt/a.pt": b"ckpt/a.pt", "b.pt": b"ckpt/b.pt"}
    assert await to_thread.run_sync(stored, there, "r") == hashes(contents)
    assert inspect.signature(Run.save) == inspect.signature(AsyncRun.save)


def test_without_a_run() -> None:
    with pytest.raises(asyncwb.Error, match=r"asyncwb\.init\(\)"):
        asyncwb.save("*")


def test_own_files_stay_where_the_user_has_put_them(to_server: Settings, here: Path) -> None:
    with asyncwb.init("p", id="r", settings=to_server) as run:
        own = _written(run, "own.txt")
        run.save("*.txt")
        assert sorted(os.listdir(run.dir)) == ["own.txt", "top.txt"]
    assert run.status().files_uploaded == 2
    assert os.listdir(run.dir) == ["own.txt"], "a link has done its work; this is the user's"
    assert own.read_text() == "mine"


def test_what_could_not_be_linked_stays_counted(to_server: Settings, here: Path) -> None:
    with asyncwb.init("p", id="r", settings=to_server) as run:
        _written(run, "top.txt")
        assert run.save("top.txt") == []
        run.save("ckpt/*.pt")
    assert list(run.status().files_failed) == ["top.txt"]
    assert run.status().files_uploaded == 2


def test_files_come_back(server: ServerHandle, to_server: Settings, here: Path) -> None:
    with asyncwb.init("p", id="r", settings=to_server) as run:
        run.save("ckpt/*.pt")
    api = asyncwb.Api(overrides={"base_url": server.url}, api_key=server.api_key)
    with api.run(f"{run.entity}/p/r").file("ckpt/b.pt").download("back") as file:
        assert file.read() == "ckpt/b.pt"
    assert Path("back/ckpt/b.pt").exists()


def test_a_name_that_no_server_takes_is_not_saved(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "two\nlines").write_text("x")
    run = asyncwb.init("p", mode="offline")
    assert names(run, run.save("t*")) == ["top.txt"]
    assert list(run.status().files_failed) == ["two\nlines"]
    run.finish()
    assert "has no control characters" in capfd.readouterr().err
