"""TensorBoard event files, read into the rows of a run.

A folder of event files is one run. Each file is a part of its own, so that several writers,
restarts and files that still grow keep their order; the folders below the root are namespaces:
`train/events...` logs `loss` as `train/loss`. A row's step is the event's step, so that what was
logged at one step, by whichever file, is one row to its readers.

    file      records: uint64 size, masked crc32c of it, data, masked crc32c of that
    record    an Event message: wall time, step, and a summary of tagged values

A session that starts again at step s makes what was logged before it from s on invalid, which is
what TensorBoard itself shows. Such a value keeps its number and loses its content.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from asyncwb.errors import UnsupportedError
from asyncwb.importers.items import Event, Found, Item, Row
from asyncwb.importers.protobuf import Message
from asyncwb.importers.tensorboard_values import Values
from asyncwb.wire.history import STEP_MAX

_SIZE: Final = struct.Struct("<Q")
_CRC: Final = struct.Struct("<I")
_MAX_RECORD: Final = 2**30
_PATTERN: Final = "*tfevents*"
_SECOND: Final = re.compile(r"tfevents\.([0-9]+)")
_NUMBERS: Final = re.compile(r"[0-9]+|[^0-9]+")
_PURGED: Final[Event] = {"t": "purged"}
_SESSION_START: Final = 1
_REPLACED: Final = "value that a later session replaced"

# Event
_WALL_TIME, _STEP, _GRAPH, _SUMMARY = 1, 2, 4, 5
_MESSAGE, _SESSION, _TAGGED, _META_GRAPH = 6, 7, 8, 9
_LEFT: Final = {
    _GRAPH: "graph",
    _MESSAGE: "log message",
    _TAGGED: "run metadata",
    _META_GRAPH: "meta graph",
}


@dataclass(frozen=True, slots=True)
class EventFile:
    """One event file; `namespace` is its folder below the root ("" for the root's own)."""

    path: Path
    namespace: str

    @property
    def name(self) -> str:
        """What tells it from the others of its root."""
        return f"{self.namespace}/{self.path.name}"


def find_event_files(root: Path) -> list[EventFile]:
    """Return the event files below a folder, each folder's in the order they were begun."""
    found = sorted((path for path in root.rglob(_PATTERN) if path.is_file()), key=_begun)
    return [EventFile(path, _namespace(path.parent.relative_to(root))) for path in found]


def _begun(path: Path) -> tuple[Path, int, list[tuple[int, str]]]:
    """Return a key that puts the files of a folder in order.

    A name tells the second in which the file was begun; what stands around it tells files of one
    second apart, by numbers (`.9` comes before `.10`).
    """
    second = _SECOND.search(path.name)
    parts = _NUMBERS.findall(path.name)
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return path.parent, int(second[1]) if second else 0, natural


def _namespace(folder: Path) -> str:
    return "" if folder == Path() else folder.as_posix()


class Records:
    """Reads the records of one event file, from where the last reading stopped.

    `damage` says why nothing behind it can be read; a record that is not all there yet is no
    damage, for the file may still be written: `waiting` is how many bytes of it there are.

    Raises:
        UnsupportedError: the library for the checksums is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.damage: str | None = None
        self.waiting = 0
        self._crc32c = _checksum()

    def __iter__(self) -> Iterator[bytes]:
        """Give the records that are there, up to the end or to the first damage."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            size = os.fstat(file.fileno()).st_size
            while self.damage is None:
                data = self._record(file, size)
                if data is None:
                    break
                self._at += len(data) + _SIZE.size + 2 * _CRC.size
                yield data
            self.waiting = size - self._at

    def _record(self, file: BinaryIO, end: int) -> bytes | None:
        head = file.read(_SIZE.size + _CRC.size)
        if len(head) < _SIZE.size + _CRC.size:
            return None
        (size,), (crc,) = _SIZE.unpack_from(head), _CRC.unpack_from(head, _SIZE.size)
        if self._masked(head[: _SIZE.size]) != crc or size > _MAX_RECORD:
            self._stop(end)
            return None
        data = file.read(size + _CRC.size)
        if len(data) < size + _CRC.size:
            return None
        if self._masked(data[:size]) != _CRC.unpack_from(data, size)[0]:
            self._stop(end)
            return None
        return data[:size]

    def _masked(self, data: bytes) -> int:
        crc = int(self._crc32c.value(data))
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    def _stop(self, end: int) -> None:
        self.damage = (
            f"{self._path.name}: the record at byte {self._at:,} fails its checksum: the last "
            f"{end - self._at:,} of {end:,} bytes were not read"
        )


def _checksum() -> Any:
    try:
        return import_module("google_crc32c")
    except ImportError as error:
        raise UnsupportedError(
            "Reading TensorBoard files needs a library for their checksums. Nothing was read; "
            'install it with: pip install "asyncwb[tensorboard]"'
        ) from error


class FilePart:
    """One event file as a part of its run.

    Rows are the events of one step that follow one another; the last of them, which may yet be
    added to, is in `found.tail` once `items()` came to the end of what is there, or in
    `found.overtaken` where a later file of its folder may repeat its step. `items()` may be called
    again, and then goes on.

    Args:
        file: the file.
        writer: the name under which it is sent.
        started_at: when the file was begun, unix seconds: of two values at one step that of the
            later file is the last.
        media: whether files may be attached to rows.
    """

    def __init__(
        self, file: EventFile, *, writer: str = "", started_at: float, media: bool
    ) -> None:
        self.file = file
        self.writer = writer
        self.found = Found()
        self.limits = Limits()
        self._number = -1
        self._last_record = -1
        self.last_time = 0.0
        self.started_at = started_at
        self._begun = False
        self.config: dict[str, Any] = {}
        self._records = Records(file.path)
        self._values = Values(file.namespace, self.found, media=media)
        self._open: Row | None = None

    @property
    def waiting(self) -> int:
        """Bytes at the end of the file that are no whole record yet."""
        return self._records.waiting

    @property
    def damage(self) -> str | None:
        """Why the rest of the file cannot be read."""
        return self._records.damage

    def items(self) -> Iterator[Item]:
        """Give the rows that are whole, from where the last call came to an end."""
        if not self._begun:
            self._begun = True
            yield {"t": "start", "at": self.started_at, "config": {}, "resume": None}
            # The end of the run is another writer's to say: this one is at work no longer.
            yield {"t": "leave", "at": self.started_at}
        for data in self._records:
            self._number += 1
            try:
                yield from self._event(Message(data))
            except (ValueError, OverflowError) as error:
                self.found.left[f"unreadable event ({error})"] += 1
        last = self._open
        kept = last is not None and not self.limits.replaced(last.step, self._last_record)
        rows = [last] if last is not None and kept else []
        self.found.tail, self.found.overtaken = ([], rows) if self.limits.followed else (rows, [])
        if self.damage is not None and self.damage not in self.found.notes:
            self.found.notes.append(self.damage)

    def has_replaced(self, count: int) -> bool:
        """Tell whether of the first `count` items, and the row behind them that an import may have
        sent as the last, any was replaced; reads the file once more."""
        again = FilePart(self.file, started_at=self.started_at, media=False)
        again.limits = self.limits
        for index, item in enumerate(again.items()):
            if index > count:
                return False
            if item is _PURGED:
                return True
        last = again._open
        return last is not None and self.limits.replaced(last.step, again._last_record)

    def _event(self, event: Message) -> Iterator[Item]:
        for number, what in _LEFT.items():
            if number in event:
                self.found.left[what] += 1
        if _SUMMARY not in event:
            return
        step, at = event.integer(_STEP), event.double(_WALL_TIME)
        self.last_time = max(at, self.last_time)
        if step < 0:
            self.found.left["negative step (placed at step 0)"] += 1
        step = min(max(step, 0), STEP_MAX)
        taken = self._values.take(event.message(_SUMMARY), step)
        if taken.config:
            self.config |= taken.config
            yield {"t": "config", "set": taken.config, "delete": []}
        if not taken.values:
            return
        if self._open is not None and self._joins(self._open, step, taken.values):
            merged = {**self._open.values, **taken.values}
            self._open = Row(step, at, merged, (*self._open.files, *taken.files))
        else:
            yield from self._close()
            self._open = Row(step, at, taken.values, taken.files)
        self._last_record = self._number

    def _joins(self, row: Row, step: int, values: Mapping[str, Any]) -> bool:
        # Not over the start of a session, which replaces the one and not the other. And a tag
        # that comes again at its step is a row of its own: none replaces another unseen.
        same = row.step == step and not row.values.keys() & values.keys()
        return same and not any(
            self._last_record < at <= self._number for at, _ in self.limits.inner
        )

    def _close(self) -> Iterator[Item]:
        if self._open is None:
            return
        if self.limits.replaced(self._open.step, self._last_record):
            self.found.left[_REPLACED] += len(self._open.values)
            yield _PURGED
        else:
            yield self._open
        self._open = None


@dataclass(frozen=True, slots=True)
class Limits:
    """From which step on a file's values were replaced, by sessions that started later.

    `outer` is what later files say (None: nothing); `inner` are the sessions that start in the
    file itself, as (number of the record, step); `followed` says that its folder has later files.
    """

    outer: int | None = None
    inner: tuple[tuple[int, int], ...] = ()
    followed: bool = False

    def replaced(self, step: int, record: int) -> bool:
        """Tell whether a value at a step, which stands at a record, was replaced."""
        if self.outer is not None and step >= self.outer:
            return True
        return any(at > record and step >= start for at, start in self.inner)


def find_limits(files: Sequence[EventFile]) -> dict[str, Limits]:
    """Find, by the file's name, what later sessions replaced; reads all of the files.

    A session replaces what is before it in its file, and in earlier files of the same folder.
    """
    found: dict[str, Limits] = {}
    outer: dict[str, int] = {}
    folders: set[str] = set()
    for file in reversed(files):
        inner = tuple(_restarts(file))
        followed = file.namespace in folders
        found[file.name] = Limits(outer.get(file.namespace), inner, followed)
        folders.add(file.namespace)
        steps = [step for _, step in inner]
        if steps:
            outer[file.namespace] = min(*steps, outer.get(file.namespace, STEP_MAX))
    return found


def _restarts(file: EventFile) -> Iterator[tuple[int, int]]:
    for number, data in enumerate(Records(file.path)):
        # A session is said in a few bytes; a message this small is cheap to take apart.
        if len(data) > _SMALL:
            continue
        try:
            step = _restart(Message(data))
        except ValueError:
            continue
        if step is not None:
            yield number, step


def _restart(event: Message) -> int | None:
    if _SESSION in event and event.message(_SESSION).integer(1) == _SESSION_START:
        return event.integer(_STEP)
    return None


_SMALL: Final = 256


def first_time(file: EventFile) -> float | None:
    """Return when a file's first event was, unix seconds; None: it holds none yet."""
    for data in Records(file.path):
        try:
            return Message(data).double(_WALL_TIME)
        except ValueError:
            continue
    return None
