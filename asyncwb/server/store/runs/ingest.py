"""The statements of one ingest request: few, however many runs and frames it holds.

What is to be written is computed from what `read` says, with no transaction open; the transaction
that writes it locks the rows of the runs first (`lock`), in the order of their ids, and goes on
only where their versions are still those. So two requests for the same runs follow one another and
cannot deadlock, and the frame ids of one run grow in commit order. Whatever is changed of a run or
of its writers, its version grows with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.records import NewFrame, RunChange, RunKey, RunRecord, WriterRecord
from asyncwb.server.store.runs.segments import TAIL, tail_of
from asyncwb.server.store.schema import frames, projects, runs, writers

V = TypeVar("V")

NEW: Final = 0
"""the id of a run that has no row yet"""
_CHUNK: Final = 1000
"""entries in one IN list; drivers take at most 32,767 parameters a statement."""

_RECORD: Final = (
    runs.c.state,
    runs.c.version,
    runs.c.rows,
    runs.c.lost,
    runs.c.last_step,
    runs.c.heartbeat_at,
    runs.c.started_at,
    runs.c.finished_at,
    runs.c.exit_code,
    runs.c.stop_requested,
)
_WRITER: Final = tuple(column for column in writers.c if column.name != "run_id")


class IngestStore:
    """Reads, creates and changes runs for ingest and for crash detection.

    Its statements are built once; building them anew would take longer than running them.
    """

    def __init__(self, database: Database) -> None:
        upsert = database.insert(writers)
        said = {column.name: upsert.excluded[column.name] for column in _WRITER[1:]}
        key = [writers.c.run_id, writers.c.writer]
        self._put_writers = upsert.on_conflict_do_update(index_elements=key, set_=said)
        self._new_projects = database.insert(projects).on_conflict_do_nothing()
        self._new_runs = database.insert(runs).on_conflict_do_nothing()
        self._updates: dict[tuple[str, ...], Update] = {}  # by the columns that they set
        self._known: dict[tuple[str, str], int] = {}  # ids of projects, as far as they still hold

    async def lock(
        self, connection: AsyncConnection, paths: Collection[RunKey]
    ) -> dict[RunKey, RunRecord]:
        """Lock the runs that exist at these paths, and return them with their writers."""
        found = await self._find(connection, paths, _LOCK)
        await _add_writers(connection, found.values())
        return found

    async def lock_rows(
        self, connection: AsyncConnection, paths: Collection[RunKey]
    ) -> dict[RunKey, RunRecord]:
        """Lock the runs that exist at these paths, and return them without their writers."""
        return await self._find(connection, paths, _LOCK)

    async def read(
        self, connection: AsyncConnection, paths: Collection[RunKey]
    ) -> dict[RunKey, RunRecord]:
        """Return the runs that exist at these paths, with their writers, and lock none."""
        found = await self._find(connection, paths, _READ)
        await _add_writers(connection, found.values())
        return found

    async def _find(
        self, connection: AsyncConnection, paths: Collection[RunKey], statement: Executable
    ) -> dict[RunKey, RunRecord]:
        names = {path[:2] for path in paths}
        unknown = names - self._known.keys()
        if unknown:
            self._known |= await _project_ids(connection, unknown)
        found = await self._known_runs(connection, paths, statement)
        # A project that was renamed or deleted meanwhile hides its runs, or the lack of them.
        doubtful = {path[:2] for path in paths if path not in found} - unknown
        if doubtful:
            now = await _project_ids(connection, doubtful)
            moved = {name for name in doubtful if now.get(name) != self._known[name]}
            for name in moved:
                del self._known[name]
            self._known |= now
            again = [path for path in paths if path[:2] in moved]
            found |= await self._known_runs(connection, again, statement)
        return found

    async def _known_runs(
        self, connection: AsyncConnection, paths: Collection[RunKey], statement: Executable
    ) -> dict[RunKey, RunRecord]:
        ids = {path[:2]: self._known[path[:2]] for path in paths if path[:2] in self._known}
        return await _runs(connection, paths, ids, statement)

    async def create(
        self,
        connection: AsyncConnection,
        paths: Collection[RunKey],
        now: float,
        user_id: int | None = None,
    ) -> dict[RunKey, RunRecord]:
        """Create projects and runs that do not exist yet, and return all of them as `lock` does.

        `user_id` is whose they are, where they are new.
        """
        names = sorted({path[:2] for path in paths})
        made = {"created_at": now, "user_id": user_id}
        rows = [{"entity": e, "name": n, **made} for e, n in names]
        await connection.execute(self._new_projects, rows)
        ids = await _project_ids(connection, names)  # not to be remembered before the commit
        new = [_new_run(ids[path[:2]], path, now, user_id) for path in sorted(paths)]
        await connection.execute(self._new_runs, new)
        found = await _runs(connection, paths, ids, _LOCK)
        await _add_writers(connection, found.values())
        return found

    async def folds(self, connection: AsyncConnection, run_ids: Collection[int]) -> dict[int, str]:
        """Return the state of these runs' folds, JSON as text; "{}" where nothing was folded.

        All three of these give `DamagedText` for what is not as it was written.
        """
        return await _by_id(connection, _FOLDS, run_ids)

    async def configs(
        self, connection: AsyncConnection, run_ids: Collection[int]
    ) -> dict[int, str]:
        """Return these runs' configs, JSON as text."""
        return await _by_id(connection, _CONFIGS, run_ids)

    async def apply(self, connection: AsyncConnection, changes: Sequence[RunChange]) -> None:
        """Write new frames and the changed runs and writers.

        Frames are stored in this order; runs that change in the same columns go together.
        """
        new = [_frame_row(c.record.id, frame) for c in changes for frame in c.frames]
        if new:
            await connection.execute(_ADD_FRAMES, new)
        shapes: dict[tuple[str, ...], list[dict[str, object]]] = {}
        for change in changes:
            row = {**_record_row(change.record), **change.fields, **_tail_row(change)}
            named = {f"new_{name}": value for name, value in row.items()}
            shapes.setdefault(tuple(sorted(row)), []).append(named)
        for shape, rows in shapes.items():
            await connection.execute(self._update(shape), rows)
        changed = [
            _writer_row(change.record.id, writer) for change in changes for writer in change.writers
        ]
        if changed:
            await connection.execute(self._put_writers, changed)

    def _update(self, shape: tuple[str, ...]) -> Update:
        if shape not in self._updates:
            new = {name: _new_value(name) for name in shape if name != "id"}
            self._updates[shape] = update(runs).where(runs.c.id == bindparam("new_id")).values(new)
        return self._updates[shape]

    async def systems(
        self, connection: AsyncConnection, run_ids: Collection[int]
    ) -> dict[int, str]:
        """Return the last system metrics of these runs, JSON as text."""
        return await _by_id(connection, _SYSTEMS, run_ids)

    async def history_end(self, connection: AsyncConnection, run_id: int) -> tuple[int, int]:
        """Return a run's rows, and the number behind the last line of its W&B client; 0, 0: none.

        Lines of clients that share a run ("wandb-...") are numbered apart and do not count.
        """
        row = (await connection.execute(_HISTORY_END, {"run": run_id})).first()
        return (0, 0) if row is None else (row[0], row[1] or 0)

    async def request_stop(self, connection: AsyncConnection, run_id: int) -> bool:
        """Ask for a run's end; False where it has ended or is not there."""
        return (await connection.execute(_STOP, {"of_run": run_id})).rowcount == 1

    async def forget_writers(
        self, connection: AsyncConnection, run_id: int, names: Collection[str]
    ) -> None:
        """Delete writers whose numbers another writer of the run has taken over."""
        gone = [{"of_run": run_id, "of_writer": name} for name in names]
        await connection.execute(_FORGET_WRITER, gone)

    async def silent(
        self, connection: AsyncConnection, heard_before: float, limit: int = 500
    ) -> list[RunRecord]:
        """Lock live runs whose last heartbeat is older than `heard_before`; at most `limit`."""
        asked = {"heard_before": heard_before, "most": limit}
        rows = await connection.execute(_SILENT, asked)
        found = [RunRecord(row[3], RunKey(*row[:3]), *tuple(row)[4:]) for row in rows]
        await _add_writers(connection, found)
        return found


