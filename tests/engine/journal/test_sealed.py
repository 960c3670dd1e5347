"""Sealed files: what an append says it has written can be read back, whatever the disk does."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.frames.source import JournalSource, Prepared, SealedSource
from asyncwb.engine.journal.journal import Journal
from asyncwb.engine.journal.sealed import SealedFile, SealedFrames
from asyncwb.wire.rows.columns import FLOAT, Column, Table
from asyncwb.wire.rows.frames import encode
from tests.fix_disk import Disk, Room


def frames(first: int, count: int) -> list[bytes]:
    """Make so many frames of three rows each, from a number on."""
    table = Table.from_columns(3, [Column("i", FLOAT, np.arange(3.0))])
    return [encode(seq, table) for seq in range(first, first + 3 * count, 3)]


def firsts(folder: Path) -> list[int]:
    """The first numbers of the frames that can be read."""
    return [info.first_seq for info, _ in SealedFrames(folder)]


def source(folder: Path, seq: int = 0) -> SealedSource:
    """What a sync sends: the sealed file, and no journal."""
    journal = JournalSource(Reader(LiveSegments(Journal(folder / "journal"))))
    return SealedSource(folder, journal, seq)


def given(found: SealedSource) -> list[Prepared]:
    """All that a source gives; its numbers follow each other."""
    made = list(iter(found.next, None))
    assert all(a.end_seq >= b.first_seq for a, b in itertools.pairwise(made))
    return made


@pytest.mark.parametrize("truncates", [True, False])
def test_a_disk_that_is_full_after_any_number_of_bytes(
    tmp_path: Path, room: Room, truncates: bool
) -> None:
    first, second, third = frames(0, 2), frames(6, 2), frames(12, 1)
    size = len(b"".join(second))
    for n in range(size):
        folder = tmp_path / str(n)
        file = SealedFile(folder)
        file.append(first)
        room.left, room.truncates = n, truncates
        with pytest.raises(OSError, match="No space left"):
            file.append(second)
        assert firsts(folder)[:2] == [0, 3], f"full after {n} bytes"
        room.left = 2**40
        file.append(second)
        file.append(third)
        assert firsts(folder) == [0, 3, 6, 9, 12], f"full after {n} bytes"
        assert not given(source(folder))[-1].lost


def test_what_the_disk_does_not_give_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.pread", lambda fd, size, at: b"\0" * size)
    file = SealedFile(tmp_path)
    with pytest.raises(OSError, match="cannot be read back"):
        file.append(frames(0, 1))
    monkeypatch.undo()
    assert firsts(tmp_path) == []
    file.append(frames(0, 1))
    assert firsts(tmp_path) == [0]


def test_the_names_of_a_new_file_are_forced_to_the_disk(tmp_path: Path, watched_disk: Disk) -> None:
    folder = (tmp_path / "sealed").resolve()
    file = SealedFile(folder)
    watched_disk.refuses = lambda path: path == folder.parent
    with contextlib.suppress(OSError):
        file.append(frames(0, 1))
    file.append(frames(0, 1))
    assert {folder / "frames.awf", folder, folder.parent} <= {*watched_disk.forced}
    assert firsts(folder) == [0]


def test_a_tear_between_frames_is_stepped_over(tmp_path: Path) -> None:
    """As older releases left them: half of an append, then all of it, then more."""
    made = frames(0, 5)
    torn = made[2][:-7]
    (tmp_path / "frames.awf").write_bytes(b"".join([*made[:2], torn, *made[2:]]))
    found = source(tmp_path)
    assert [p.first_seq for p in given(found)] == [0, 3, 6, 9, 12]
    assert not found.damage, "nothing is missing"
    again = [*made[:3], made[3][:40], *made[1:]]
    (tmp_path / "frames.awf").write_bytes(b"".join(again))
    assert firsts(tmp_path) == [0, 3, 6, 9, 12]


def test_a_damaged_frame_is_counted_and_those_behind_it_are_given(tmp_path: Path) -> None:
    made = frames(0, 4)
    for at in range(len(made[1])):
        damaged = bytearray(made[1])
        damaged[at] ^= 0x41
        (tmp_path / "frames.awf").write_bytes(b"".join([made[0], bytes(damaged), *made[2:]]))
        found = source(tmp_path)
        got = [(p.first_seq, p.rows, p.lost) for p in given(found)]
        assert got == [(0, 3, 0), (3, 0, 3), (6, 3, 0), (9, 3, 0)], f"damaged at {at}"
        assert ["3 rows or events are missing" in text for text in found.damage] == [True]
        assert [p.first_seq for p in given(found.restart(4))] == [4, 6, 9]


def test_an_end_that_is_torn_is_said_unless_the_journal_goes_on(tmp_path: Path) -> None:
    made = frames(0, 3)
    (tmp_path / "frames.awf").write_bytes(b"".join(made)[:-1])
    found = source(tmp_path)
    assert [p.first_seq for p in given(found)] == [0, 3]
    assert "no whole frame" in found.damage[0]
