"""Where a run's rows are, ready to be read: sealed files and the decoded live tail.

A `View` is one consistent moment of a run. Frames and segments never change once they are there,
so what was decoded for one reader serves the next: a live page that asks every second decodes
only the frames of that second. Both caches have a bound.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncwb.server.objects import Objects
from asyncwb.server.parquet import Segment
from asyncwb.server.series import Rollup
from asyncwb.server.store.segments import FrameRow, SegmentRow, Segments
from asyncwb.server.threads import READERS, Threads
from asyncwb.wire import frames
from asyncwb.wire.columns import Table

_MEMORY: Final = 128 * 2**20
"""bytes that decoded frames, and as many that decoded rollups, may take."""
_FOOTERS: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One moment of a run: segments, oldest first, then the tables of the tail, in order."""

    segments: tuple[SegmentRow, ...]
    tail: tuple[Table, ...]


class Sources:
    """Opens a server's history. Its coroutines belong to one loop; `open` may run anywhere.

    `threads` are those of everybody who reads.
    """

    def __init__(self, store: Segments, objects: Objects, memory: int = _MEMORY) -> None:
        self.store = store
        self.threads = Threads("reader", READERS)
        self._objects = objects
        self._memory = memory
        # State of the loop: decoded frames by run, the run read last at the end; rollups; samples.
        self._tails: OrderedDict[int, dict[int, Table]] = OrderedDict()
        self._rollups: OrderedDict[tuple[int, str], Rollup] = OrderedDict()
        self._samples: OrderedDict[int, Table] = OrderedDict()
        # Shared by threads, under the lock: footers of segments by path.
        self._footers: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    async def view(self, run_id: int) -> View:
        """Return one consistent moment of a run; decodes frames that it has not seen yet."""
        have = self._tails.get(run_id, {})
        holdings = await self.store.holdings(run_id, have)
        new = [row for row in holdings.frames if row.data is not None and row.rows]
        decoded = dict(zip((r.id for r in new), await self.threads.run(_decode, new), strict=True))
        tables = {
            row.id: decoded[row.id] if row.id in decoded else have[row.id]
            for row in holdings.frames
            if row.rows
        }
        self._keep_tail(run_id, tables)
        return View(holdings.segments, tuple(tables.values()))

    def _keep_tail(self, run_id: int, tables: dict[int, Table]) -> None:
        self._tails.pop(run_id, None)
        if tables:
            self._tails[run_id] = tables
        total = sum(_size(table) for tail in self._tails.values() for table in tail.values())
        while total > self._memory and self._tails:
            _, dropped = self._tails.popitem(last=False)
            total -= sum(_size(table) for table in dropped.values())

    async def rollups(self, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Rollup]:
        """Return the rollup of each (segment, key) that has one."""
        have = {place: self._rollups[place] for place in wanted if place in self._rollups}
        missing = [place for place in wanted if place not in have]
        if missing:
            data = await self.store.rollups(missing)
            have.update(zip(data, await self.threads.run(_rollups, data.values()), strict=True))
        for place, rollup in have.items():
            self._rollups[place] = rollup
            self._rollups.move_to_end(place)
        total = sum(80 * len(rollup) for rollup in self._rollups.values())
        while total > self._memory:
            total -= 80 * len(self._rollups.popitem(last=False)[1])
        return have

    async def samples(self, segment_ids: Sequence[int]) -> dict[int, Table]:
        """Return rows of each segment, evenly spread, where sealing kept some."""
        missing = [i for i in segment_ids if i not in self._samples]
        if missing:
            data = await self.store.samples(missing)
            decoded = await self.threads.run(_decode_all, list(data.values()))
            self._samples.update(zip(data, decoded, strict=True))
        have = {i: self._samples[i] for i in segment_ids if i in self._samples}
        for i in have:
            self._samples.move_to_end(i)
        total = sum(_size(table) for table in self._samples.values())
        while total > self._memory // 4:
            total -= _size(self._samples.popitem(last=False)[1])
        return have

    def open(self, row: SegmentRow) -> Segment:
        """Open a sealed segment; blocks.

        Raises:
            FileNotFoundError: it was merged into another one meanwhile.
        """
        with self._lock:
            footer = self._footers.get(row.path)
        segment = Segment(self._objects.reader(row.path, row.size), footer)
        with self._lock:
            self._footers[row.path] = segment.footer
            self._footers.move_to_end(row.path)
            while len(self._footers) > _FOOTERS:
                self._footers.popitem(last=False)
        return segment


class Opened:
    """The segments that one reader has open, each once. Belongs to one thread; closes them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._segments: dict[int, Segment] = {}

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        for segment in self._segments.values():
            segment.close()

    def segment(self, row: SegmentRow) -> Segment:
        """Return an open segment.

        Raises:
            FileNotFoundError: it was merged into another one meanwhile.
        """
        if row.id not in self._segments:
            self._segments[row.id] = self._sources.open(row)
        return self._segments[row.id]


def _rollups(data: Iterable[bytes]) -> list[Rollup]:
    return [Rollup.decode(one) for one in data]


def _decode(rows: Sequence[FrameRow]) -> list[Table]:
    return _decode_all([row.data for row in rows if row.data is not None])


def _decode_all(data: Sequence[bytes]) -> list[Table]:
    return [frames.decode(one).table for one in data]


def _size(table: Table) -> int:
    texts = sum(len(column.values) for column in table.texts)
    return sum(block.words.nbytes for block in table.blocks) + 64 * texts
