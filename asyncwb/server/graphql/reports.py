"""Reports, and the saved workspaces that W&B's page and its tools keep the same way."""

from __future__ import annotations

import secrets
from typing import Final

from anyio import to_thread
from ariadne import MutationType, ObjectType, QueryType

from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, if_there
from asyncwb.server.graphql.inputs import DeleteViewInput, UpsertViewInput, back
from asyncwb.server.graphql.nodes import project_of, user_of
from asyncwb.server.http.access import Action, deleting, forbidden, may, require_project
from asyncwb.server.http.errors import ApiError
from asyncwb.server.objects.damage import require_sound
from asyncwb.server.people.accounts import checked_text, refused, taken
from asyncwb.server.store.people.users import TakenError, User
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.server.store.runs.reports import StoredReport
from asyncwb.wire.rows.value_count import MAX_VALUES, has_too_many
from asyncwb.wire.rows.values import loads

LIST: Final = "views"
MAX_SPEC: Final = 4 * 2**20
"""characters of a report's JSON"""
_REPORT: Final = "runs"

query = QueryType()
mutation = MutationType()
project_type = ObjectType("Project")
view_type = ObjectType("View")
BINDABLES = [query, mutation, project_type, view_type]


@query.field("view")
async def _view(_: object, info: Info, id: str) -> StoredReport | None:
    found = await if_there(_require(info.context, Action.READ, id))
    return None if found is None else found[0]


@project_type.field("allViews")
async def _views(
    project: StoredProject,
    info: Info,
    view_type: str | None = None,
    view_name: str | None = None,
    user_name: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> paging.Connection:
    """List a project's views, newest first; who has the project may read them."""
    size, cursor = paging.page_size(first), paging.decode(after, LIST)
    rows = await info.context.state.reports.page(
        project.id,
        type=view_type,
        name=view_name,
        user=user_name,
        limit=size + 1,
        before=None if cursor is None else _position(cursor),
    )
    return paging.connection(rows, size, lambda row: (row.created_at, row.id), LIST)


def _position(cursor: paging.Key) -> tuple[float, int]:
    created_at, number = cursor
    if not isinstance(created_at, float | int):
        raise ApiError(400, "bad_cursor", "The cursor is not from this list.")
    return created_at, number


@view_type.field("id")
def _id(report: StoredReport, _: Info) -> str:
    return ids.encode("View", report.id)


@view_type.field("user")
async def _user(report: StoredReport, info: Info) -> User | None:
    return await user_of(info.context, report.user_id)


@view_type.field("project")
async def _project(report: StoredReport, info: Info) -> StoredProject | None:
    return await project_of(info.context, report.project_id)


@view_type.field("spec")
def _spec(report: StoredReport, _: Info) -> str:
    return require_sound(report.spec, f"the content of the report {report.display_name!r}")


@view_type.field("locked")
def _locked(_: StoredReport, _info: Info) -> bool:
    return False


@mutation.field("upsertView")
async def _upsert(_: object, info: Info, input: UpsertViewInput) -> dict[str, object]:
    context: Context = info.context
    await to_thread.run_sync(_check, input)  # a spec may have 4 MiB
    try:
        if view_id := input.get("id"):
            view, inserted = await _change(context, view_id, input), False
        else:
            view, inserted = await _create(context, input), True
    except TakenError:
        raise taken(f"The name {input.get('name')!r}") from None
    return {**back(input), "view": view, "inserted": inserted}


async def _create(context: Context, input: UpsertViewInput) -> StoredReport:
    state = context.state
    project_name = input.get("project_name")
    if not project_name:
        raise refused("A new report needs the name of its project.")
    project = await require_project(
        state, context.user, Action.WRITE, input.get("entity_name"), project_name
    )
    name = input.get("name") or secrets.token_hex(8)
    return await state.reports.create(
        project.id,
        context.user.id,
        state.clock(),
        type=input.get("type") or _REPORT,
        name=name,
        display_name=input.get("display_name") or "Untitled Report",
        description=input.get("description"),
        spec=input.get("spec") or "{}",
    )


async def _change(context: Context, view_id: str, input: UpsertViewInput) -> StoredReport | None:
    report, _ = await _require(context, Action.WRITE, view_id)
    fields = ("type", "name", "display_name", "description", "spec")
    changes = {name: said for name in fields if (said := input.get(name)) is not None}
    await context.state.reports.change(report.id, context.state.clock(), changes)
    return await context.state.reports.get(report.id)


@mutation.field("deleteView")
async def _delete(_: object, info: Info, input: DeleteViewInput) -> dict[str, object]:
    """Delete a report: its author may, and who manages the entity."""
    context: Context = info.context
    report, project = await _require(context, Action.WRITE, input["id"])
    if not may(context.user, deleting(context.user, report.user_id), project.entity):
        raise forbidden("Somebody else made this report.")
    deleted = await context.state.reports.delete([report.id]) == 1
    return {**back(input), "success": deleted, "pending_drafts": False}


async def _require(
    context: Context, action: Action, view_id: str
) -> tuple[StoredReport, StoredProject]:
    """Return a report and its project, where the user may do this."""
    report = await context.state.reports.get(ids.number(view_id, "View"))
    project = None if report is None else await project_of(context, report.project_id)
    if report is None or project is None:
        raise _not_found()
    try:
        allowed = await require_project(
            context.state, context.user, action, project.entity, project.name
        )
    except ApiError as error:
        raise _not_found() if error.status == 404 else error from None
    return report, allowed


def _not_found() -> ApiError:
    return ApiError(404, "view_not_found", "There is no such report. Check its id.")


def _check(input: UpsertViewInput) -> None:
    if len(input.get("name") or "") > 128:
        raise refused("The name of a report has at most 128 characters.")
    checked_text(input.get("description"), "description")
    checked_text(input.get("display_name"), "display name")
    if len(input.get("type") or "") > 32:
        raise refused("The type of a view has at most 32 characters.")
    spec = input.get("spec")
    if spec is None:
        return
    if len(spec) > MAX_SPEC:
        raise refused(f"A report's spec has at most {MAX_SPEC} characters.")
    if has_too_many(spec):
        raise refused(f"A report's spec has at most {MAX_VALUES:,} values and names.")
    try:
        loads(spec.encode())
    except (ValueError, RecursionError) as error:
        raise refused(f"A report's spec is JSON text, and this is not: {error}.") from error
