"""What runs are filtered and sorted by, in a table of its own: `field_values`, made from `runs`.

A run's values are those of its document (`server.queries.document.Values`), and marks of what was
left out of them (see `left_out`). Ingest knows nothing of them: it only moves `runs.version` on,
and a run whose `indexed_version` is another is *stale*. Whoever needs the values brings stale runs
up to date: a query for its project before it reads (`catch_up`), and a background task (see
`server.runs.index`) so that queries find little to do.

One run is brought up to date in three steps: read the run and its values at one moment; compare
outside any transaction; then, holding the run's row, write the differences and the version that
they were made from. If somebody else did it meanwhile, `indexed_version` is no longer the one
that was read, and nothing is written. So any number of processes may do this at once. Values
and version always belong together, and a run that changes meanwhile is merely stale again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple
from weakref import WeakKeyDictionary

import anyio
from anyio import to_thread
from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.queries.document import Values
from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.documents import DamagedText
from asyncwb.server.store.schema import field_values, fields, runs, users
from asyncwb.server.store.texts import stored_path, stored_text
from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.values import loads
from asyncwb.wire.summary.fold import Fold

CHUNK: Final = 20
"""runs brought up to date in one transaction; their ingest waits for it, some 20 ms."""
PATIENCE: Final = 15.0
"""seconds that a query spends on stale runs before it gives up; clients wait 19."""
_PARAMETERS: Final = 1000
_AT_ONCE: Final = 500
"""rows of the index that are read or written in one turn of the event loop, some 5 ms"""


class IndexBehindError(Exception):
    """So many runs (`left`) are not ready to be searched that a query cannot wait for them."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} runs of this project are not ready to be searched")
        self.left = left


class StaleRun(NamedTuple):
    """A run whose values are behind."""

    id: int
    project_id: int
    state: str


Key = tuple[int, int, int]  # field, run, position
Row = tuple[int, float | None, str | None, str | None, bool]  # kind, number, text, long, logged


@dataclass(slots=True)
class _Change:
    """What one run's values lack; `seen` and `version` are its indexed version, then and after."""

    run_id: int
    seen: int
    version: int
    gone: list[Key] = field(default_factory=list)
    new: dict[Key, Row] = field(default_factory=dict)


