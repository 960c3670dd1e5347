"""Edits carried out: check who asks, decide with `edits.py`, write with `store/runs/edits.py`.

What an edit changes is computed from what the run was when it was read, and written where it still
is that (`run_changes`), so it and the rows that come in meanwhile follow one another. Whoever
watches the run is told afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from aiohttp import web
from anyio import to_thread

from asyncwb.errors import LogTypeError
from asyncwb.server.http.access import Action, deleting, forbidden, may, require_run
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import STATE, State
from asyncwb.server.intake import file_stream
from asyncwb.server.intake.folds import read_fold, summary_event
from asyncwb.server.intake.ingest import Find
from asyncwb.server.objects.damage import DamagedError, document_refusal, sound
from asyncwb.server.people.teams import missing_teams
from asyncwb.server.process.run_changes import ChangedError, Connect
from asyncwb.server.runs import edits
from asyncwb.server.runs.edits import Edit, EditError
from asyncwb.server.runs.sweeps import sweep_not_found
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.people.users import User
from asyncwb.server.store.records import RunKey, RunRecord
from asyncwb.server.store.runs import edits as store
from asyncwb.server.store.runs import former_names, sweeps
from asyncwb.server.store.runs.edits import EditedRun
from asyncwb.server.store.texts import storable
from asyncwb.wire import names
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.rows.value_count import MAX_VALUES, has_too_many
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.run_names import made_name
from asyncwb.wire.summary.fold import Fold


@dataclass(frozen=True, slots=True)
class Upserted:
    """A run after an edit: its inner id, and whether the edit made it."""

    id: int
    path: RunKey
    created: bool


async def upsert(state: State, user: User, path: RunKey, edit: Edit) -> Upserted:
    """Edit the run at `path`; make it, and its project, where there is none.

    A run that is there is not brought back to life by being made once more: a state in which runs
    are alive is passed over then. A project's former name leads to it: nobody who logs by a name
    makes a project, where there is one that had it.

    Raises:
        ApiError: 400 for names and states that cannot be, 403 where the user may not write, 404
            for a sweep that the project does not have.
    """
    problem = names.problem_of(*path)
    if problem is not None:
        raise ApiError(400, "bad_name", f"{problem}. Nothing was written.")
    if not may(user, Action.WRITE, path.entity):
        # What is there may be readable; what is not must not be told from it.
        raise forbidden(f"You may not write to {path.entity}.")
    await _check(edit)
    teams = await missing_teams(state, user, {path.entity})
    change = _EditChange(state, user, path, edit, teams=teams)
    done = await state.changes.carry_out(change)
    state.teams.made(teams)
    state.hub.publish([change.run_id])
    return Upserted(change.run_id, done.path, done.created)


async def edit_run(state: State, user: User, path: RunKey, edit: Edit) -> Upserted:
    """Edit a run that must be there.

    Raises:
        ApiError: 400 for a state that cannot be, 403, 404.
    """
    path, run_id = await require_run(state, user, Action.WRITE, path)
    await _check(edit)
    await state.changes.carry_out(_EditChange(state, user, path, edit, run_id))
    state.hub.publish([run_id])
    return Upserted(run_id, path, created=False)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run as it was read, under its name of today; None where there was none."""

    path: RunKey
    run: EditedRun | None


@dataclass(frozen=True, slots=True)
class _Done:
    """What an edit writes."""

    path: RunKey
    created: bool
    edit: Edit
    columns: dict[str, object]


class _EditChange:
    """The change that an edit makes, with the `teams` that it needs. Without a `run_id` the run is
    made where there is none.

    `run_id` is that of the run once it is written.
    """

    def __init__(
        self,
        state: State,
        user: User,
        path: RunKey,
        edit: Edit,
        run_id: int | None = None,
        teams: Collection[str] = (),
    ) -> None:
        self._state = state
        self._user = user
        self._edit = edit
        self._by_id = run_id
        self._teams = teams
        self._now = state.clock()
        self.run_id = run_id or 0
        self.paths = [path]

    async def read(self, connect: Connect, *, fresh: bool) -> _Seen:
        async with connect() as connection:
            path, run_id = self.paths[0], self._by_id
            if run_id is None:
                path, record = await self._find(connection, self._state.ingest.read)
                run_id = None if record is None else record.id
            run = None if run_id is None else await store.look(connection, run_id)
        if run is None and self._by_id is not None:
            raise _deleted()
        return _Seen(path, run)

    async def _find(
        self, connection: AsyncConnection, find: Find
    ) -> tuple[RunKey, RunRecord | None]:
        (path,) = self.paths
        found = await find(connection, [path])
        for moved in (await former_names.follow(connection, {path} - found.keys())).values():
            path = moved
            found = await find(connection, [path])
        return path, found.get(path)

    async def compute(self, seen: _Seen) -> _Done:
        return await to_thread.run_sync(self._decided, seen)  # a config may have 100,000 keys

    def _decided(self, seen: _Seen) -> _Done:
        edit, run, created = self._edit, seen.run, seen.run is None
        if not created and self._by_id is None and edit.state in edits.ACTIVE:
            edit = replace(edit, state=None)
        before = ("{}", [], "{}") if run is None else (run.config, run.tags, run.fold)
        config, tags, text = before
        try:
            fold = None
            if edit.summary is not None or edit.summary_changes:
                fold = read_fold(text)
            known = loads(sound(config, "the run's config")) if edit.config_changes else {}
            edit = edits.merged(edit, known, tags, lambda: fold.as_dict() if fold else {})
            columns = edits.changed(edit, self._now)
            if "config" in columns:
                columns["config"] = _text("config", columns["config"])
            if fold is not None and edit.summary is not None:
                columns |= _summary(fold, edit.summary)
        except (EditError, LogTypeError) as error:
            raise _bad_edit(error) from error
        except DamagedError as error:
            raise document_refusal(error, 409, "Nothing was written") from error
        return _Done(seen.path, created, edit, columns)

    async def lock(self, connection: AsyncConnection) -> None:
        if self._by_id is None:
            await self._find(connection, self._state.ingest.lock_rows)
        else:
            await store.lock(connection, self._by_id)

    async def write(self, connection: AsyncConnection, seen: _Seen, done: _Done) -> None:
        run = seen.run
        if self._by_id is not None:
            version = await store.lock_version(connection, self._by_id)
            if run is None or version != run.version:
                raise ChangedError
        else:
            path, record = await self._find(connection, self._state.ingest.lock_rows)
            stood = run and (run.id, run.version)
            if (path, record and (record.id, record.version)) != (seen.path, stood):
                raise ChangedError
        await self._state.teams.add(connection, self._teams, self._now, admin_id=self._user.id)
        columns = done.columns
        if run is None:
            run = await self._make(connection, done.path)
            columns = columns | await _named(connection, run, done.path, done.edit)
        sweep = done.edit.sweep
        if sweep is not None and not await sweeps.join(connection, run.project_id, sweep):
            raise sweep_not_found(sweep)
        await store.write(connection, run, columns)
        self.run_id = run.id

    async def _make(self, connection: AsyncConnection, path: RunKey) -> EditedRun:
        made = await self._state.ingest.create(connection, [path], self._now, self._user.id)
        run = await store.lock(connection, made[path].id)
        if run is None or run.version:
            raise ChangedError  # another process has made it meanwhile
        return run


