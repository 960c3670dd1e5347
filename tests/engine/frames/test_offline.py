"""Offline runs: the rows of a slow one gather before they are sealed, unless somebody waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from asyncwb.engine.frames import offline
from asyncwb.engine.frames.offline import Sealer
from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.frames.source import JournalSource
from asyncwb.engine.journal.folder import Description, RunFolder
from asyncwb.engine.journal.sealed import SealedFile, SealedFrames
from asyncwb.wire.stream import StreamHead
from tests.engine.lab import writer


def seal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, gather: float, appends: int
) -> tuple[Path, list[float]]:
    """Seal a run that logs a row during each of so many appends, and closes during the last.

    Returns:
        The folder of the sealed file, and when each append ended, in seconds.
    """
    monkeypatch.setattr(offline, "_GATHER", gather)
    append, ends = SealedFile.append, []
    run = RunFolder.create(folder, Description(None, "p", "r", "w1", "offline", None, 0.0))

    with writer() as w:
        box = Outbox(
            StreamHead(None, "p", "r", "w1"),
            JournalSource(Reader(LiveSegments(w.journal))),
            Progress(),
        )

        def append_and_log(file: SealedFile, frames: Sequence[bytes]) -> None:
            append(file, frames)
            ends.append(time.monotonic())
            if len(ends) <= appends:
                w.inbox.log({"i": len(ends)})
            if len(ends) == appends:
                box.close()

        monkeypatch.setattr(SealedFile, "append", append_and_log)
        w.inbox.log({"i": 0})
        asyncio.run(Sealer(run, box).run(0.01))
    run.unlock()
    return run.sealed, ends


def test_rows_gather_between_two_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ends = seal(tmp_path, monkeypatch, gather=0.1, appends=3)
    first, second, third, _last = ends
    assert min(second - first, third - second) >= 0.1


def test_rows_that_somebody_waits_for_do_not_gather(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, _ = seal(tmp_path, monkeypatch, gather=3600.0, appends=1)
    found = [info.first_seq for info, _ in SealedFrames(sealed)]
    assert found == [0, 1]
