"""Reading journals back: from a process that writes, after a crash, and after damage."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from asyncwb.engine.frames.pipeline import FoundSegments, Reader, verify
from asyncwb.engine.journal.journal import Journal
from asyncwb.engine.journal.segment import DATA_START, Segment
from tests.engine.lab import SMALL, Row, events_of, frames_of, rows_of, writer


def logged(folder: Path) -> list[Row]:
    """Log rows of several shapes into three segments, the first of few bytes; return them."""
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        for part in range(3):
            for i in range(6):
                w.inbox.log({"i": i, "x": i / 3} if i % 3 else {"i": i, "s": "text", "l": [part]})
            if part < 2:
                w.inbox.log({"large": "x" * SMALL})  # goes into a segment of its own size
        w.inbox.event({"t": "finish"})
        rows = w.rows()
        shutil.copytree(w.journal.folder, folder)
    return rows


def recovered(folder: Path) -> tuple[list[Row], int, bool]:
    """What can be read of a journal: rows, how many are said to be lost, whether it is damaged."""
    segments = FoundSegments(folder)
    frames = frames_of(Reader(segments))
    return rows_of(frames), sum(frame.lost for frame in frames), bool(segments.damage)


def check_prefixes(
    folder: Path, damaged: Path, rows: list[Row], parts: dict[str, list[Row]]
) -> None:
    """Whatever is read is a prefix of the damaged segment, and all of the others."""
    found, _, _ = recovered(folder)
    before = [row for name, part in parts.items() if name < damaged.name for row in part]
    after = [row for name, part in parts.items() if name > damaged.name for row in part]
    assert found[: len(before)] == before
    middle = len(found) - len(after)
    assert middle >= len(before)
    assert found[middle:] == after
    part = parts[damaged.name]
    assert found[len(before) : middle] == part[: middle - len(before)]


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, list[Row], dict[str, list[Row]]]:
    """A journal's folder, its rows, and the rows of each segment."""
    folder = tmp_path / "journal"
    rows = logged(folder)
    parts: dict[str, list[Row]] = {}
    for path in sorted(folder.iterdir()):
        alone = tmp_path / "alone"
        alone.mkdir(exist_ok=True)
        shutil.copy(path, alone / path.name)
        parts[path.name] = list(recovered(alone)[0])
        (alone / path.name).unlink()
    assert [row for part in parts.values() for row in part] == rows
    assert len(parts) >= 3
    return folder, rows, parts


def test_a_truncated_segment_gives_a_prefix(
    damaged: tuple[Path, list[Row], dict[str, list[Row]]],
) -> None:
    folder, rows, parts = damaged
    path = min(folder.iterdir())
    data = path.read_bytes()
    used = verify(memoryview(data))[0]
    for size in [*range(used + 1), SMALL - 1]:
        path.write_bytes(data[:size])
        check_prefixes(folder, path, rows, parts)


def test_a_flipped_byte_gives_a_prefix_and_is_reported(
    damaged: tuple[Path, list[Row], dict[str, list[Row]]],
) -> None:
    folder, rows, parts = damaged
    path = min(folder.iterdir())
    data = path.read_bytes()
    used, count, _ = verify(memoryview(data))
    for at in range(used):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        path.write_bytes(bytes(flipped))
        check_prefixes(folder, path, rows, parts)
        found, lost, reported = recovered(folder)
        in_header = 32 <= at < DATA_START  # what fills the header up says nothing
        assert reported != in_header
        assert len(found) + lost == len(rows) if not in_header else found == rows
    assert count == len(parts[path.name])


def test_the_last_segment_cut_short_loses_only_its_end(
    damaged: tuple[Path, list[Row], dict[str, list[Row]]],
) -> None:
    folder, rows, _ = damaged
    path = max(folder.iterdir())
    data = path.read_bytes()
    used, count, _ = verify(memoryview(data))
    seen = set()
    for size in range(used - 500, used + 1):
        path.write_bytes(data[:size])
        found, lost, _ = recovered(folder)
        assert found == rows[: len(found)]
        assert lost == 0
        seen.add(len(found))
    assert len(seen) == 8, "every record before the cut is read"
    assert found == rows
    assert count == 8


def test_a_missing_segment_is_a_lost_frame(tmp_path: Path) -> None:
    rows = logged(tmp_path / "journal")
    sorted((tmp_path / "journal").iterdir())[1].unlink()
    found, lost, _ = recovered(tmp_path / "journal")
    assert len(found) + lost == len(rows)
    assert lost > 0


@pytest.mark.parametrize("use_map", [True, False], ids=["mapped", "write(2)"])
def test_a_reader_follows_a_journal_that_grows(use_map: bool) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL, use_map=use_map) as w:
        reader = Reader(FoundSegments(w.journal.folder, live=True))
        found: list[Row] = []
        for i in range(600):
            w.inbox.log({"i": i})
            if i % 7 == 0:
                w.journal.prepare()  # a segment without a header lies beside the current one
            if i % 5 == 0:
                # That a segment is closed is seen at one look, and believed at the next.
                found += rows_of(frames_of(reader) + frames_of(reader))
                assert len(found) == i + 1
        found += rows_of(frames_of(reader) + frames_of(reader))
        assert [row["i"] for row in found] == list(range(600))


