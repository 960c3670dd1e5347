"""Projects: making, changing and deleting them, over HTTP and for whoever else asks.

POST                        /api/v1/projects
GET, PATCH, DELETE          /api/v1/projects/{entity}/{project}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from asyncwb.server.http.access import Action, forbidden, may, require_project
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.json_body import fields
from asyncwb.server.http.state import STATE, USER, State
from asyncwb.server.http.strict_json import json_response
from asyncwb.server.people.accounts import checked_text, refused, taken
from asyncwb.server.people.teams import ensure_entities
from asyncwb.server.runs.runs import project_entry
from asyncwb.server.store.people.users import TakenError, User
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.wire import names

VISIBILITIES: Final = ("private", "public")


def routes() -> list[web.RouteDef]:
    """Return the routes of single projects."""
    project = "/api/v1/projects/{entity}/{project}"
    return [
        web.post("/api/v1/projects", post_project),
        web.get(project, get_project),
        web.patch(project, patch_project),
        web.delete(project, delete_project),
    ]


async def create_project(
    state: State,
    viewer: User,
    entity: str | None,
    name: str,
    *,
    visibility: str = "private",
    description: str | None = None,
) -> tuple[StoredProject, bool]:
    """Create a project, or return the one that is there as it is.

    Args:
        state: the server.
        viewer: who asks.
        entity: None is the viewer's own.
        name: the project's.
        visibility: "private" or "public" (for who manages the entity).
        description: what it is about.

    Returns:
        The project, and whether it is new.

    Raises:
        ApiError: 400, 403.
    """
    entity = entity or viewer.entity
    if not may(viewer, Action.WRITE, entity):
        raise forbidden(f"You may not write to {entity}.")
    if _checked_visibility(visibility) != "private" and not may(viewer, Action.MANAGE, entity):
        raise forbidden(f"Only an admin of {entity} may make projects public.")
    description = checked_text(description, "description")
    _check_name("entity", entity)
    _check_name("project", name)
    await ensure_entities(state, viewer, {entity})
    return await state.projects.create(
        entity,
        name,
        state.clock(),
        user_id=viewer.id,
        visibility=visibility,
        description=description,
    )


async def change_project(
    state: State,
    viewer: User,
    entity: str | None,
    project: str,
    *,
    name: str | None = None,
    visibility: str | None = None,
    description: str | None = None,
) -> StoredProject:
    """Change a project; None leaves as it is. Who writes to it may describe it, no more.

    Raises:
        ApiError: 400, 403, 404; 409 where the entity has a project of the new name.
    """
    manages = name is not None or visibility is not None
    action = Action.MANAGE if manages else Action.WRITE
    found = await require_project(state, viewer, action, entity, project)
    description = checked_text(description, "description")
    if visibility is not None:
        _checked_visibility(visibility)
    if name is not None and name != found.name:
        _check_name("project", name)
        try:
            await state.projects.rename(found.id, name)
        except TakenError as error:
            raise taken(f"{found.entity}/{name}") from error
    if visibility is not None:
        await state.projects.set_visibility(found.id, visibility)
    if description is not None:
        await state.projects.set_description(found.id, description)
    return (await state.projects.some([found.id]))[found.id]


async def remove_project(
    app: web.Application, viewer: User, entity: str | None, project: str
) -> None:
    """Delete a project, its runs, and all that belongs to them; for who manages the entity.

    Former names do not count. It takes a transaction for some hundred runs. Runs that clients add
    meanwhile are deleted too.

    Raises:
        ApiError: 403, 404; 409 for a former name.
    """
    state = app[STATE]
    found = await require_project(state, viewer, Action.MANAGE, entity, project)
    if found.name != project:  # whoever deletes must know what it is
        raise ApiError(
            409,
            "project_renamed",
            f"{project} is called {found.name} now. Nothing was deleted; say its name of today.",
        )
    while not await state.projects.delete_empty(found.id):
        await remove_runs(app, await state.projects.some_runs(found.id))


async def remove_runs(app: web.Application, run_ids: Sequence[int]) -> None:
    """Delete runs that the caller has been let to, their rows, their files and all their objects.

    Args:
        app: the server.
        run_ids: inner ids.
    """
    state = app[STATE]
    await state.projects.delete_runs(run_ids, state.clock())
    state.hub.publish(run_ids)  # who watches one learns that it is gone


async def post_project(request: web.Request) -> web.Response:
    """Create a project: 201, or 200 with the one that is there."""
    optional = str | None
    asked = await fields(
        request, entity=optional, name=str, visibility=optional, description=optional
    )
    project, new = await create_project(
        request.app[STATE],
        request[USER],
        asked["entity"],
        asked["name"],
        visibility=asked["visibility"] or "private",
        description=asked["description"],
    )
    response = json_response({"project": project_entry(project)})
    response.set_status(201 if new else 200)
    return response


async def get_project(request: web.Request) -> web.Response:
    """Answer one project."""
    state, match = request.app[STATE], request.match_info
    found = await require_project(
        state, request[USER], Action.READ, match["entity"], match["project"]
    )
    return json_response({"project": project_entry(found)})


async def patch_project(request: web.Request) -> web.Response:
    """Change a project."""
    optional = str | None
    asked = await fields(request, name=optional, visibility=optional, description=optional)
    state, match = request.app[STATE], request.match_info
    project = await change_project(state, request[USER], match["entity"], match["project"], **asked)
    return json_response({"project": project_entry(project)})


async def delete_project(request: web.Request) -> web.Response:
    """Delete a project and all its runs."""
    match = request.match_info
    await remove_project(request.app, request[USER], match["entity"], match["project"])
    return json_response({})


def _check_name(kind: names.Kind, name: str) -> None:
    problem = names.problem(kind, name)
    if problem is not None:
        raise refused(f"{problem}.")


def _checked_visibility(visibility: str) -> str:
    if visibility not in VISIBILITIES:
        raise refused(f"visibility must be one of {', '.join(VISIBILITIES)}.")
    return visibility
