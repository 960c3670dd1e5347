"""The end of a run: when `finish()` returns, and that what it says of each row is true."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from anyio import to_thread

import asyncwb
from asyncwb.client.live._sync.run import Run
from asyncwb.engine import neighbours
from asyncwb.engine.journal.segment import Segment
from asyncwb.errors import UsageError
from asyncwb.server.http.state import STATE
from asyncwb.settings import Settings
from tests.client.conftest import Ask
from tests.engine.lab import session_of
from tests.fix_disk import Disk
from tests.fix_server import ServerHandle


def test_what_could_not_be_looked_for_is_not_called_acknowledged(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> list[object]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(neighbours, "folders_left", fails)
    run = asyncwb.init("p", settings={"base_url": server.url, "api_key": server.api_key})
    run.log({"n": 1})
    run.finish()
    said = capfd.readouterr().err
    assert "1 row of this writer, all acknowledged" in said
    assert "it is not known whether other processes of this machine left something" in said
    assert "Too many open files" in said
    assert "send it with: asyncwb sync" in said


def test_another_run_object_of_the_same_run_is_no_other_process(
    to_server: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"id": "r", "reinit": "create_new", "settings": to_server}
    first = asyncwb.init("p", **given)
    with asyncwb.init("p", **given) as second:
        first.log({"i": 1})
        second.log({"i": 2})
        first.finish()
        said = capfd.readouterr().err
        assert "finished: 1 row of this writer, all acknowledged; 1 other writer still logs" in said
        assert "process" not in said


def test_a_quiet_finish_is_deprecated(
    to_server: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run = asyncwb.init("p", id="r", settings=to_server)
    with pytest.warns(DeprecationWarning, match="quiet"):
        run.finish(quiet=True)
    assert "finished" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), SystemExit(2**70)], ids=repr
)
def test_what_passes_through_the_block_is_the_exit_code(
    error: BaseException, to_server: Settings, ask: Ask
) -> None:
    def train() -> None:
        with asyncwb.init("p", id="r", settings=to_server) as run:
            run.log({"a": 1})
            raise error

    with pytest.raises(type(error)):
        train()
    info = ask("runs/{entity}/p/r")
    code = 3 if error.args == (3,) else 255 if isinstance(error, KeyboardInterrupt) else 1
    assert (info["state"], info["exit_code"]) == ("failed", code)


@pytest.mark.parametrize("where", ["hangs", "refuses"])
def test_finish_returns_in_time_and_says_how_to_go_on(
    where: str, nowhere: str, capfd: pytest.CaptureFixture[str]
) -> None:
    url = nowhere if where == "hangs" else "http://127.0.0.1:9"
    run = asyncwb.init("p", settings={"base_url": url, "api_key": "k", "detach_uploader": False})
    for i in range(100):
        run.log({"i": i})
    started = time.monotonic()
    run.finish(timeout=0.3)
    assert time.monotonic() - started < 3
    said = capfd.readouterr().err
    assert "0 of 100 rows have arrived" in said
    assert f"asyncwb sync {run._session.folder.path}" in said
    assert said.count("asyncwb sync") <= 2
    assert run.status().journaled == 100
    assert list(session_of(run).folder.journal.iterdir())


@pytest.mark.parametrize("begun", [False, True], ids=["at the end", "before it"])
def test_nobody_waits_for_a_key_that_is_not_accepted(
    server: ServerHandle, begun: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    where = {"base_url": server.url, "api_key": "not-the-key", "detach_uploader": False}
    run = asyncwb.init("p", settings={**where, "finish_timeout": 1e6, "flush_interval": 0.01})
    for i in range(100):
        run.log({"i": i})
    if begun:
        assert not run.flush(), "the first try"
        assert not run.flush(), "one more"
    run.finish()
    said = capfd.readouterr().err
    assert "0 of 100 rows have arrived" in said
    assert f"{server.url} does not accept the API key (HTTP 401" in said
    assert f"asyncwb login --host {server.url}" in said
    assert "the rest is safe on disk" in said
    assert f"asyncwb sync {session_of(run).folder.path}" in said
    assert run.status().journaled == 100


def test_who_finishes_after_the_server_was_corrected_has_all_of_it_sent(
    server: ServerHandle, ask: Ask
) -> None:
    where = {"base_url": server.url, "api_key": "k" * 40, "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings={**where, "finish_timeout": 1e6})
    run.log({"i": 1})
    assert not run.flush()

    async def correct(app: web.Application) -> None:
        state = app[STATE]
        user = await state.users.first()
        assert user is not None
        await state.keys.add(user.id, "k" * 40, state.clock())

    server.call(correct)
    run.finish()
    assert run.status().acknowledged == 1
    assert ask("runs/{entity}/p/r")["state"] == "finished"


def test_saved_files_are_not_waited_for_where_the_key_is_revoked(
    server: ServerHandle, to_server: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f").write_text("text")
    run = asyncwb.init("p", settings={**to_server.given, "finish_timeout": 1e6})
    run.log({"i": 1})
    assert run.flush()

    async def revoke(app: web.Application) -> None:
        found = await app[STATE].keys.find(server.api_key)
        assert found is not None
        assert await app[STATE].keys.revoke(found.id, app[STATE].clock())

    server.call(revoke)
    run.save(tmp_path / "f", base_path=tmp_path, policy="end")
    run.finish()
    assert run.status().files_waiting == 1
    said = capfd.readouterr().err
    assert "does not accept the API key" in said
    assert "1 of 1 row has arrived, 1 file waits" in said


@pytest.mark.anyio
async def test_a_second_finish_waits_for_what_a_cancelled_one_has_begun(
    server: ServerHandle, to_server: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    object.__setattr__(server.config, "port", int(server.url.rpartition(":")[2]))
    await to_thread.run_sync(server.stop)
    run = await asyncwb.init_async("p", id="r", settings=to_server)
    for i in range(100):
        await run.log({"i": i})
    with anyio.move_on_after(0) as scope:
        await run.finish()
    assert scope.cancelled_caught
    status = run.status()
    assert (status.accepted, status.acknowledged, status.journaled) == (100, 0, 100)
    assert status.lag > 0
    assert "have arrived" not in capfd.readouterr().err
    await to_thread.run_sync(server.start)

    async def finish_the_twin() -> None:
        await to_thread.run_sync(Run(run._state).finish)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.finish)
        tasks.start_soon(finish_the_twin)
    final = run.status()
    assert (final.accepted, final.acknowledged, final.journaled, final.lag) == (100, 100, 0, 0.0)
    assert (final.lost, final.last_error) == (0, None)
    said = capfd.readouterr().err
    assert said.count("finished: 100 rows, all acknowledged.") == 1
    await run.finish()
    assert run.status() == final, "the final record, however often it is asked for"
    assert not run._session.folder.path.exists()


def test_a_disabled_run_ends_also_where_nobody_waits_for_it() -> None:
    run = asyncwb.init("p", mode="disabled")
    run._state.finish(0, 1.0, None)
    run._state.end(None)  # as Ctrl-C in finish() has it at the interpreter's exit
    run.finish()
    with pytest.raises(UsageError):
        run.log({"i": 1})


def test_finish_in_a_handler_that_interrupts_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = asyncwb.init("p", mode="offline")
    run.log({"a": 1})
    write = Segment.write

    def interrupted(segment: Segment, offset: int, data: bytes) -> None:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        write(segment, offset, data)

    before = signal.signal(signal.SIGUSR1, lambda *_: run.finish())
    monkeypatch.setattr(Segment, "write", interrupted)
    try:
        run.log({"new": 1})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "in the middle of log()" in capfd.readouterr().err
    run.log({"a": 2})
    run.finish()
    assert run.status().acknowledged == 3


def test_what_a_finish_leaves_behind_is_forced_to_the_disk(
    nowhere: str, watched_disk: Disk
) -> None:
    settings = Settings(
        base_url=nowhere,
        api_key="k" * 40,
        finish_timeout=0.1,
        sync_interval=0,
        detach_uploader=False,
    )
    with asyncwb.init("p", settings=settings) as run:
        for i in range(30_000):
            run.log({"i": i, "text": 100 * "a"})
    segments = {*Path(run.dir).parent.resolve().glob("journal/*.seg")}
    assert len(segments) > 3
    assert segments <= {*watched_disk.forced}


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Fill the disk, or have it refuse for another reason: from then on no journal grows."""

    def fill(number: int = errno.ENOSPC) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)

    return fill