def test_as_many_segments_are_made_ahead_as_were_used_and_stay_in_order() -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        count = 0
        while len(w.journal.segments) < 4:
            w.inbox.log({"i": count})
            count += 1
        w.journal.prepare()
        ahead = list(w.journal.spares)
        assert len(ahead) > 2
        w.inbox.log({"i": count, "large": "x" * SMALL})  # fits none of them
        for i in range(count + 1, count + 300):
            w.inbox.log({"i": i})
        assert not any(spare.path.exists() for spare in ahead), "numbers behind it would be lost"
        found = rows_of(frames_of(Reader(FoundSegments(w.journal.folder, live=True))))
        assert [row["i"] for row in found] == list(range(count + 300))


def test_a_spare_that_is_started_between_two_looks_makes_no_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with writer(first_capacity=SMALL, max_capacity=SMALL) as w:
        for i in range(3):
            w.inbox.log({"i": i})
        w.journal.prepare()
        segments = FoundSegments(w.journal.folder, live=True)
        reader = Reader(segments)
        frames = frames_of(reader)
        after = segments.after

        def late(index: int) -> Segment | None:
            for i in range(3, 300):  # while the reader goes from one segment to the next
                w.inbox.log({"i": i})
            monkeypatch.undo()
            return after(index)

        monkeypatch.setattr(segments, "after", late)
        for _ in range(3):
            frames += frames_of(reader)
        if segments.after is late:  # it did not even ask
            late(0)
            frames += frames_of(reader)
        assert not any(frame.lost for frame in frames)
        assert [row["i"] for row in rows_of(frames)] == list(range(300))


_LOGGER = """
import sys
from pathlib import Path
from asyncwb.engine.journal.inbox import Inbox
from asyncwb.engine.journal.journal import Journal
from asyncwb.wire.history import StepRule
inbox = Inbox(Journal(Path(sys.argv[1]), first_capacity=4096), StepRule())
for i in range(20000):
    inbox.log({"i": i, "x": i / 2})
print("done", flush=True)
sys.stdin.read()
"""


def test_another_process_reads_while_one_logs_at_full_speed(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _LOGGER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader = Reader(FoundSegments(folder, live=True))
        found: list[int] = []
        while len(found) < 20_000:
            assert process.poll() is None
            frames = frames_of(reader)
            assert not any(frame.lost for frame in frames)
            found += [row["i"] for row in rows_of(frames)]
        process.kill()  # it did not close anything
        process.stdin.close()
    assert found == list(range(20_000))
    assert len(frames_of(Reader(FoundSegments(folder)))) > 0
    assert [row["i"] for row in rows_of(frames_of(Reader(FoundSegments(folder))))] == found


def test_events_stand_where_they_happened() -> None:
    with writer(first_capacity=SMALL) as w:
        w.inbox.event({"t": "start"})
        w.inbox.log({"a": 1})
        w.inbox.event({"t": "config"})
        w.inbox.log({"a": 2})
        w.inbox.close({"t": "finish"})
        (frame,) = frames_of(Reader(FoundSegments(w.journal.folder)))
        assert [(at, event["t"]) for at, event in frame.events] == [
            (0, "start"),
            (1, "config"),
            (2, "finish"),
        ]
        assert events_of([frame.skip(2)]) == [{"t": "config"}, {"t": "finish"}]


def test_a_strange_file_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    rows = logged(tmp_path / "journal")
    (tmp_path / "journal" / "notes.txt").write_text("x")
    assert recovered(tmp_path / "journal") == (rows, 0, False)


def test_an_empty_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", first_capacity=SMALL)
    assert recovered(journal.folder) == ([], 0, False)
    journal.close(delete=True)
    assert not journal.folder.exists()


def test_a_page_of_zeros_is_reported(
    damaged: tuple[Path, list[Row], dict[str, list[Row]]],
) -> None:
    """A power loss may take one page of a file and leave those behind it."""
    folder, rows, parts = damaged
    path = min(folder.iterdir())
    data = path.read_bytes()
    (end,) = struct.unpack_from("<I", data, DATA_START + 8)  # of the first record
    for start in (DATA_START, DATA_START + end):
        path.write_bytes(data[:start] + bytes(160) + data[start + 160 :])
        check_prefixes(folder, path, rows, parts)
        assert recovered(folder)[2]


@pytest.mark.parametrize("unwritten", [slice(0, 8), slice(0, 40), slice(24, None), slice(8, 16)])
def test_a_record_in_which_the_process_was_killed_is_no_damage(
    damaged: tuple[Path, list[Row], dict[str, list[Row]]], unwritten: slice
) -> None:
    """Its checksum is written last; what of the rest was written first is up to the machine."""
    folder, rows, parts = damaged
    path = min(folder.iterdir())
    data = bytearray(path.read_bytes())
    used, count, _ = verify(memoryview(data))
    at = DATA_START
    while (size := struct.unpack_from("<I", data, at + 8)[0]) and at + size < used:
        at += size
    torn = bytearray(data[at:used])
    torn[unwritten] = bytes(len(torn[unwritten]))
    data[at:used] = bytes(8) + torn[8:]
    assert verify(memoryview(data)) == (at, count - 1, "")
    path.write_bytes(data)
    check_prefixes(folder, path, rows, parts)
    assert not recovered(folder)[2]
