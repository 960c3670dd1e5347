"""Sweeps: made and changed for whoever asks. Access is decided here, and what is written.

    PENDING ---> RUNNING <---> PAUSED
       |          |  ^           |
       v          v  |           v
          FINISHED, CANCELED

A sweep is PENDING until its first run begins, or until somebody says otherwise; one that has ended
can be resumed. W&B's clients go by the same rules.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from anyio import to_thread

from asyncwb.server.http.access import Action, require_project
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import State
from asyncwb.server.people.accounts import checked_text
from asyncwb.server.queries.conditions import Filter
from asyncwb.server.runs.projects import create_project
from asyncwb.server.runs.sweep_config import SweepConfigError, read
from asyncwb.server.store.people.users import User
from asyncwb.server.store.queries.query import MAX_PAGE, RunQuery
from asyncwb.server.store.runs.sweeps import StoredSweep
from asyncwb.server.store.texts import is_storable

_MOVES: Final[Mapping[str, tuple[str, ...]]] = {
    "PENDING": ("RUNNING", "FINISHED", "CANCELED"),
    "RUNNING": ("PAUSED", "FINISHED", "CANCELED"),
    "PAUSED": ("RUNNING", "FINISHED", "CANCELED"),
    "FINISHED": ("RUNNING",),
    "CANCELED": ("RUNNING",),
}
STATES: Final = tuple(_MOVES)
_LETTERS: Final = string.ascii_lowercase + string.digits
_NAME_LENGTH: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEdit:
    """What is asked of a sweep; None leaves as it is.

    `config` is YAML of a mapping; `prior_runs` says which runs of the project belong to the sweep
    from now on.
    """

    config: str | None = None
    display_name: str | None = None
    description: str | None = None
    state: str | None = None
    prior_runs: Filter | None = None


@dataclass(frozen=True, slots=True)
class SweepName:
    """Where a sweep is; `entity` None is the user's own."""

    entity: str | None
    project: str
    sweep: str


async def create_sweep(
    state: State, user: User, entity: str | None, project: str, edit: SweepEdit
) -> tuple[StoredSweep, tuple[str, ...]]:
    """Make a sweep, and its project where there is none.

    Returns:
        The sweep, and what its author should know about its configuration.

    Raises:
        ApiError: 400 for what cannot be a sweep, 403 where the user may not write.
    """
    if edit.config is None:
        raise _refused("A new sweep needs a `config`.")
    columns, warnings = await _columns(edit)
    named = (entity or user.entity, project)
    renamed = await state.projects.find(*named) if is_storable(*named) else None
    project = project if renamed is None else renamed.name
    found, _ = await create_project(state, user, entity, project)
    name = "".join(secrets.choice(_LETTERS) for _ in range(_NAME_LENGTH))
    row = {"display_name": None, "description": None, "state": "PENDING", "sweep": name, **columns}
    sweep = await state.sweeps.create(found.id, user.id, state.clock(), row)
    await _take(state, sweep, edit.prior_runs)
    return sweep, warnings


async def change_sweep(
    state: State, user: User, name: SweepName, edit: SweepEdit
) -> tuple[StoredSweep, tuple[str, ...]]:
    """Change a sweep; as `create_sweep`.

    Raises:
        ApiError: 400 also for a state that does not follow the one it is in, 403, 404; 409 where
            somebody else changed its state meanwhile, or deleted it.
    """
    sweep = await require_sweep(state, user, Action.WRITE, name)
    columns, warnings = await _columns(edit)
    if edit.state is not None and edit.state not in (sweep.state, *_MOVES[sweep.state]):
        raise ApiError(
            400,
            "bad_state",
            f"A sweep that is {sweep.state} cannot become {edit.state}. Nothing was written.",
        )
    changed = await state.sweeps.change(sweep, state.clock(), columns)
    if changed is None:
        raise ApiError(
            409, "conflict", "Somebody else changed the sweep. Nothing was written; look again."
        )
    await _take(state, changed, edit.prior_runs)
    return changed, warnings


async def require_sweep(state: State, user: User, action: Action, name: SweepName) -> StoredSweep:
    """Return a sweep that the user may do this with.

    Raises:
        ApiError: 404 where there is none or the user may not read it, 403.
    """
    project = await require_project(state, user, action, name.entity, name.project)
    sweep = await state.sweeps.find(project.id, name.sweep) if is_storable(name.sweep) else None
    if sweep is None:
        raise sweep_not_found(name.sweep)
    return sweep


def sweep_not_found(sweep: str) -> ApiError:
    """Return the refusal for a sweep that the project does not have."""
    what = f"The project has no sweep {sweep[:128]!r}. Nothing was written; check its id."
    return ApiError(404, "sweep_not_found", what)


async def _columns(edit: SweepEdit) -> tuple[dict[str, object], tuple[str, ...]]:
    said = {
        "display_name": checked_text(edit.display_name, "display name"),
        "description": checked_text(edit.description, "description"),
        "state": _checked_state(edit.state),
    }
    columns: dict[str, object] = {
        column: value for column, value in said.items() if value is not None
    }
    if edit.config is None:
        return columns, ()
    try:
        config = await to_thread.run_sync(read, edit.config)
    except SweepConfigError as error:
        raise _refused(f"The `config` cannot be a sweep's: {error}.") from error
    columns["config_name"] = config.name
    for column in ("method", "metric", "maximize", "expected_runs"):
        columns[column] = getattr(config, column)
    return {**columns, "config": edit.config}, config.warnings


def _checked_state(state: str | None) -> str | None:
    if state is not None and state not in STATES:
        raise _refused(f"`state` must be one of {', '.join(STATES)}.")
    return state


async def _take(state: State, sweep: StoredSweep, prior: Filter | None) -> None:
    """Let the runs that a filter lets pass belong to the sweep."""
    after, more = None, prior is not None
    query = RunQuery(state.database)
    while more:
        assert prior is not None
        page = await query.page(sweep.project_id, prior, None, MAX_PAGE, after)
        run_ids = [run.id for run in page.rows]
        await state.sweeps.take(sweep.project_id, sweep.sweep, run_ids)
        state.hub.publish(run_ids)
        more, after = page.has_next, page.cursors[-1] if page.cursors else None


def _refused(message: str) -> ApiError:
    return ApiError(400, "bad_sweep", f"{message} Nothing was written.")
