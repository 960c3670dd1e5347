"""Where a run's rows are, ready to be read: sealed files and the decoded live tail.

A `View` is one consistent moment of a run. Frames and segments never change once they are there,
so what was decoded for one reader serves the next: a live page that asks every second decodes
only the frames of that second. Both caches have a bound.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Container, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

import anyio
from pyarrow.parquet import FileMetaData  # type: ignore[import-untyped]

from asyncwb.errors import FrameError
from asyncwb.server.history import wide
from asyncwb.server.history.segment import Segment
from asyncwb.server.history.series import Rollup
from asyncwb.server.history.wide import Axis
from asyncwb.server.objects.damage import DamagedError, Missing, lost
from asyncwb.server.objects.objects import Objects
from asyncwb.server.process.threads import READERS, Threads
from asyncwb.server.store.runs.segments import (
    FrameRow,
    Holdings,
    SegmentFile,
    SegmentRow,
    Segments,
)
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Table

log = logging.getLogger("asyncwb.server")

_MEMORY: Final = 128 * 2**20
"""bytes that decoded frames, and as many that decoded rollups, may take."""
_CHUNKS: Final = 200_000
"""column chunks that kept footers describe together; each takes some 400 bytes"""
_ENTRY: Final = 600
_ID: Final = 40
"""bytes of a kept chart beside its JSON, and of each id of what it is of"""
_FOOTER: Final = 16
"""chunks that a footer is counted as beside its own"""


S = TypeVar("S", bound=SegmentFile, covariant=True)
ViewId: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""the ids of segments, and of the frames of the tail that have rows, damaged ones too"""
ChartId: TypeAlias = tuple[ViewId, Hashable]
"""what a chart is of, and how it was asked for"""


@dataclass(frozen=True, slots=True, eq=False)
class View(Generic[S]):
    """One moment of a run: segments, oldest first, then the tables of the tail, in order.

    `missing` are frames of the tail that are damaged; `id` is that of no other content.
    """

    id: ViewId

    segments: tuple[S, ...]
    tail: tuple[Table, ...]
    missing: tuple[Missing, ...] = ()


