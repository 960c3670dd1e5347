"""Who may do what, decided here and nowhere else; what nobody allowed is denied.

    in the entity        READ   WRITE   MANAGE   ADMIN
    viewer                x
    member                x      x
    admin                 x      x       x
    nobody                only what is in a public project
    admin of the server   x      x       x        x

Everybody is the admin of their own entity. Who may not even read is told the same as if there
were nothing, so that nobody can find out what others have.
"""

from __future__ import annotations

import time
from enum import Enum
from typing import Final

from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import State
from asyncwb.server.store.people.users import Role, User
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.server.store.texts import is_storable

__all__ = [
    "Action",
    "Role",
    "Watcher",
    "deleting",
    "forbidden",
    "may",
    "project_not_found",
    "readable",
    "require_admin",
    "require_project",
    "require_run",
    "run_not_found",
]


class Action(Enum):
    """What somebody wants to do."""

    READ = "read"
    """see projects, runs, files, reports, members"""
    WRITE = "write"
    """log and edit runs, files and reports"""
    MANAGE = "manage"
    """delete projects and what others made; members, invitations, visibility"""
    ADMIN = "admin"
    """the server itself: its users and teams"""


_ALLOWED: Final = {
    Role.VIEWER: {Action.READ},
    Role.MEMBER: {Action.READ, Action.WRITE},
    Role.ADMIN: {Action.READ, Action.WRITE, Action.MANAGE},
}


def may(user: User, action: Action, entity: str, visibility: str = "private") -> bool:
    """Tell whether a user may do this with what belongs to `entity`.

    Args:
        user: who asks.
        action: what for.
        entity: the owner of the project, or the team.
        visibility: the project's, "private" or "public".
    """
    if user.admin:
        return True
    role = user.roles.get(entity)
    if role is not None:
        return action in _ALLOWED[role]
    return action is Action.READ and visibility == "public"


def readable(user: User) -> frozenset[str] | None:
    """Return the entities all of whose projects the user may read; None means all there are.

    What lists projects takes these and public ones.
    """
    return None if user.admin else frozenset(user.roles)


def deleting(user: User, owner_id: int | None) -> Action:
    """Return what it takes to delete a run or a report that the user with `owner_id` made."""
    return Action.WRITE if owner_id == user.id else Action.MANAGE


def require_admin(user: User) -> None:
    """Let only admins of the server pass.

    Raises:
        ApiError: 403.
    """
    if not user.admin:
        raise forbidden("Only an admin of this server may do that.")


async def require_project(
    state: State, user: User, action: Action, entity: str | None, project: str
) -> StoredProject:
    """Return a project that the user may do this with. One statement, or two for a former name.

    Args:
        state: the server.
        user: who asks.
        action: what for.
        entity: None is the user's own.
        project: the project's name.

    Raises:
        ApiError: 404 where there is none or the user may not read it, 403 where only reading is
            allowed.
    """
    entity = entity or user.entity
    found = await state.projects.find(entity, project) if is_storable(entity, project) else None
    if found is None or not may(user, Action.READ, entity, found.visibility):
        raise project_not_found(entity, project)
    if not may(user, action, entity, found.visibility):
        raise forbidden(f"You may read {entity}/{project}, and no more than that.")
    return found


async def require_run(state: State, user: User, action: Action, path: RunKey) -> tuple[RunKey, int]:
    """Return a run that the user may do this with, and its inner id. One statement.

    The path that is returned names the project as it is called now.

    Args:
        state: the server.
        user: who asks.
        action: what for.
        path: the run; an empty entity is the user's own.

    Raises:
        ApiError: 404 where there is none or the user may not read it, 403 where only reading is
            allowed.
    """
    path = path if path.entity else path._replace(entity=user.entity)
    found = await state.projects.locate_run(path) if is_storable(*path) else None
    if found is None or not may(user, Action.READ, path.entity, found.visibility):
        raise run_not_found(path)
    if not may(user, action, path.entity, found.visibility):
        raise forbidden(f"You may read {path}, and no more than that.")
    return path._replace(project=found.project), found.id


class Watcher:
    """Somebody whom a long answer is sent to, and who may lose the right to it meanwhile."""

    def __init__(self, state: State, user: User, path: RunKey) -> None:
        self._state = state
        self._user = user
        self._path = path
        self._changes = state.users.changes
        self._asked = time.monotonic()

    async def may_go_on(self, *, every: float) -> bool:
        """Tell whether the user may still read the run.

        It asks the database when this process has changed a role or an account, and after `every`
        seconds; between, the last answer holds.
        """
        changes, now = self._state.users.changes, time.monotonic()
        if changes == self._changes and now - self._asked < every:
            return True
        self._changes, self._asked = changes, now
        user = await self._state.users.get(self._user.id)
        if user is None or user.disabled_at is not None:
            return False
        try:
            await require_run(self._state, user, Action.READ, self._path)
        except ApiError:
            return False
        return True


def project_not_found(entity: str, project: str) -> ApiError:
    """Return the refusal for a project that is not there."""
    what = f"There is no project {entity}/{project}. Check entity and name."
    return ApiError(404, "project_not_found", what)


def run_not_found(path: RunKey) -> ApiError:
    """Return the refusal for a run that is not there."""
    return ApiError(404, "run_not_found", f"There is no run {path}. Check entity, project and id.")


def forbidden(what: str) -> ApiError:
    """Return the refusal for what this user may not do with what the user may see."""
    return ApiError(403, "forbidden", f"{what} Nothing was written; ask an admin.")
