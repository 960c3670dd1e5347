"""Torn and flipped bytes: what stands before the damage arrives, the rest is reported."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from asyncwb.client.sync.sync import SyncResult, sync
from asyncwb.engine.journal.records import DEFINE, HEAD, HEAD_SIZE
from asyncwb.engine.journal.segment import DATA_START
from asyncwb.settings import Settings
from asyncwb.wire.rows.frames import peek
from tests.faults import oracle
from tests.fix_faults import Lab, Tally, Target, seeds
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)

NOWHERE = Target("http://127.0.0.1:9", "k" * 40)
SEGMENT = "journal/00000000.seg"


def records(data: bytes) -> list[tuple[int, int, int]]:
    """Return (start, end, kind) of a segment's records."""
    found, at = [], DATA_START
    while at + HEAD_SIZE <= len(data):
        _, size, kind, _, _, _ = HEAD.unpack_from(data, at)
        if not size:
            break
        found.append((at, at + size, kind))
        at += size
    return found


class Copies:
    """Copies of a run's folder, each a run of its own, each with other damage."""

    def __init__(self, folder: Path, original: Path) -> None:
        self.folder = folder
        self.original = original
        self._about = json.loads((original / "run.json").read_bytes())

    def make(self, run: str, file: str, data: bytes) -> None:
        """Make a copy that has this in one of its files."""
        copy = self.folder / run
        shutil.copytree(self.original, copy)
        (copy / file).write_bytes(data)
        (copy / "run.json").write_text(json.dumps({**self._about, "run": run}))

    def sync(self, target: Target) -> dict[str, SyncResult]:
        """Sync them all, as `asyncwb sync` does; returns the result of each."""
        settings = Settings(base_url=target.url, api_key=target.key, data_dir=self.folder)
        results = asyncio.run(
            sync([self.folder], settings=settings, jobs=4, report=lambda progress: None)
        )
        return {result.path.name: result for result in results}


@pytest.fixture
def target(server: ServerHandle) -> Target:
    """The server that rows are synced to."""
    return Target(server.url, server.api_key)


def journal_of(lab: Lab, rows: int, tmp_path: Path) -> Copies:
    """Log without a server, kill, and return the journal that is left."""
    trainee = lab.train(NOWHERE, "run", rows=None, pace=0.0001 if rows < 1_000 else 0.0)
    trainee.wait_rows(rows)
    trainee.kill()
    (original,) = lab.run_folders()
    copies = tmp_path / "copies"
    copies.mkdir()
    return Copies(copies, original)


def arrived(target: Target, run: str) -> int:
    """How many rows of a run arrived, checked to be the first ones of it."""
    if not oracle.exists(target, run):
        return 0
    numbers = oracle.received(target, run)
    assert numbers.tolist() == list(range(len(numbers)))
    return len(numbers)


def test_a_journal_truncated_at_every_byte_of_its_last_records(
    lab: Lab, target: Target, tmp_path: Path, tally: Tally
) -> None:
    copies = journal_of(lab, 60, tmp_path)
    data = (copies.original / SEGMENT).read_bytes()
    found = records(data)
    rows = [end for _, end, kind in found if kind != DEFINE][1:]  # the first is an event
    whole = {end for _, end, _ in found}
    first, last = found[-2][0], found[-1][1]
    for size in range(first, last + 1):
        copies.make(f"at{size}", SEGMENT, data[:size])
    results = copies.sync(target)
    for size in range(first, last + 1):
        expected = sum(end <= size for end in rows)
        assert arrived(target, f"at{size}") == expected
        assert (results[f"at{size}"].error is None) == (size in whole), f"truncated at {size}"
    tally(truncations=last + 1 - first, rows=len(rows))


@seeds(1)
def test_a_journal_with_a_flipped_byte_anywhere(
    lab: Lab, target: Target, tmp_path: Path, seed: int, tally: Tally
) -> None:
    chance = random.Random(seed)
    copies = journal_of(lab, 60, tmp_path)
    data = (copies.original / SEGMENT).read_bytes()
    found = records(data)
    header = list(range(32))  # what follows, up to DATA_START, is empty
    places = header + chance.sample(range(DATA_START, found[-1][1]), 60)
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        copies.make(f"at{place}", SEGMENT, bytes(flipped))
    results = copies.sync(target)
    for place in places:
        before = [r for r in found if r[2] != DEFINE and r[1] <= place]
        assert arrived(target, f"at{place}") == max(0, len(before) - 1), f"flipped at {place}"
        assert results[f"at{place}"].error, f"flipped at {place}, and nothing was said"
    tally(flipped_bytes=len(places))


