"""What the store hands out: rows as values, with the names that the server speaks of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class RunKey(NamedTuple):
    """What a run is known by: entity, project and id."""

    entity: str
    project: str
    run: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(slots=True)
class WriterRecord:
    """One writer of a run: the sequence number expected next, and when its last heartbeat came."""

    writer: str
    next_seq: int = 0
    rows: int = 0
    lost: int = 0
    opened_at: float = 0.0
    heartbeat_at: float = 0.0
    finished_at: float | None = None
    exit_code: int | None = None


@dataclass(slots=True)
class RunRecord:
    """The part of a run's row that every ingest reads and writes.

    `version` grows with every change of the run or its writers, so a row that still has it is this.
    """

    id: int
    path: RunKey
    state: str
    version: int
    rows: int
    lost: int
    last_step: int | None
    heartbeat_at: float
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    stop_requested: bool
    writers: dict[str, WriterRecord] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame to be stored: the very bytes that the client sent, unless it was trimmed."""

    run_id: int
    writer: str
    first_seq: int
    count: int
    rows: int
    min_step: int | None
    max_step: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class RunChange:
    """What one request changes of one run."""

    record: RunRecord
    writers: tuple[WriterRecord, ...]
    """Those of its writers that changed."""
    fields: dict[str, object]
    """Further columns of the run with their new values (config, tags, summary, fold, ...)."""
    frames: tuple[NewFrame, ...] = ()
    """Its new frames, in order; they are stored as the record's, whose id may be new."""
    now: float = 0.0
    """When these came."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as it was committed last.

    `columns` are those of the table `runs` by name (in a list: without config and fold);
    `config`, `summary`, `fold` and `system` in it are JSON text, or `DamagedText`.
    """

    id: int
    path: RunKey
    columns: dict[str, Any]