def log_until_full(run: Run) -> int:
    """Log until not even an event finds room; returns how many rows were taken."""
    while not run.status().dropped:
        run.log({"x": 1.0})
    while not session_of(run).inbox.holds_back:
        run.summary["s"] = 1
    return run.status().accepted


def test_a_full_disk_keeps_no_end_back(
    to_server: Settings, ask: Ask, full_disk: Callable[[], None]
) -> None:
    run = asyncwb.init("p", id="r", settings=to_server)
    run.log({"x": 0.0})
    full_disk()
    rows = log_until_full(run)
    run.summary["last"] = 2
    run.finish(3)
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"], info["rows"]) == ("failed", 3, rows)
    assert info["lost"] == run.status().lost == run.status().dropped["disk_full"]
    assert (info["summary"]["s"], info["summary"]["last"]) == (1, 2)
    assert run.summary["last"] == 2
    assert not Path(run.dir).exists(), "everything is acknowledged: nothing stays on disk"


@pytest.mark.parametrize(
    ("number", "why", "lost"),
    [
        (errno.ENOSPC, "the disk has no room", "for which the disk had no room"),
        (errno.EIO, "the disk fails", "that the disk did not take"),
        (errno.EMFILE, "no file descriptor is left", "for which no file descriptor was left"),
        (errno.ENFILE, "no file descriptor is left", "for which no file descriptor was left"),
    ],
)
def test_an_end_that_is_nowhere_is_not_called_safe(
    nowhere: str,
    full_disk: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    number: int,
    why: str,
    lost: str,
) -> None:
    given = {"base_url": nowhere, "api_key": "k", "detach_uploader": False}
    run = asyncwb.init("p", id="r", settings=given)
    run.log({"x": 0.0})
    full_disk(number)
    log_until_full(run)
    run.finish(timeout=0)
    said = capsys.readouterr().err
    assert re.search(rf"For \d events, the run's end among them, {why}: nothing but", said)
    assert re.search(rf"1 row was lost: 1 {lost}", said)
    assert ("no room" in said) is (number == errno.ENOSPC)


def test_one_row_is_spoken_of_in_the_singular(capfd: pytest.CaptureFixture[str]) -> None:
    run = asyncwb.init("p", id="r", mode="offline")
    run.log({"i": 1}, step=-5)
    run.log({"i": 2})
    run.finish()
    said = capfd.readouterr().err
    assert "1 row was lost: 1 with a negative step." in said
    assert "1 row is in " in said
    assert "send it: asyncwb sync" in said