def test_damage_in_the_middle_is_a_gap_that_both_ends_report(
    lab: Lab, target: Target, tmp_path: Path, tally: Tally
) -> None:
    copies = journal_of(lab, 30_000, tmp_path)
    second = "journal/00000001.seg"
    damaged = bytearray((copies.original / second).read_bytes())
    start = records(bytes(damaged))[1_000][0]
    damaged[start + 20] ^= 0xFF
    copies.make("damaged", second, bytes(damaged))
    copies.make("sound", "lock", b"")
    done = lab.sync(target, copies.folder)
    assert done.returncode == 1, "damage makes the exit code 1"
    assert "fails its checksum" in done.stdout
    sound = arrived(target, "sound")  # the others go on
    assert sound >= 30_000
    numbers, about = oracle.received(target, "damaged"), oracle.info(target, "damaged")
    gap = np.flatnonzero(np.diff(numbers) > 1)
    assert len(gap) == 1
    missing = int(numbers[gap[0] + 1] - numbers[gap[0]] - 1)
    assert missing > 0
    assert (numbers[0], numbers[-1]) == (0, sound - 1)
    assert about["lost"] == missing == sound - len(numbers)
    assert f"{missing:,}" in done.stdout
    tally(flipped_bytes=1, rows=sound + len(numbers), rows_lost_and_counted=missing)


def test_a_journal_of_another_format_is_left_alone(
    lab: Lab, target: Target, tmp_path: Path
) -> None:
    copies = journal_of(lab, 100, tmp_path)
    other = bytearray((copies.original / SEGMENT).read_bytes())
    struct.pack_into("<H", other, 4, 7)
    struct.pack_into("<I", other, 28, zlib.crc32(other[:28]))
    copies.make("other", SEGMENT, bytes(other))
    (result,) = (r for r in copies.sync(target).values() if r.path.name == "other")
    assert "format 7" in str(result.error)
    assert (copies.folder / "other" / SEGMENT).read_bytes() == other


def sealed_of(lab: Lab, tmp_path: Path) -> tuple[Copies, bytes]:
    """An offline run of several sealed frames, and their bytes."""
    lab.train(NOWHERE, "run", mode="offline", rows=600, flush_every=50).end()
    (original,) = lab.run_folders()
    copies = tmp_path / "copies"
    copies.mkdir()
    return Copies(copies, original), (original / "sealed/frames.awf").read_bytes()


def test_a_sealed_file_that_is_truncated_or_flipped(
    lab: Lab, target: Target, tmp_path: Path, tally: Tally
) -> None:
    copies, data = sealed_of(lab, tmp_path)
    sizes = sorted({*_frame_ends(data)[:3], *range(0, len(data), len(data) // 24)})
    for size in sizes:
        flipped = bytearray(data)
        flipped[size] ^= 0x10
        copies.make(f"cut{size}", "sealed/frames.awf", data[:size])
        copies.make(f"flip{size}", "sealed/frames.awf", bytes(flipped))
    results = copies.sync(target)
    counts = [arrived(target, f"cut{size}") for size in sizes]
    assert counts == sorted(counts)
    assert len(set(counts)) > 4, "every frame before the damage arrives"
    ends = [*_frame_ends(data), len(data)]
    for size, count in zip(sizes, counts, strict=True):
        hit = next(i for i, end in enumerate(ends) if end > size)
        before, after = ends[hit - 1], ends[hit]
        missing = peek(data, before).rows
        numbers = oracle.received(target, f"flip{size}").tolist()
        assert numbers == [*range(count), *range(count + missing, 600)], f"flipped at {size}"
        lost = peek(data, before).count if after < len(data) else 0
        lost -= results[f"flip{size}"].lacks_start  # which is told apart
        assert results[f"flip{size}"].lost == lost, "what is behind the end, nobody knows"
        assert results[f"flip{size}"].lacks_start == (before == 0)
        assert results[f"flip{size}"].error, f"flipped at {size}, and nothing was said"
        cut = results.get(f"cut{size}")  # an empty file is nothing that waits
        assert bool(cut and cut.error) == (size not in _frame_ends(data)), f"cut at {size}"
    tally(truncations=len(sizes), flipped_bytes=len(sizes))


def _frame_ends(data: bytes) -> list[int]:
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + peek(data, ends[-1]).size)
    return ends[:-1]