async def _named(
    connection: AsyncConnection, run: EditedRun, path: RunKey, edit: Edit
) -> dict[str, object]:
    if edit.name:
        return {}
    return {"name": made_name(path.run, await store.count_runs(connection, run.project_id))}


async def _locked(connection: AsyncConnection, run_id: int) -> EditedRun:
    run = await store.lock(connection, run_id)
    if run is None:
        raise _deleted()
    return run


def _deleted() -> ApiError:
    return ApiError(404, "run_not_found", "The run has been deleted meanwhile.")


async def _check(edit: Edit) -> None:
    try:
        await to_thread.run_sync(edits.check, edit)  # a config may have 100,000 keys
    except EditError as error:
        raise _bad_edit(error) from error


def _bad_edit(error: Exception) -> ApiError:
    return ApiError(400, "bad_edit", f"{error}. Nothing was written.")


def _text(what: str, document: object) -> str:
    """Write a document.

    Raises:
        EditError: it has more values than there may be, together with what was there before.
    """
    text = dumps(document)
    if has_too_many(text):
        raise EditError(f"the {what} would have more than {MAX_VALUES:,} values and names")
    return text.decode()


def _summary(fold: Fold, summary: Mapping[str, object]) -> dict[str, object]:
    fold.apply(empty(), [(0, summary_event(fold, summary))])
    return {"fold": dumps(fold.state()).decode(), "summary": _text("summary", fold.as_dict())}


async def move(state: State, user: User, path: RunKey, wanted: str) -> None:
    """Put a run into another state, where `edits.moved` allows it.

    Raises:
        ApiError: 400 where that is no way, 403, 404.
    """
    _, run_id = await require_run(state, user, Action.WRITE, path)
    now = state.clock()
    async with state.database.transaction() as connection:
        run = await _locked(connection, run_id)
        try:
            columns = edits.moved(run.state, wanted, now)
        except EditError as error:
            raise ApiError(400, "bad_state", f"{error}. Nothing was written.") from error
        await store.write(connection, run, columns)
    state.hub.publish([run_id])


async def stop(state: State, user: User, path: RunKey) -> None:
    """Ask for a run to end: its client is told with its next answer. Nothing where it has ended.

    Raises:
        ApiError: 403, 404.
    """
    _, run_id = await require_run(state, user, Action.WRITE, path)
    await file_stream.request_stop(state, run_id)


async def delete(app: web.Application, user: User, path: RunKey) -> None:
    """Delete a run and all that belongs to it; its own user may, and who manages the entity.

    Raises:
        ApiError: 403, 404.
    """
    state = app[STATE]
    path, run_id = await require_run(state, user, Action.WRITE, path)
    async with state.database.transaction() as connection:
        run = await _locked(connection, run_id)
        if not may(user, deleting(user, run.user_id), path.entity):
            raise forbidden(f"{path} is somebody else's run.")
        await store.delete_runs(connection, [run_id], state.clock())
    state.hub.publish([run_id])


async def alert(
    state: State, user: User, path: RunKey, *, title: str, text: str, level: str, wait: float
) -> bool:
    """Store an alert of a run, unless one of the same title came in the last `wait` seconds.

    Returns:
        Whether it was stored.

    Raises:
        ApiError: 403, 404.
    """
    _, run_id = await require_run(state, user, Action.WRITE, path)
    now, title = state.clock(), storable(title)
    async with state.database.transaction() as connection:
        await _locked(connection, run_id)
        last = await store.last_alert(connection, run_id, title)
        if last is not None and now - last < wait:
            return False
        await store.add_alert(connection, run_id, now, title, storable(text), level)
    return True
