"""Projects: found and listed here; made, changed and deleted as `server.runs.projects` allows."""

from __future__ import annotations

from typing import Final

from ariadne import MutationType, ObjectType, QueryType

from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, if_there
from asyncwb.server.graphql.inputs import (
    DeleteModelInput,
    RenameProjectInput,
    UpsertModelInput,
    back,
)
from asyncwb.server.graphql.nodes import NamedEntity, user_of
from asyncwb.server.http.access import Action, may, readable, require_project
from asyncwb.server.http.errors import ApiError
from asyncwb.server.runs import projects as rules
from asyncwb.server.store.people.users import User
from asyncwb.server.store.runs.projects import StoredProject

LIST: Final = "projects"
_ACCESS: Final = {"private": "PRIVATE", "public": "USER_READ"}
_NOT_KEPT: Final = (
    *("allow_all_artifact_types_in_registry", "artifact_types", "docker_image", "framework"),
    *("icon", "is_benchmark", "is_published", "owner", "rate_limits", "repo", "views"),
)

query = QueryType()
mutation = MutationType()
project_type = ObjectType("Project")
BINDABLES = [query, mutation, project_type]


@query.field("project")
@query.field("model")
async def _project(
    _: object, info: Info, name: str | None = None, entity_name: str | None = None
) -> StoredProject | None:
    return await find(info.context, entity_name, name)


async def find(context: Context, entity: str | None, name: str | None) -> StoredProject | None:
    """Return a project that the user may read; None where there is none."""
    if not name:
        return None
    found = require_project(context.state, context.user, Action.READ, entity, name)
    return await if_there(found)


@query.field("models")
async def _models(
    _: object,
    info: Info,
    entity_name: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> paging.Connection:
    return await page(info.context, entity_name or info.context.user.entity, first, after)


async def page(
    context: Context, entity: str, first: int | None, after: str | None
) -> paging.Connection:
    """Return a connection of an entity's projects, newest first."""
    size, cursor = paging.page_size(first), paging.decode(after, LIST)
    rows = await context.state.projects.page(
        entity,
        readable(context.user),
        limit=size + 1,
        before=None if cursor is None else cursor[1],
    )
    return paging.connection(rows, size, lambda row: (None, row.id), LIST)


@project_type.field("id")
def _id(project: StoredProject, _: Info) -> str:
    return ids.encode("Project", project.name, project.entity)


@project_type.field("internalId")
def _internal_id(project: StoredProject, _: Info) -> str:
    return ids.encode("ProjectInternalId", project.id)


@project_type.field("entityName")
def _entity_name(project: StoredProject, _: Info) -> str:
    return project.entity


@project_type.field("entity")
def _entity(project: StoredProject, _: Info) -> NamedEntity:
    return NamedEntity(project.entity)


@project_type.field("isBenchmark")
@project_type.field("isPublished")
def _no(_: StoredProject, _info: Info) -> bool:
    return False


@project_type.field("user")
async def _user(project: StoredProject, info: Info) -> User | None:
    return await user_of(info.context, project.user_id)


@project_type.field("access")
def _access(project: StoredProject, _: Info) -> str:
    return _ACCESS[project.visibility]


@project_type.field("readOnly")
def _read_only(project: StoredProject, info: Info) -> bool:
    return not may(info.context.user, Action.WRITE, project.entity, project.visibility)


@mutation.field("upsertModel")
async def _upsert(_: object, info: Info, input: UpsertModelInput) -> dict[str, object]:
    context: Context = info.context
    for field in _NOT_KEPT:
        if input.get(field) not in (None, False, "", []):
            raise ApiError(400, "not_yet", f"This server keeps no {field!r} of projects yet.")
    project, inserted = await _found_or_made(context, input)
    return {**back(input), "project": project, "model": project, "inserted": inserted}


async def _found_or_made(context: Context, input: UpsertModelInput) -> tuple[StoredProject, bool]:
    state, viewer = context.state, context.user
    visibility, description = _visibility(input.get("access")), input.get("description")
    if project_id := input.get("id"):
        name, entity = ids.decode(project_id, "Project")
        new = input.get("name") if input.get("name") != name else None
    else:
        made = (input.get("entity_name"), input.get("name") or "")
        project, inserted = await rules.create_project(
            state, viewer, *made, visibility=visibility or "private", description=description
        )
        if inserted:
            return project, True
        name, entity, new = project.name, project.entity, None
        visibility = None if visibility == project.visibility else visibility
    changed = await rules.change_project(
        state, viewer, entity, name, name=new, visibility=visibility, description=description
    )
    return changed, False


@mutation.field("renameProject")
async def _rename(_: object, info: Info, input: RenameProjectInput) -> dict[str, object]:
    state, viewer = info.context.state, info.context.user
    entity, name, new = input["entity_name"], input["old_project_name"], input["new_project_name"]
    project = await rules.change_project(state, viewer, entity, name, name=new)
    return {**back(input), "project": project, "inserted": False}


@mutation.field("deleteModel")
async def _delete(_: object, info: Info, input: DeleteModelInput) -> dict[str, object]:
    name, entity = ids.decode(input["id"], "Project")
    user = info.context.user
    try:
        await rules.remove_project(info.context.app, user, entity, name)
    except ApiError as error:  # gone already: a client whose answer was lost asks once more
        if error.code != "project_not_found" or not may(user, Action.MANAGE, entity):
            raise
    return {**back(input), "success": True}


def _visibility(access: str | None) -> str | None:
    if access is None:
        return None
    for visibility, name in _ACCESS.items():
        if name == access:
            return visibility
    choices = " or ".join(_ACCESS.values())
    raise ApiError(400, "bad_access", f"The access of a project is {choices}, not {access!r}.")
