"""The journal on its disk: what is forced there, what is made ahead, and who waits for it."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest

from asyncwb.engine.journal.journal import find_segments
from asyncwb.engine.journal.segment import Segment
from tests.engine.lab import SMALL, Writer, writer
from tests.fix_disk import Disk


def fill(w: Writer, segments: int) -> None:
    """Log until so many segments are started."""
    while len(w.journal.segments) < segments:
        w.inbox.log({"i": w.inbox.next_seq})


@pytest.mark.parametrize("use_map", [True, False])
def test_every_segment_is_forced_to_the_disk_and_the_folder(
    use_map: bool, watched_disk: Disk
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL, use_map=use_map) as w:
        fill(w, 6)
        w.journal.sync()
        folder = w.journal.folder.resolve()
        assert {*watched_disk.forced} == {folder, *find_segments(folder)}
        watched_disk.forced.clear()
        w.inbox.log({"i": 0})
        w.journal.sync()
        assert watched_disk.forced == [find_segments(folder)[-1]], "only what is new"
        watched_disk.forced.clear()
        w.journal.sync()
        assert not watched_disk.forced


def test_what_the_disk_refused_once_is_never_called_safe(watched_disk: Disk) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 3)
        first = find_segments(w.journal.folder.resolve())[0]
        watched_disk.refuses = lambda path: path == first
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                w.journal.sync()
        w.journal.trim(w.journal.segments[0].count)
        w.journal.sync()  # the server has it now: nothing is owed to the disk


def test_a_segment_that_somebody_deleted_is_not_on_the_disk() -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 3)
        find_segments(w.journal.folder)[0].unlink()
        with pytest.raises(FileNotFoundError):
            w.journal.sync()


def held(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> tuple[Event, Event]:
    """Hold up whoever calls this in another thread; returns (it has come, let it go on)."""
    original, come, go_on = getattr(owner, name), Event(), Event()

    def hold(*args: Any, **more: Any) -> Any:
        if threading.current_thread().name == "engine":
            come.set()
            assert go_on.wait(60)
        return original(*args, **more)

    monkeypatch.setattr(owner, name, hold)
    return come, go_on


def while_engine(
    work: Callable[[], Any], come: Event, go_on: Event, then: Callable[[], Any]
) -> None:
    """Do `then` while the engine is held up in `work`; fails where it has to wait."""
    engine = Thread(target=work, name="engine")
    logs = Thread(target=then)
    engine.start()
    try:
        assert come.wait(60)
        logs.start()
        logs.join(60)
        assert not logs.is_alive(), "log() waits for the engine"
    finally:
        go_on.set()
        engine.join(60)
        logs.join(60)


@pytest.mark.parametrize("slow", [(os, "posix_fallocate"), (Segment, "populate")])
def test_log_does_not_wait_while_the_next_segment_is_made(
    slow: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 1)
        come, go_on = held(monkeypatch, *slow)
        while_engine(w.journal.prepare, come, go_on, lambda: fill(w, 4))
        assert len(w.journal.spares) == 1, "what log() has overtaken comes behind it"
        fill(w, 8)
        assert [row["i"] for row in w.rows()] == [*range(w.inbox.accepted)]
        assert w.found() == w.rows()


def test_log_does_not_wait_while_an_old_segment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 5)
        come, go_on = held(monkeypatch, mmap, "mmap")
        while_engine(w.rows, come, go_on, lambda: fill(w, 8))


def test_a_file_that_is_made_while_names_are_forced_is_forced_later(
    watched_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        fill(w, 1)
        come, go_on = held(monkeypatch, Segment, "create")
        while_engine(w.journal.prepare, come, go_on, w.journal.sync)
        watched_disk.forced.clear()
        fill(w, 2)
        assert not w.journal.spares, "the one that was made is written now"
        w.journal.sync()
        assert w.journal.folder.resolve() in watched_disk.forced
