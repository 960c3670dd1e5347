"""From committed records to tables, as many rows at once as there are.

A `Reader` follows a journal from segment to segment, in the process that writes it or in one that
finds it later. Rows of one schema lie next to each other and have one size, so thousands of them
become columns with one copy; only JSON rows and events are looked at one by one.

numpy lets go of the interpreter lock in most operations on more than 500 elements, and beside a
busy training loop it takes 5 ms to get it back. So rows are looked at with few large operations,
and a whole segment becomes one frame.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncwb.engine.journal.journal import Journal, find_segments, is_started
from asyncwb.engine.journal.records import (
    DEFINE,
    EVENT,
    FIRST_SCHEMA,
    HEAD,
    HEAD_SIZE,
    JSON_ROW,
    is_whole,
)
from asyncwb.engine.journal.segment import DATA_START, Segment
from asyncwb.errors import JournalCorrupt
from asyncwb.printable import counted
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Block, Column, Kind, Table
from asyncwb.wire.rows.columns import empty as empty_table
from asyncwb.wire.rows.frames import Event, Frame
from asyncwb.wire.rows.keys import OPEN, STEP, TIME
from asyncwb.wire.rows.values import loads

MAX_ROWS: Final = 65_536
MAX_BYTES: Final = 4 * 2**20
_FIRST_PROBE: Final = 64


@dataclass(frozen=True, slots=True)
class _Layout:
    """A schema as its DEFINE record says it."""

    keys: tuple[str, ...]
    kinds: str
    size: int


@dataclass(slots=True)
class _Rows:
    """Neighbouring rows of one schema, all open or none: uint64[2 + keys, n], time, step first."""

    layout: _Layout
    words: NDArray[np.uint64]
    open: bool

    @property
    def n(self) -> int:
        return len(self.words[0])


@dataclass(slots=True)
class _JsonRow:
    time: float
    step: int
    open: bool
    values: JsonObject
    n: ClassVar[int] = 1


@dataclass(slots=True)
class _Scan:
    """What one look at a segment found, in order."""

    pieces: list[_Rows | _JsonRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    rows: int = 0
    size: int = 0


class Segments(Protocol):
    """Where a reader finds its segments."""

    def after(self, index: int) -> Segment | None:
        """Return the first segment with a greater index, None where there is none yet."""

    def view(self, segment: Segment) -> memoryview | None:
        """Return the bytes used so far; None where the segment was dropped."""


class LiveSegments:
    """The segments of a journal that this process writes."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def after(self, index: int) -> Segment | None:
        with self._journal.lock:
            return next((s for s in self._journal.segments if s.index > index), None)

    def view(self, segment: Segment) -> memoryview | None:
        with self._journal.lock:
            if segment not in self._journal.segments:
                return None
            view = segment.viewer()
        return view()


class FoundSegments:
    """The segments of a journal that some process left behind, or is still writing.

    Every record's checksum is verified before anything is read. `damage` tells, for each file,
    what could not be read.
    """

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        self.damage: dict[Path, str] = {}
        self._folder = folder
        self._live = live
        self._maps: dict[int, memoryview] = {}

    def after(self, index: int) -> Segment | None:
        for path in find_segments(self._folder):
            if int(path.stem) > index:
                try:
                    segment = self._open(path)
                except (JournalCorrupt, FileNotFoundError) as error:
                    # A header that is not written yet, in a live journal, is no damage.
                    if not self._live:
                        self.damage[path] = str(error)
                    continue
                if segment is not None:
                    return segment
        return None

    def _open(self, path: Path) -> Segment | None:
        segment = Segment.open(path)
        if segment is None:
            return None
        try:
            size = segment.end
            data: memoryview = memoryview(b"")
            if size:
                data = memoryview(mmap.mmap(segment.fd, size, access=mmap.ACCESS_READ))
        finally:
            segment.close()
        segment.end, segment.count, problem = verify(data)
        if problem and not self._live:
            good = counted(segment.count, "record before it is", "records before it are")
            self.damage[path] = f"{path}: {problem}; {good} good"
        segment.closed = not self._live or self._has_successor(segment.index)
        self._maps[segment.index] = data
        return segment

    def _has_successor(self, index: int) -> bool:
        """Tell whether a later segment was started: from then on this one does not grow."""
        return any(is_started(p) for p in find_segments(self._folder) if int(p.stem) > index)

    def view(self, segment: Segment) -> memoryview | None:
        if self._live:
            data = self._grown(segment)
            end, count, _ = verify(data, segment.end)
            segment.end, segment.count = end, segment.count + count
            # After the look at the records: a reader asks for `closed` before the next look.
            segment.closed = self._has_successor(segment.index)
        return self._maps[segment.index][: segment.end]

    def _grown(self, segment: Segment) -> memoryview:
        """Map a file again that has become longer: one that is written without a mapping."""
        data = self._maps[segment.index]
        with contextlib.suppress(FileNotFoundError), segment.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > len(data):
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                self._maps[segment.index] = data
        return data


