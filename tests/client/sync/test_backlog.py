"""What waits on disk, while somebody else clears it away."""

from __future__ import annotations

from pathlib import Path

import asyncwb
from asyncwb.client.sync.backlog import look, unsent


def test_a_folder_that_vanishes_is_left_out(tmp_path: Path) -> None:
    settings = asyncwb.Settings(mode="offline", data_dir=tmp_path)
    for id in ("gone", "kept"):
        with asyncwb.init(project="p", id=id, settings=settings) as run:
            run.log({"x": 1})
    gone, kept = sorted(settings.runs_dir.glob("*/"))
    (gone / "run.json").unlink()
    assert look(gone) is None
    assert [run.path for run in unsent(settings.runs_dir)] == [kept]
