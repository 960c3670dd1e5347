"""The folder of one writer."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from asyncwb.engine.journal.folder import Description, RunFolder, folders_of, run_folders


def test_nobody_else_reads_what_a_run_keeps() -> None:
    described = Description(None, "p", "r1", "w", "offline", None, 0.0)
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            folder = RunFolder.create(Path(place) / "runs", described)
            folder.unlock()
            kept = [path.stat().st_mode & 0o077 for path in (folder.path, folder.path.parent)]
    finally:
        os.umask(before)
    assert kept == [0, 0]


def test_a_folder_goes_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    folder = RunFolder.create(runs, Description(None, "p", "r1", "w", "online", None, 0.0))
    other = RunFolder(folder.path)
    (folder.path / "uploads.lock").touch()  # somebody who comes to send what is sent already
    seen: list[object] = []
    delete = shutil.rmtree

    def rmtree(path: Path, **given: Any) -> None:
        with pytest.raises(FileNotFoundError):  # in the middle of it
            other.lock()
        seen.extend([folder.path.exists(), *run_folders(runs), *folders_of(runs, "p", "r1")])
        delete(path, **given)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    folder.remove_if_empty()
    assert seen == [False]
    assert list(runs.iterdir()) == []


def test_a_folder_in_which_the_user_has_something_stays(tmp_path: Path) -> None:
    described = Description(None, "p", "r1", "w", "online", None, 0.0)
    folder = RunFolder.create(tmp_path, described)
    (folder.path / "notes.txt").touch()
    folder.remove_if_empty()
    assert folder.describe() == described
    folder.unlock()
