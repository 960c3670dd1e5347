"""What an import moves, whatever it comes from: rows, events and lines, in a fixed order.

A source gives the same items in the same order each time it is read, so that an item's position
is its sequence number: whatever was sent before an interruption is recognised, by the server, when
the source is read again. Rows and events are numbered; `Line`s go to streams
that have numbers of their own; `Found` says what there was besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np

from asyncwb.wire.rows import keys
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Column, Kind, Table
from asyncwb.wire.rows.frames import Frame
from asyncwb.wire.rows.keys import COMPUTED, STEP, SYSTEM, TIME
from asyncwb.wire.rows.values import NON_FINITE

Event: TypeAlias = dict[str, Any]
"""An event of the wire, `{"t": ...}`."""

_TYPES: Final[dict[type, Kind]] = {float: FLOAT, int: INT, bool: BOOL}
_ARRAYS: Final[dict[Kind, Any]] = {FLOAT: np.float64, INT: np.int64, BOOL: np.bool_}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a row speaks of: its name among the run's files, and what is in it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One row: values by path, at a step, logged at a time (unix seconds)."""

    step: int
    at: float
    values: Mapping[str, Any]
    files: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a stream beside the history: "output.log" or "wandb-events.jsonl"."""

    stream: str
    text: str


Item: TypeAlias = Row | Line | Event


@dataclass(slots=True)
class Found:
    """What a source turned out to hold; complete once its items were read to the end.

    `summary` is what the run's summary has to be (None: what its rows make of it), `closing` the
    events that end the run, after everything else, `tail` the rows that may yet be added to, and
    `overtaken` those of them that come before what the next parts say.
    `left` counts what cannot be carried over, by name; `notes` says what else there is to know.
    """

    summary: dict[str, Any] | None = None
    closing: list[Event] = field(default_factory=list)
    tail: list[Row] = field(default_factory=list)
    overtaken: list[Row] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


@runtime_checkable
class Part(Protocol):
    """A part of a run that has one order: one log, one file of events, one history.

    `writer` names it, the same each time; `found` is complete once `items()` came to its end.
    """

    writer: str
    found: Found

    def items(self) -> Iterator[Item]:
        """Read the part from its start."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the run: its name there, its size in bytes, when it changed (unix seconds), and
    how to have it here for a while."""

    name: str
    size: int
    changed_at: float
    fetch: AbstractAsyncContextManager[Path]

    @classmethod
    def local(cls, name: str, path: Path) -> FileEntry:
        """Describe a file that lies on this machine; raises OSError where it does not."""
        here = path.stat()
        return cls(name, here.st_size, here.st_mtime, nullcontext(path))


class Source(Protocol):
    """A run to import. `label` is what people see; `entity` None is the key's own."""

    label: str
    entity: str | None
    project: str
    run: str

    @property
    def grows(self) -> bool:
        """Whether it is read until nothing more comes."""

    async def parts(self, *, media: bool) -> Sequence[Part | RemotePart]:
        """Return its parts, the first one first; asked again where it grows.

        Args:
            media: whether the server stores files, so that rows may speak of them.
        """

    async def settled(self) -> bool:
        """Wait for more of a source that grows; True: nothing more comes."""

    async def closing(self) -> Found:
        """Say how it ends; asked once all parts were read."""

    def files(self) -> AsyncIterator[FileEntry]:
        """Give its files; asked last, once."""


class RemotePart(Protocol):
    """A part that has to be fetched, and can begin in its middle."""

    writer: str
    found: Found

    def chunks(self, done: int, last_step: int | None) -> AsyncIterator[tuple[int, list[Item]]]:
        """Give pieces with the number of their first item.

        Args:
            done: how many items the server has.
            last_step: the largest step that it has of the run.
        """


def pack(first_seq: int, items: Sequence[Row | Event]) -> Frame:
    """Make the frame of some rows and events, which are numbered from `first_seq`."""
    rows: list[Row] = []
    events: list[tuple[int, Event]] = []
    for item in items:
        if isinstance(item, Row):
            rows.append(item)
        else:
            events.append((len(rows), item))
    return Frame(first_seq, _table(rows), tuple(events))


def _table(rows: Sequence[Row]) -> Table:
    found: dict[tuple[str, Kind], tuple[list[int], list[Any]]] = {}
    for position, row in enumerate(rows):
        for path, value in row.values.items():
            kind = _TYPES.get(type(value), JSON)
            positions, values = found.setdefault((path, kind), ([], []))
            positions.append(position)
            values.append(value)
    n = len(rows)
    columns = [
        Column(STEP, INT, np.array([row.step for row in rows], np.int64)),
        Column(TIME, FLOAT, np.array([row.at for row in rows], np.float64)),
    ]
    for (path, kind), (positions, values) in found.items():
        data = values if kind == JSON else np.array(values, _ARRAYS[kind])
        where = None if len(positions) == n else np.array(positions, np.int32)
        columns.append(Column(path, kind, data, where))
    return Table.from_columns(n, columns)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a decoded row of W&B's into values by path, without the columns that are computed."""
    found = keys.flatten(values).items()
    return {free(path): value for path, value in found if path not in SYSTEM}


def free(path: str) -> str:
    """Return the path under which a foreign metric is kept: not one that each row has of its own.

    >>> free("loss"), free("_runtime")
    ('loss', '_runtime_')
    """
    return f"{path}_" if path in COMPUTED else path


def summary_event(
    wanted: Mapping[str, Any], shown: Mapping[str, Any], logged: Sequence[str]
) -> Event | None:
    """Return the event that turns the summary `shown` into the one `wanted`; None: it is that.

    Args:
        wanted: the summary of the source, nested.
        shown: what the server makes of the rows, nested.
        logged: the paths that rows have, each of which is one leaf of the summary.
    """
    goal, there = flat(wanted), flat(shown)
    leaves = set(logged)
    changed = {path for path, value in goal.items() if not _same(value, there.get(path, _NONE))}
    gone = [path for path in there if path not in goal]
    values: dict[str, Any] = {}
    for path in sorted(changed | set(gone)):
        leaf = _leaf(path, leaves)
        value = _at(wanted, leaf)
        if value is not _NONE:
            values[leaf] = value
    deleted = sorted({_leaf(path, leaves) for path in gone} - values.keys())
    if not values and not deleted:
        return None
    return {"t": "summary", "set": values, "delete": deleted}


_NONE: Final = object()


def _leaf(path: str, leaves: set[str]) -> str:
    """Return the leaf that a path is in: with `define_metric` one holds {"min": ..}."""
    names = keys.split(path)
    prefixes = (keys.join(names[:depth]) for depth in range(1, len(names)))
    return next((prefix for prefix in prefixes if prefix in leaves), path)


def _at(nested: Mapping[str, Any], path: str) -> Any:
    value: Any = nested
    for name in keys.split(path):
        if not isinstance(value, Mapping) or name not in value:
            return _NONE
        value = value[name]
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, str):
        b = NON_FINITE.get(b, b)
    return bool(a == b or (a != a and b != b))
