"""The journal on its disk: what is forced there, what is made ahead, and who waits for it."""

from __future__ import annotations

import pytest

from asyncwb.engine.journal import find_segments
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
