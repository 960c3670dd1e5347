"""A store with runs in it, for the tests of history: rows in as frames, rows out as dicts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from sqlalchemy import func, select, update

from asyncwb.server.history import rows
from asyncwb.server.history.rows import Selection
from asyncwb.server.history.seal import Sealer, SealPolicy
from asyncwb.server.history.sources import Sources
from asyncwb.server.objects import garbage_collection
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store import schema
from asyncwb.server.store.claims import Claims
from asyncwb.server.store.database import Database
from asyncwb.server.store.records import NewFrame, RunKey
from asyncwb.server.store.runs.ingest import IngestStore
from asyncwb.server.store.runs.segments import RunRef, Segments, add_frames
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Column, Kind, Table

Row: TypeAlias = tuple[int, dict[str, Any]]
"""(step, values)"""

BEGAN = 1_000.0
AT_ONCE = SealPolicy(rows=1, frames=1)


def kind_of(value: Any) -> Kind:
    kinds: dict[type, Kind] = {bool: "b", int: "i", float: "f"}
    return kinds.get(type(value), "j")


def table_of(logged: Sequence[Row], first: float = 0) -> Table:
    """Rows as a client's frame would hold them; row i was logged i seconds after the start."""
    places: dict[tuple[str, Kind], list[tuple[int, Any]]] = {}
    for at, (_, values) in enumerate(logged):
        for key, value in values.items():
            places.setdefault((key, kind_of(value)), []).append((at, value))
    n = len(logged)
    columns = [
        Column("_step", "i", np.array([step for step, _ in logged], dtype=np.int64)),
        Column("_timestamp", "f", BEGAN + first + np.arange(n, dtype=np.float64)),
    ]
    types: dict[Kind, type] = {"b": np.bool_, "i": np.int64, "f": np.float64}
    for (key, kind), found in places.items():
        given = [value for _, value in found]
        column: Any = given if kind == "j" else np.array(given, dtype=types[kind])
        where = np.array([at for at, _ in found], dtype=np.int32)
        columns.append(Column(key, kind, column, None if len(found) == n else where))
    return Table.from_columns(n, columns)


def merged(logged: Sequence[Row]) -> list[dict[str, Any]]:
    """The model of a history: one row a step, of each key the value logged last."""
    found: dict[int, dict[str, Any]] = {}
    for at, (step, values) in enumerate(logged):
        row = found.setdefault(step, {"_step": step})
        row |= {"_timestamp": BEGAN + at, "_runtime": float(at), **values}
    return [found[step] for step in sorted(found)]


def exactly(found: Sequence[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """Rows so that NaN equals NaN, and 1, 1.0 and True differ."""
    return [sorted((key, repr(value)) for key, value in row.items()) for row in found]


@dataclass
class Lab:
    """One database and one object store."""

    database: Database
    folder: Path
    now: float = 10_000.0
    skew: float = 0.0
    _next: dict[tuple[int, str], int] = field(default_factory=dict)
    _rows: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.claims = Claims(self.database, lambda: self.now)
        self.store = Segments(self.database, self.claims)
        self.objects = Objects.open(self.folder)
        self.sources = Sources(self.store, self.objects)

    def sealer(
        self,
        policy: SealPolicy = AT_ONCE,
        store: Segments | None = None,
        objects: Objects | None = None,
    ) -> Sealer:
        return Sealer(store or self.store, objects or self.objects, policy, lambda: self.now)

    async def run(self) -> RunRef:
        """A new, running run that began at BEGAN."""
        path = RunKey("e", "p", uuid.uuid4().hex)
        async with self.database.transaction() as connection:
            await IngestStore(self.database).create(connection, [path], self.now)
        found = await self.store.locate(path)
        assert found is not None
        await self.set(found, started_at=BEGAN)
        return RunRef(found.id, BEGAN)

    async def set(self, run: RunRef, **columns: Any) -> None:
        async with self.database.transaction() as connection:
            here = update(schema.runs).where(schema.runs.c.id == run.id)
            await connection.execute(here.values(**columns))

    async def log(self, run: RunRef, logged: Sequence[Row], writer: str = "w") -> None:
        """Commit one frame."""
        first, count = self._next.get((run.id, writer), 0), self._rows.get(run.id, 0)
        steps = [step for step, _ in logged]
        data = frames.encode(
            first, table_of(logged, count + self.skew), [] if logged else [(0, {"t": "x"})]
        )
        size = max(1, len(logged))
        new = NewFrame(
            run.id, writer, first, size, len(logged),
            min(steps, default=None), max(steps, default=None), data,
        )  # fmt: skip
        async with self.database.transaction() as connection:
            await add_frames(connection, run.id, [new])
            here = update(schema.runs).where(schema.runs.c.id == run.id)
            await connection.execute(here.values(tail_at=self.now))
        self._next[run.id, writer] = first + size
        self._rows[run.id] = count + len(logged)

    async def read(self, run: RunRef, selection: Selection | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for table in rows.read(self.sources, run, selection or Selection()):
            found += table.iter_rows()
        return found

    async def counts(self, run: RunRef) -> tuple[int, int]:
        """(frames, segments) of a run."""
        async with self.database.connect() as connection:
            found = [
                await connection.scalar(
                    select(func.count()).select_from(table).where(table.c.run_id == run.id)
                )
                for table in (schema.frames, schema.segments)
            ]
        return found[0] or 0, found[1] or 0

    async def collect(self, grace: float = -1.0) -> int:
        """Delete the objects that were dropped before a grace began; the default is all."""
        return await garbage_collection.collect_dropped(
            self.objects, self.database, self.now - grace
        )

    def files(self, run: RunRef) -> list[str]:
        return [found.name for found in self.objects.list(f"segments/{run.id}")]