_COUNTED: Final = frozenset(column.name for column in TAIL)
_RUN_NAME: Final = tuple_(runs.c.project_id, runs.c.run)
_READ: Final = (
    select(projects.c.entity, projects.c.name, runs.c.run, runs.c.id, *_RECORD)
    .join(projects, projects.c.id == runs.c.project_id)
    .where(_RUN_NAME.in_(bindparam("some", expanding=True)))
    .order_by(runs.c.id)
)
_LOCK: Final = _READ.with_for_update(of=runs)
_PROJECT_NAME: Final = tuple_(projects.c.entity, projects.c.name)
_PROJECTS: Final = select(projects.c.entity, projects.c.name, projects.c.id).where(
    _PROJECT_NAME.in_(bindparam("some", expanding=True))
)
_WRITERS: Final = select(writers.c.run_id, *_WRITER).where(
    writers.c.run_id.in_(bindparam("some", expanding=True))
)
_SOME_RUNS: Final = runs.c.id.in_(bindparam("some", expanding=True))
_FOLDS: Final = select(runs.c.id, runs.c.fold).where(_SOME_RUNS)
_CONFIGS: Final = select(runs.c.id, runs.c.config).where(_SOME_RUNS)
_ADD_FRAMES: Final = insert(frames)
_SYSTEMS: Final = select(runs.c.id, runs.c.system).where(_SOME_RUNS)
_HISTORY_END: Final = (
    select(runs.c.rows, func.max(writers.c.next_seq))
    .outerjoin(
        writers,
        and_(
            writers.c.run_id == runs.c.id,
            or_(
                writers.c.writer == "wandb",
                writers.c.writer.startswith("wandb+", autoescape=True),
                writers.c.writer.startswith("wandb.", autoescape=True),
            ),
        ),
    )
    .where(runs.c.id == bindparam("run"))
    .group_by(runs.c.id, runs.c.rows)
)
_STOP: Final = (
    update(runs)
    .where(runs.c.id == bindparam("of_run"))
    .where(runs.c.state.in_(("running", "preempting", "pending")))
    .values(stop_requested=True, version=runs.c.version + 1)
)
_FORGET_WRITER: Final = delete(writers).where(
    writers.c.run_id == bindparam("of_run"), writers.c.writer == bindparam("of_writer")
)
_SILENT: Final = (
    select(projects.c.entity, projects.c.name, runs.c.run, runs.c.id, *_RECORD)
    .join(projects, projects.c.id == runs.c.project_id)
    .where(runs.c.state.in_(("running", "preempting")))
    .where(runs.c.heartbeat_at < bindparam("heard_before"))
    .order_by(runs.c.id)
    .limit(bindparam("most"))
    .with_for_update(of=runs, skip_locked=True)
)