class Fields:
    """Keeps `fields` and `field_values`.

    Args:
        database: where they are.
    """

    # By database and project: queries that come together catch up once.
    _turns: ClassVar[WeakKeyDictionary[Database, dict[int, anyio.Lock]]] = WeakKeyDictionary()

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks = self._turns.setdefault(database, {})
        put = database.insert(field_values)
        said = {name: put.excluded[name] for name in _COLUMNS}
        self._put = put.on_conflict_do_update(index_elements=_KEY, set_=said)
        self._name = database.insert(fields).on_conflict_do_nothing(
            index_elements=["project_id", "path"]
        )

    async def catch_up(self, project_id: int, patience: float = PATIENCE) -> int:
        """Bring those runs of a project up to date that are stale now; return how many there were.

        Costs one statement where there are none, and about a millisecond for each that is.

        Raises:
            IndexBehindError: that takes more than `patience` seconds; what is done stays done.
        """
        async with self._locks.setdefault(project_id, anyio.Lock(fast_acquire=True)):
            stale = await self.stale(project_id)
            until, done = time.monotonic() + patience, 0
            while done < len(stale):
                if time.monotonic() > until:
                    raise IndexBehindError(len(stale) - done)
                await self.update(stale[done : done + CHUNK])
                done += CHUNK
            return len(stale)

    async def stale(
        self, project_id: int | None = None, after: StaleRun | None = None, limit: int | None = None
    ) -> list[StaleRun]:
        """Return stale runs of a project, or of all, in the order of projects and ids."""
        statement = _STALE if project_id is None else _STALE.where(runs.c.project_id == project_id)
        if after is not None:
            place = tuple_(runs.c.project_id, runs.c.id)
            statement = statement.where(place > tuple_(after.project_id, after.id))
        async with self._database.connect() as connection:
            return [StaleRun(*row) for row in await connection.execute(statement.limit(limit))]

    async def update(self, stale: Sequence[StaleRun]) -> None:
        """Bring some runs up to date, at most `CHUNK`; those gone or done meanwhile are left."""
        ids = [run.id for run in stale]
        async with self._database.connect() as connection:
            rows = await connection.execute(_RUNS, {"some": ids})
            found = [dict(row._mapping) for row in rows]
            indexed = [row["id"] for row in found if row["indexed_version"] >= 0]
            there: dict[int, dict[Key, Row]] = {}
            if indexed:
                stored = await connection.stream(_STORED, {"some": indexed})
                async for some in stored.partitions(_AT_ONCE):
                    for number, run_id, position, *value in some:
                        there.setdefault(run_id, {})[number, run_id, position] = _value(*value)
        values = await to_thread.run_sync(_values, found)
        wanted: dict[int, set[str]] = {}
        for row in found:
            paths = wanted.setdefault(row["project_id"], set())
            paths.update(item[0] for item in values[row["id"]])
        numbers: dict[int, dict[str, int]] = {}
        for project, paths in wanted.items():
            # A project that was deleted meanwhile has taken its runs with it.
            with suppress(IntegrityError):
                numbers[project] = await self._numbers(project, paths)
        left = [row for row in found if row["project_id"] in numbers]
        changes = await to_thread.run_sync(_differences, left, values, numbers, there)
        await self._apply(changes)

    async def _numbers(self, project_id: int, paths: Collection[str]) -> dict[str, int]:
        async with self._database.connect() as connection:
            known = await numbers_of(connection, project_id, paths)
        unknown = sorted(path for path in paths if path not in known)
        for some in batches(unknown, _AT_ONCE):
            new = [{"project_id": project_id, "path": stored_path(path)} for path in some]
            async with self._database.transaction() as connection:
                await connection.execute(self._name, new)
                known |= await numbers_of(connection, project_id, some)
        return known

    async def _apply(self, changes: Sequence[_Change]) -> None:
        if not changes:
            return
        async with self._database.transaction() as connection:
            ids = [change.run_id for change in changes]
            held = {row[0]: row[1] for row in await connection.execute(_HOLD, {"some": ids})}
            valid = [change for change in changes if held.get(change.run_id) == change.seen]
            for change in valid:
                for keys_gone in batches(change.gone, _AT_ONCE):
                    gone = [dict(zip(_GONE, key, strict=True)) for key in keys_gone]
                    await connection.execute(_DELETE, gone)
                for some in batches(list(change.new.items()), _AT_ONCE):
                    await connection.execute(self._put, [_row(key, row) for key, row in some])
            if valid:
                made = [{"made_id": c.run_id, "made_from": c.version} for c in valid]
                await connection.execute(_MADE, made)


async def numbers_of(
    connection: AsyncConnection, project_id: int, paths: Iterable[str]
) -> dict[str, int]:
    """Return the numbers of those fields of a project that some run has or had, by path."""
    found: dict[str, int] = {}
    names = sorted(paths)
    for batch in batches(names, _PARAMETERS):
        wanted = {stored_path(path): path for path in batch}
        some = {"project": project_id, "some": list(wanted)}
        found.update((wanted[row[1]], row[0]) for row in await connection.execute(_FIELDS, some))
    return found


def document(columns: Mapping[str, Any]) -> JsonObject:
    """Return a run as filters see it (but for its entity and project).

    Args:
        columns: those of `DOCUMENT_COLUMNS`, by name.
    """
    fold = _there(columns["fold"])
    metrics = Fold.from_state(fold).metrics() if fold else {}
    config = _there(columns["config"])
    config.pop(keys.INTERNAL, None)
    return {
        **{name: columns[column] for name, column in _ATTRIBUTES.items()},
        "duration": _duration(columns),
        "config": config,
        "summary_metrics": _there(columns["summary"]),
        "keys": [keys.display(path) for path in metrics],
    }


def _there(text: str) -> JsonObject:
    """Return a document; what is damaged has no values, and readers of the run are told."""
    found: JsonObject = {} if isinstance(text, DamagedText) else loads(text.encode())
    return found


