"""The queue of an uploader: nothing that is left to it is forgotten, whoever comes when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncwb.engine.process.handover import Queue
from asyncwb.settings import Settings


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue.of(Settings(base_url="http://127.0.0.1:9", api_key="k", data_dir=tmp_path))


def a_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "runs" / name
    folder.mkdir(parents=True)
    return folder


def test_what_waits_is_listed_until_it_is_dropped_or_gone(queue: Queue, tmp_path: Path) -> None:
    assert queue.folders() == []
    folders = [a_folder(tmp_path, f"2026-{name}") for name in "abc"]
    for folder in reversed([*folders, *folders]):
        queue.add(folder)
    assert queue.folders() == folders
    queue.drop(folders[0])
    folders[1].rmdir()
    assert queue.folders() == folders[2:]


def test_one_at_a_time(queue: Queue, tmp_path: Path) -> None:
    queue.add(a_folder(tmp_path, "a"))
    fd = queue.lock()
    assert fd is not None
    assert queue.lock() is None
    os.close(fd)
    fd = queue.lock()
    assert fd is not None
    os.close(fd)


def test_who_ends_sees_what_came_before_it_let_go(queue: Queue, tmp_path: Path) -> None:
    queue.add(a_folder(tmp_path, "a"))
    fd = queue.lock()
    assert fd is not None
    assert queue.folders()
    queue.drop(queue.folders()[0])
    late = a_folder(tmp_path, "late")
    queue.add(late)
    assert queue.lock() is None, "so nobody else is started"
    again = queue.leave(fd)
    assert again is not None
    assert queue.folders() == [late]
    queue.drop(late)
    assert queue.leave(again) is None
    assert not queue.path.exists()
    queue.add(late)
    fd = queue.lock()
    assert fd is not None, "what comes later starts another one"
    os.close(fd)


def test_the_lock_of_a_file_that_was_deleted_is_none(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.add(a_folder(tmp_path, "a"))
    ending = queue.lock()
    assert ending is not None
    opened, unlinked = os.open, False

    def late(path: Path, *args: int) -> int:
        nonlocal unlinked
        fd = opened(path, *args)
        if not unlinked:
            unlinked = True
            queue.leave(ending)
        return fd

    monkeypatch.setattr("asyncwb.engine.process.handover.os.open", late)
    fd = queue.lock()
    monkeypatch.undo()
    assert unlinked
    assert fd is None, "the one that ended has come back for the entry"


def test_servers_and_keys_have_their_own(tmp_path: Path) -> None:
    told = [("http://a", "k"), ("http://b", "k"), ("http://a", "l"), (None, None)]
    queues = [
        Queue.of(Settings(base_url=url, api_key=key, data_dir=tmp_path)).path for url, key in told
    ]
    assert len({*queues}) == 4