async def _runs(
    connection: AsyncConnection,
    paths: Collection[RunKey],
    ids: Mapping[tuple[str, str], int],
    statement: Executable,
) -> dict[RunKey, RunRecord]:
    wanted = set(paths)
    keys = [(ids[path[:2]], path.run) for path in sorted(paths) if path[:2] in ids]
    found: dict[RunKey, RunRecord] = {}
    for chunk in batches(keys, _CHUNK):
        for row in await connection.execute(statement, {"some": chunk}):
            path = RunKey(*row[:3])
            if path in wanted:  # else the id is another project's by now
                found[path] = RunRecord(row[3], path, *tuple(row)[4:])
    return found


async def _add_writers(connection: AsyncConnection, records: Collection[RunRecord]) -> None:
    # A statement of its own, after the lock: on PostgreSQL a joined row would be the one from
    # before the wait for the lock.
    by_id = {record.id: record for record in records}
    for chunk in batches(by_id, _CHUNK):
        for row in await connection.execute(_WRITERS, {"some": chunk}):
            by_id[row[0]].writers[row[1]] = WriterRecord(*tuple(row)[1:])


async def _project_ids(
    connection: AsyncConnection, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    ids: dict[tuple[str, str], int] = {}
    for chunk in batches(sorted(names), _CHUNK):
        for entity, name, number in await connection.execute(_PROJECTS, {"some": chunk}):
            ids[entity, name] = number
    return ids


async def _by_id(
    connection: AsyncConnection, statement: Select[int, V], run_ids: Collection[int]
) -> dict[int, V]:
    found: dict[int, V] = {}
    for chunk in batches(run_ids, _CHUNK):
        found.update((r[0], r[1]) for r in await connection.execute(statement, {"some": chunk}))
    return found


def new_record(path: RunKey, now: float) -> RunRecord:
    """Return what `IngestStore.create` makes at a path, before it has an id."""
    return RunRecord(NEW, path, "running", 0, 0, 0, None, now, None, None, None, False)


def _new_run(project_id: int, path: RunKey, now: float, user_id: int | None) -> dict[str, object]:
    return {
        "project_id": project_id,
        "run": path.run,
        "name": path.run,
        "state": "running",
        "created_at": now,
        "heartbeat_at": now,
        "user_id": user_id,
        "rows": 0,
        "lost": 0,
        "version": 0,
        "tags": [],
        "config": "{}",
        "summary": "{}",
        "fold": "{}",
    }


def _record_row(record: RunRecord) -> dict[str, object]:
    row = {column.name: getattr(record, column.name) for column in _RECORD}
    return {"id": record.id, **row}


def _writer_row(run_id: int, writer: WriterRecord) -> dict[str, object]:
    return {"run_id": run_id, **{c.name: getattr(writer, c.name) for c in _WRITER}}


def _tail_row(change: RunChange) -> dict[str, object]:
    """Return how much longer a run's tail gets, and when."""
    if not change.frames:
        return {}
    more = tail_of(change.frames)
    return {**{c.name: n for c, n in zip(TAIL, more, strict=True)}, "tail_at": change.now}


def _new_value(name: str) -> ColumnElement[object]:
    value: ColumnElement[object] = bindparam(f"new_{name}")
    return runs.c[name] + value if name in _COUNTED else value


def _frame_row(run_id: int, frame: NewFrame) -> dict[str, object]:
    return {
        "run_id": run_id,
        "writer": frame.writer,
        "first_seq": frame.first_seq,
        "count": frame.count,
        "rows": frame.rows,
        "min_step": frame.min_step,
        "max_step": frame.max_step,
        "size": len(frame.data),
        "data": frame.data,
    }