_ATTRIBUTES: Final = {
    "name": "run",
    "displayName": "name",
    "state": "state",
    "group": "group_name",
    "jobType": "job_type",
    "username": "username",
    "host": "host",
    "sweep": "sweep",
    "notes": "notes",
    "description": "description",
    "commit": "commit",
    "tags": "tags",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
}
_KEY: Final = ("field_id", "run_id", "position")
_COLUMNS: Final = ("kind", "number", "text", "long", "logged")
_GONE: Final = ("gone_field", "gone_run", "gone_position")
_SOME_RUNS: Final = runs.c.id.in_(bindparam("some", expanding=True))
_STALE: Final = (
    select(runs.c.id, runs.c.project_id, runs.c.state)
    .where(runs.c.indexed_version != runs.c.version)
    .order_by(runs.c.project_id, runs.c.id)
)
DOCUMENT_COLUMNS: Final = (
    *(runs.c[name] for name in ("config", "summary", "fold", "started_at", "finished_at")),
    *(runs.c[name] for name in _ATTRIBUTES.values() if name != "username"),
    users.c.name.label("username"),
)
"""The columns that `document` takes; `users` is joined."""
_RUNS: Final = (
    select(
        *(runs.c[name] for name in ("id", "project_id", "version", "indexed_version")),
        *DOCUMENT_COLUMNS,
    )
    .outerjoin(users, users.c.id == runs.c.user_id)
    .where(_SOME_RUNS, runs.c.indexed_version != runs.c.version)
    .order_by(runs.c.id)
)
_STORED: Final = select(*(field_values.c[name] for name in (*_KEY, *_COLUMNS))).where(
    field_values.c.run_id.in_(bindparam("some", expanding=True))
)
_FIELDS: Final = select(fields.c.id, fields.c.path).where(
    fields.c.project_id == bindparam("project"),
    fields.c.path.in_(bindparam("some", expanding=True)),
)
# The order of ids is that of ingest, which holds the same rows: no deadlock.
_HOLD: Final = (
    select(runs.c.id, runs.c.indexed_version)
    .where(_SOME_RUNS)
    .order_by(runs.c.id)
    .with_for_update()
)
_DELETE: Final = delete(field_values).where(
    *(field_values.c[name] == bindparam(gone) for name, gone in zip(_KEY, _GONE, strict=True))
)
_MADE: Final = (
    update(runs)
    .where(runs.c.id == bindparam("made_id"))
    .values(indexed_version=bindparam("made_from"))
)


def _duration(columns: Mapping[str, Any]) -> float:
    if columns["started_at"] is not None and columns["finished_at"] is not None:
        return max(0.0, float(columns["finished_at"] - columns["started_at"]))
    return max(0.0, float(columns["heartbeat_at"] - columns["created_at"]))


def _values(found: Sequence[Mapping[str, Any]]) -> dict[int, list[tuple[str, int, Row]]]:
    return {row["id"]: list(_stored_rows(row)) for row in found}


def _stored_rows(columns: Mapping[str, Any]) -> Iterator[tuple[str, int, Row]]:
    for path, position, value, logged in Values(document(columns)).rows():
        text = None if value.text is None else stored_text(value.text)
        long = None if value.long is None else stored_text(value.long)
        yield path, position, (int(value.kind), value.number, text, long, logged)


def _differences(
    found: Sequence[Mapping[str, Any]],
    values: Mapping[int, list[tuple[str, int, Row]]],
    numbers: Mapping[int, Mapping[str, int]],
    there: Mapping[int, Mapping[Key, Row]],
) -> list[_Change]:
    changes = []
    for row in found:
        run_id, known = row["id"], numbers[row["project_id"]]
        old = there.get(run_id, {})
        now = {(known[path], run_id, position): value for path, position, value in values[run_id]}
        change = _Change(run_id, row["indexed_version"], row["version"])
        change.gone = [key for key in old if key not in now]
        change.new = {key: value for key, value in now.items() if old.get(key) != value}
        changes.append(change)
    return changes


def _value(
    kind: int, number: float | None, text: str | None, long: str | None, logged: bool
) -> Row:
    return kind, number, text, long, logged


def _row(key: Key, row: Row) -> dict[str, object]:
    return {**dict(zip(_KEY, key, strict=True)), **dict(zip(_COLUMNS, row, strict=True))}