class Sources:
    """Opens a server's history. Its coroutines belong to one loop; `open` may run anywhere.

    `threads` are those of everybody who reads.
    """

    def __init__(self, store: Segments, objects: Objects, memory: int = _MEMORY) -> None:
        self.store = store
        self.threads = Threads("reader", READERS)
        self.charts = Charts(memory // 2)
        self.in_python = anyio.CapacityLimiter(1)
        """for whoever has Python work on each row"""
        self._objects = objects
        self._memory = memory
        # State of the loop: decoded frames by run, the run read last at the end; rollups; samples.
        self._tails: OrderedDict[int, dict[int, Table]] = OrderedDict()
        self._rollups: OrderedDict[tuple[int, str], Rollup] = OrderedDict()
        self._samples: OrderedDict[int, Table] = OrderedDict()
        # Shared by threads, under the lock: footers of segments by path, and what they describe.
        self._footers: OrderedDict[str, FileMetaData] = OrderedDict()
        self._chunks = 0
        self._lock = threading.Lock()

    async def view(self, run_id: int) -> View[SegmentRow]:
        """Return one consistent moment of a run; decodes frames that it has not seen yet."""
        return await self._view(run_id, self.store.holdings)

    async def outline(self, run_id: int) -> View[SegmentFile]:
        """Return the same without the segments' columns."""
        return await self._view(run_id, self.store.outline)

    async def _view(
        self, run_id: int, read: Callable[[int, Container[int]], Awaitable[Holdings[S]]]
    ) -> View[S]:
        have = self._tails.get(run_id, {})
        holdings = await read(run_id, have)
        new = [row for row in holdings.frames if row.data is not None and row.rows]
        decoded, damaged = await self.threads.run(_decode, new)
        tables = {
            row.id: decoded[row.id] if row.id in decoded else have[row.id]
            for row in holdings.frames
            if row.id in decoded or row.id in have
        }
        self._keep_tail(run_id, tables)
        there = (
            tuple(row.id for row in holdings.segments),
            tuple(row.id for row in holdings.frames if row.rows),
        )
        return View(there, holdings.segments, tuple(tables.values()), tuple(damaged))

    def _keep_tail(self, run_id: int, tables: dict[int, Table]) -> None:
        self._tails.pop(run_id, None)
        if tables:
            self._tails[run_id] = tables
        total = sum(_size(table) for tail in self._tails.values() for table in tail.values())
        while total > self._memory and self._tails:
            _, dropped = self._tails.popitem(last=False)
            total -= sum(_size(table) for table in dropped.values())

    async def rollups(
        self, wanted: Collection[tuple[int, str]]
    ) -> dict[tuple[int, str], Rollup | None]:
        """Return the rollup of each (segment, key) that has one; None stands for a damaged one.

        Of one that is not there, `store.columns` says whether the key has no numbers in the
        segment, or the segment is gone.
        """
        have: dict[tuple[int, str], Rollup | None] = {
            place: self._rollups[place] for place in wanted if place in self._rollups
        }
        missing = [place for place in wanted if place not in have]
        if missing:
            data = await self.store.rollups(missing)
            of_wide = {segment for (segment, _), one in data.items() if wide.is_values(one)}
            axes = await self.store.axes(sorted(of_wide)) if of_wide else {}
            have.update(await self.threads.run(_rollups, data, axes))
        for place, rollup in have.items():
            if rollup is not None:
                self._rollups[place] = rollup
                self._rollups.move_to_end(place)
        total = sum(80 * len(rollup) for rollup in self._rollups.values())
        while total > self._memory:
            total -= 80 * len(self._rollups.popitem(last=False)[1])
        return have

    async def samples(self, segment_ids: Sequence[int]) -> dict[int, Table]:
        """Return rows of each segment, evenly spread, where sealing kept some, undamaged."""
        missing = [i for i in segment_ids if i not in self._samples]
        if missing:
            data = await self.store.samples(missing)
            self._samples.update(await self.threads.run(_samples, data))
        have = {i: self._samples[i] for i in segment_ids if i in self._samples}
        for i in have:
            self._samples.move_to_end(i)
        total = sum(_size(table) for table in self._samples.values())
        while total > self._memory // 4:
            total -= _size(self._samples.popitem(last=False)[1])
        return have

    def open(self, row: SegmentFile) -> Segment:
        """Open a sealed segment; blocks.

        Raises:
            FileNotFoundError: it was merged into another one meanwhile.
            DamagedError: its footer is not what was written.
        """
        with self._lock:
            footer = self._footers.get(row.path)
        source = self._objects.reader(row.path, row.size)
        try:
            segment = Segment(source, row.path, row.size, row.checksums, footer)
        except BaseException:
            source.close()
            raise
        with self._lock:
            self._keep_footer(row.path, segment.footer)
        return segment

    def _keep_footer(self, path: str, footer: FileMetaData) -> None:
        """Remember a footer, under the lock; the last one whatever its size."""
        self._chunks -= _chunks(self._footers.pop(path, None))
        self._footers[path] = footer
        self._chunks += _chunks(footer)
        while self._chunks > _CHUNKS and len(self._footers) > 1:
            self._chunks -= _chunks(self._footers.popitem(last=False)[1])


class Charts:
    """Charts as they were answered, by what they are of. Belongs to one loop.

    A run that goes on has other frames each time, so what is kept of it serves only who asks at
    the same moment; the charts that were asked for last stay.

    Mutable state: `_data`, the chart asked for last at the end; `_size`, the bytes of all.

    Args:
        memory: bytes that they may take together.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._data: OrderedDict[ChartId, bytes] = OrderedDict()
        self._size = 0

    def get(self, of: ChartId) -> bytes | None:
        """Return what was answered, None where it is not known."""
        data = self._data.get(of)
        if data is not None:
            self._data.move_to_end(of)
        return data

    def keep(self, of: ChartId, data: bytes) -> None:
        """Remember an answer, unless it is known."""
        if of in self._data:
            return
        self._data[of] = data
        self._size += _cost(of, data)
        while self._size > self._memory:
            self._size -= _cost(*self._data.popitem(last=False))


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

    def segment(self, row: SegmentFile) -> Segment:
        """Return an open segment.

        Raises:
            FileNotFoundError, DamagedError: as `Sources.open`.
        """
        if row.id not in self._segments:
            self._segments[row.id] = self._sources.open(row)
        return self._segments[row.id]


def _rollups(
    data: Mapping[tuple[int, str], bytes], axes: Mapping[int, bytes]
) -> dict[tuple[int, str], Rollup | None]:
    sound: dict[int, Axis] = {}
    for segment, one in axes.items():
        with suppress(FrameError):
            sound[segment] = Axis.decode(one)
    return {
        place: None  # its segment was merged into another since the values were read
        if wide.is_values(one) and place[0] not in axes
        else _rollup(one, sound.get(place[0]))
        for place, one in data.items()
    }


def _rollup(data: bytes, axis: Axis | None) -> Rollup | None:
    try:
        return wide.decode(data, axis) if wide.is_values(data) else Rollup.decode(data)
    except ValueError as error:
        log.error("a rollup is damaged, and is made anew from the rows for each chart: %s", error)
        return None


def _decode(rows: Sequence[FrameRow]) -> tuple[dict[int, Table], list[Missing]]:
    """Return the tables of frames by their ids, and what is missing for damage."""
    tables: dict[int, Table] = {}
    missing: list[Missing] = []
    for row in rows:
        assert row.data is not None
        try:
            tables[row.id] = frames.decode(row.data).table
        except FrameError as error:
            damage = DamagedError(f"frame {row.id} in the database", str(error))
            missing.append(lost(damage, row.min_step or 0, row.max_step or 0, row.rows))
    return tables, missing


def _cost(of: ChartId, data: bytes) -> int:
    """Return about how many bytes a kept chart takes, with what it is of."""
    (segments, frames_of_tail), _ = of
    return len(data) + _ENTRY + _ID * (len(segments) + len(frames_of_tail))


def _chunks(footer: FileMetaData | None) -> int:
    return 0 if footer is None else _FOOTER + int(footer.num_columns * footer.num_row_groups)


def _samples(data: dict[int, bytes]) -> dict[int, Table]:
    found: dict[int, Table] = {}
    for segment, one in data.items():
        with suppress(FrameError):  # then the rows themselves are read
            found[segment] = frames.decode(one).table
    return found


def _size(table: Table) -> int:
    texts = sum(len(column.values) for column in table.texts)
    return sum(block.words.nbytes for block in table.blocks) + 64 * texts