def verify(data: memoryview, start: int = DATA_START) -> tuple[int, int, str]:
    """Check record after record; returns (end of the good part, records in it, what is wrong).

    The count leaves out DEFINE records, which have no sequence number. About 0.5 us a record.
    """
    count, at, size_of_data = 0, start, len(data)
    while at + HEAD_SIZE <= size_of_data:
        check, size, kind, _, _, _ = HEAD.unpack_from(data, at)
        if check == 0:  # nothing yet, or the writer was killed in it
            lost = f"there is no record at byte {at}, and others behind it"
            return at, count, lost if _has_record(data[at:]) else ""
        if size < HEAD_SIZE or size % 8 or at + size > size_of_data:
            return at, count, f"the record at byte {at} has an impossible size"
        if not is_whole(data[at : at + size]):
            return at, count, f"the record at byte {at} fails its checksum"
        count += kind != DEFINE
        at += size
    rest = bytes(data[at:])
    return at, count, f"the file ends inside a record at byte {at}" if any(rest) else ""


def _has_record(data: memoryview) -> bool:
    """Tell whether a whole record lies anywhere in it; some 0.1 ms a MiB where all is zero."""
    words = np.frombuffer(data[: len(data) // 8 * 8], np.dtype("<u8"))
    if not words.any():
        return False
    sizes = words[1:] & 0xFFFFFFFF
    fits = (sizes >= HEAD_SIZE) & (sizes % 8 == 0) & (sizes <= 8 * np.arange(len(sizes) + 1, 1, -1))
    places = np.flatnonzero(fits & (words[:-1] != 0)).tolist()
    return any(is_whole(data[8 * i : 8 * i + int(sizes[i])]) for i in places)


class Reader:
    """Follows a journal; `seq` is the next sequence number that `read` returns.

    Mutable state: the segment being read, the offset in it, the schemas announced in it, and how
    many rows of one kind are looked for at once (as many as there were the last time, and more).
    """

    def __init__(self, segments: Segments, seq: int = 0) -> None:
        self.seq = seq
        self._segments = segments
        self._segment: Segment | None = None
        self._offset = DATA_START
        self._at = 0  # sequence number at _offset
        self._layouts: dict[int, _Layout] = {}
        self._probe = _FIRST_PROBE

    def restart(self, seq: int) -> Reader:
        """Return a reader of the same journal from another sequence number."""
        return Reader(self._segments, seq)

    def read(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Frame | None:
        """Return the next rows and events as a frame not yet encoded; None: nothing new.

        Where records are missing (dropped by the overflow policy, or damaged on disk), returns a
        frame that stands in for them.
        """
        while True:
            if self._segment is None and not self._advance(-1):
                return None
            segment = self._segment
            assert segment is not None
            if self._at > self.seq:
                return self._gap(segment)
            closed = segment.closed  # before the end is looked at: it is final then
            view = self._segments.view(segment)
            if view is None:  # dropped while we were in it
                if not self._advance(segment.index):
                    return None
                continue
            scan = _Scan()
            self._scan(view, scan, max_rows, max_bytes)
            end = len(view)
            view.release()
            if scan.rows or scan.events:
                frame = Frame(self._at, build(scan), tuple(scan.events))
                self._at += frame.count
                if self._at <= self.seq:
                    continue
                skipped = frame.skip(max(0, self.seq - frame.first_seq))
                self.seq = self._at
                return skipped
            if self._offset < end or not closed or not self._advance(segment.index):
                return None

    def _advance(self, index: int) -> bool:
        segment = self._segments.after(index)
        if segment is None:
            return False
        self._segment, self._offset, self._at = segment, DATA_START, segment.first_seq
        self._layouts = {}
        return True

    def _gap(self, segment: Segment) -> Frame:
        first, missing = self.seq, self._at - self.seq
        self.seq = self._at
        event = {"t": "lost", "rows": missing, "reason": "journal_gap"}
        return Frame(first, empty_table(), ((0, event),), lost=missing)

    def _scan(self, view: memoryview, scan: _Scan, max_rows: int, max_bytes: int) -> None:
        end = len(view)
        while self._offset < end and (found := scan.rows + len(scan.events)) < max_rows:
            _, size, kind, flags, time, step = HEAD.unpack_from(view, self._offset)
            if found and scan.size + size > max_bytes:
                break  # one that is larger gets a frame of its own
            if kind >= FIRST_SCHEMA:
                left = max_rows - found
                most = min(left, self._probe, max(1, (max_bytes - scan.size) // size))
                rows = self._rows(view, size, most)
                scan.pieces.append(_Rows(self._layouts[kind], rows, flags != 0))
                n = scan.pieces[-1].n
                scan.rows += n
                scan.size += n * size
                self._offset += n * size
                continue
            text = view[self._offset + HEAD_SIZE : self._offset + size]
            self._offset += size
            scan.size += size
            if kind == DEFINE:
                entry = loads(bytes(text))
                self._layouts[entry["n"]] = _Layout(
                    tuple(entry["k"]), entry["t"], HEAD_SIZE + 8 * len(entry["k"])
                )
            elif kind == EVENT:
                scan.events.append((scan.rows, loads(bytes(text))))
            elif kind == JSON_ROW:
                scan.pieces.append(_JsonRow(time, step, bool(flags), loads(bytes(text))))
                scan.rows += 1

    def _rows(self, view: memoryview, size: int, most: int) -> NDArray[np.uint64]:
        """Copy the rows from here on that have the kind and the flags of the first.

        Looks at no more than `most`. Time and step come first: uint64[2 + keys, n].
        """
        fit = min(most, (len(view) - self._offset) // size)
        words = np.frombuffer(view, np.uint64, fit * size // 8, self._offset)
        records = words.reshape(fit, size // 8)
        found = (records[:, 1] != records[0, 1]).tobytes().find(1)
        if found < 0:
            found = fit
            self._probe = max(self._probe, 4 * fit)
        else:
            self._probe = max(_FIRST_PROBE, 2 * found)
        return records[:found, 2:].T.copy()


def build(scan: _Scan) -> Table:
    """Make a table of the pieces; one schema throughout (the usual case) costs one join."""
    if not scan.rows:
        return empty_table()
    layouts = {id(p.layout) if isinstance(p, _Rows) else 0 for p in scan.pieces}
    if len(layouts) == 1 and 0 not in layouts:
        table = _of_one_schema(scan)
    else:
        table = _of_many_shapes(scan)
    if not any(piece.open for piece in scan.pieces):
        return table
    flags = np.repeat([piece.open for piece in scan.pieces], [piece.n for piece in scan.pieces])
    return Table(
        scan.rows,
        [*table.blocks, Block((OPEN,), BOOL, flags.astype(np.uint64)[None, :])],
        table.texts,
    )


def _of_one_schema(scan: _Scan) -> Table:
    parts = [piece for piece in scan.pieces if isinstance(piece, _Rows)]
    layout = parts[0].layout
    words = parts[0].words if len(parts) == 1 else np.concatenate([p.words for p in parts], 1)
    return Table(scan.rows, [Block((TIME, STEP, *layout.keys), "fi" + layout.kinds, words)])


def _of_many_shapes(scan: _Scan) -> Table:
    blocks = [_base(scan), *_schema_blocks(scan)]
    columns = _json_columns(scan)
    names = [
        (key, kind) for block in blocks for key, kind in zip(block.keys, block.kinds, strict=True)
    ]
    names += [(column.key, column.kind) for column in columns]
    if len(set(names)) == len(names):
        numeric = Table.from_columns(scan.rows, columns)
        return Table(scan.rows, [*blocks, *numeric.blocks], numeric.texts)
    # Shapes that share keys: their values have to be put into the order of the rows.
    columns += [block.column(i) for block in blocks for i in range(len(block.keys))]
    return Table.from_columns(scan.rows, _interleaved(columns, scan.rows))


def _interleaved(columns: Iterable[Column], n: int) -> Iterator[Column]:
    """Make one column of all that have the same key and kind; no row is in two of them."""
    same: dict[tuple[str, Kind], list[Column]] = {}
    for column in columns:
        same.setdefault((column.key, column.kind), []).append(column)
    for (key, kind), parts in same.items():
        if len(parts) == 1:
            yield parts[0]
            continue
        rows = np.concatenate([part.rows for part in parts if part.rows is not None])
        order = np.argsort(rows, kind="stable")
        values: object
        if kind == JSON:
            joined = [value for part in parts for value in part.values]
            values = [joined[i] for i in order.tolist()]
        else:
            values = np.concatenate([part.values for part in parts])[order]
        yield Column(key, kind, values, None if len(rows) == n else rows[order])


def _base(scan: _Scan) -> Block:
    words = np.empty((2, scan.rows), dtype=np.uint64)
    at = 0
    for piece in scan.pieces:
        if isinstance(piece, _Rows):
            words[:, at : at + piece.n] = piece.words[:2]
        else:
            words[0, at : at + 1].view(np.float64)[0] = piece.time
            words[1, at : at + 1].view(np.int64)[0] = piece.step
        at += piece.n
    return Block((TIME, STEP), FLOAT + INT, words)


def _schema_blocks(scan: _Scan) -> Iterator[Block]:
    groups: dict[int, tuple[_Layout, list[NDArray[np.uint64]], list[NDArray[np.int32]]]] = {}
    at = 0
    for piece in scan.pieces:
        if isinstance(piece, _Rows):
            _, words, rows = groups.setdefault(id(piece.layout), (piece.layout, [], []))
            words.append(piece.words[2:])
            rows.append(np.arange(at, at + piece.n, dtype=np.int32))
        at += piece.n
    for layout, words, rows in groups.values():
        positions = np.concatenate(rows)
        yield Block(
            layout.keys,
            layout.kinds,
            np.concatenate(words, axis=1),
            None if len(positions) == scan.rows else positions,
        )


def _json_columns(scan: _Scan) -> list[Column]:
    found: dict[tuple[str, object], tuple[list[int], list[object]]] = {}
    at = 0
    for piece in scan.pieces:
        if isinstance(piece, _JsonRow):
            for key, value in piece.values.items():
                rows, values = found.setdefault((key, _kind(value)), ([], []))
                rows.append(at)
                values.append(value)
        at += piece.n
    return [_as_column(key, kind, *lists, scan.rows) for (key, kind), lists in found.items()]


_TYPES: Final[dict[Any, Any]] = {FLOAT: np.float64, INT: np.int64, BOOL: np.bool_}


def _kind(value: object) -> str:
    return {float: FLOAT, int: INT, bool: BOOL}.get(type(value), JSON)


def _as_column(key: str, kind: Any, rows: list[int], values: list[Any], n: int) -> Column:
    positions = None if len(rows) == n else np.array(rows, dtype=np.int32)
    return Column(key, kind, values if kind == JSON else np.array(values, _TYPES[kind]), positions)
