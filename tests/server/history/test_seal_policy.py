"""Which small segments are merged with what is being sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncwb.server.history.seal import SealPolicy, absorb
from asyncwb.server.store.runs.segments import SegmentRow


def segment(rows: int, columns: int = 3) -> SegmentRow:
    return SegmentRow(0, "", rows, 0, 0, 1, 0, columns=(("a", "a", "f"),) * columns)


def chosen(sizes: Sequence[int], rows: int, *, running: bool, **policy: Any) -> list[int]:
    segments = [segment(size) for size in sizes]
    return [row.rows for row in absorb(segments, rows, running, SealPolicy(**policy))]


def test_small_segments_are_merged_like_binary_digits() -> None:
    assert chosen([400, 100], 100, running=True) == [100]
    assert chosen([400, 200, 100], 100, running=True) == [400, 200, 100]
    assert chosen([400], 100, running=True) == []
    assert chosen([400, 400], 500, running=True, full=400) == []
    assert chosen([70_000, 80_000], 1, running=False) == [70_000, 80_000]
    assert chosen([900_000, 200_000], 1, running=False) == [200_000]
    assert chosen([50], 0, running=False) == []
    assert chosen([50, 60], 0, running=False) == [50, 60]
    sizes: list[int] = []
    work = 0
    for _ in range(512):
        taken = chosen(sizes, 64, running=True)
        work += sum(taken) + 64
        sizes = [*sizes[: len(sizes) - len(taken)], sum(taken) + 64]
    assert len(sizes) <= 10
    assert work <= 512 * 64 * 11
