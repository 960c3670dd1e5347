"""Runs: begun, found, listed, edited, rewound, stopped, deleted.

A node of the type `Run` is a `StoredRun` as lists have it. What only some documents ask for
(config, metric keys, counts of lines) is fetched once for all runs of an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from anyio import to_thread
from ariadne import MutationType, ObjectType, QueryType

from asyncwb.errors import FilterError
from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, if_there, refused
from asyncwb.server.graphql.inputs import (
    DeleteRunInput,
    NotifyScriptableRunAlertInput,
    RewindRunInput,
    RunInput,
    StopRunInput,
    UpdateRunStateInput,
    UpsertBucketInput,
    back,
)
from asyncwb.server.graphql.nodes import user_of
from asyncwb.server.history.rewind import REWINDS
from asyncwb.server.http.access import Action, may, require_run, run_not_found
from asyncwb.server.http.errors import ApiError
from asyncwb.server.intake import file_stream
from asyncwb.server.objects.damage import require_sound
from asyncwb.server.queries.filters import Filter, parse, parse_order
from asyncwb.server.runs import edit_requests
from asyncwb.server.runs.edits import Edit
from asyncwb.server.store.people.users import User
from asyncwb.server.store.queries.query import RunQuery
from asyncwb.server.store.records import RunKey, StoredRun
from asyncwb.server.store.runs.details import Details
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.typing import JsonObject
from asyncwb.wire import wandb
from asyncwb.wire.changes import Changes
from asyncwb.wire.rows.keys import INTERNAL, STEP
from asyncwb.wire.rows.values import dumps, loads

UNNAMED: Final = "uncategorized"
"""the project of those who name none"""
_THREAD_ABOVE: Final = 64 * 2**10
"""characters of a config above which writing it out is worth the hop to a thread"""
_COLUMNS: Final = {
    "name": "run",
    "displayName": "name",
    "projectId": "project_id",
    "state": "state",
    "stopped": "stop_requested",
    "shouldStop": "stop_requested",
    "exitcode": "exit_code",
    "tags": "tags",
    "notes": "notes",
    "description": "description",
    "group": "group_name",
    "jobType": "job_type",
    "jobProgram": "program",
    "commit": "commit",
    "repo": "repo",
    "jobRepo": "repo",
    "host": "host",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
    "updatedAt": "heartbeat_at",
    "sweepName": "sweep",
}

_DOCUMENTS: Final = {"summaryMetrics": "summary", "systemMetrics": "system"}

query = QueryType()
mutation = MutationType()
project_type = ObjectType("Project")
FROM_THE_START: Final = "from the start"
"""the column of a run whose client is to number its lines from 0 on"""

run_type = ObjectType("Run")
BINDABLES = [query, mutation, project_type, run_type]


# Finding.


@query.field("run")
async def _run_by_id(_: object, info: Info, id: str) -> StoredRun | None:
    context: Context = info.context
    return await _run_by_path(context, path_of(id))


async def _run_by_path(context: Context, path: RunKey) -> StoredRun | None:
    there = await if_there(require_run(context.state, context.user, Action.READ, path))
    return None if there is None else await Details(context.state.database).run(there[0])


@project_type.field("run")
@project_type.field("bucket")
async def _run(
    project: StoredProject,
    info: Info,
    name: str,
    missing_ok: bool | None = None,
    desc: str | None = None,
) -> StoredRun | None:
    """Return a run of a project that the user may read.

    `desc`, which clients of 2018 gave to runs that they made so, has no effect.
    """
    path, context = RunKey(project.entity, project.name, name), info.context
    found = await Details(context.state.database).run(path)
    if found is None:  # a project that had this name may have it
        found = await _run_by_path(context, path)
    if found is None and missing_ok is False:
        raise run_not_found(path)
    return found


@project_type.field("runs")
@project_type.field("buckets")
async def page(
    project: StoredProject,
    info: Info,
    filters: object = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, object]:
    """Return a connection of a project's runs, that the user may read."""
    size = paging.page_size(first)
    if not size:
        return {"edges": [], "page_info": _nowhere(), "total_count": _Count(project, filters)}
    try:
        async with info.context.reading:
            found = await RunQuery(info.context.state.database, info.context.allowance).page(
                project.id, _filter(filters), parse_order(order), size, after or None
            )
    except FilterError as error:
        raise refused("bad_filter", str(error)) from error
    edges: list[paging.Edge] = [
        {"node": run, "cursor": cursor}
        for run, cursor in zip(found.rows, found.cursors, strict=True)
    ]
    connection = paging.of_edges(edges, has_next=found.has_next)
    return {**connection, "total_count": _Count(project, filters)}


def _nowhere() -> dict[str, object]:
    return {"has_next_page": False, "has_previous_page": False}


class _Count:
    """Counts the runs of a filter, should the document ask for it."""

    def __init__(self, project: StoredProject, filters: object) -> None:
        self._project = project
        self._filters = filters

    async def __call__(self, info: Info) -> int:
        return await _count(self._project, info.context, self._filters)


@project_type.field("runCount")
async def _run_count(project: StoredProject, info: Info, filters: object = None) -> int:
    return await _count(project, info.context, filters)


async def _count(project: StoredProject, context: Context, filters: object) -> int:
    try:
        async with context.reading:
            return await RunQuery(context.state.database).count(project.id, _filter(filters))
    except FilterError as error:
        raise refused("bad_filter", str(error)) from error


def _filter(filters: object) -> Filter:
    if filters is not None and not isinstance(filters, Mapping):
        raise FilterError("a filter is a JSON object")
    return parse(filters)


def path_of(run_id: str) -> RunKey:
    """Return the run that an opaque id names.

    Raises:
        ApiError: it is not the id of a run.
    """
    run, project, entity = ids.decode(run_id, "Run")
    return RunKey(entity, project, run)


def named(context: Context, input: RunInput) -> RunKey:
    """Return the run that an input names by `runName`, `projectName` and `entityName`."""
    entity, project = input.get("entity_name"), input.get("project_name")
    return RunKey(entity or context.user.entity, project or UNNAMED, input["run_name"])


# Fields.


def _column(name: str) -> Callable[[StoredRun, Info], object]:
    return lambda run, _info: run.columns[name]


def _document(name: str) -> Callable[[StoredRun, Info], object]:
    return lambda run, _info: require_sound(run.columns[name], f"the {name} of {run.path}")


for _field, _name in _COLUMNS.items():
    run_type.set_field(_field, _column(_name))
for _field, _name in _DOCUMENTS.items():
    run_type.set_field(_field, _document(_name))


@run_type.field("id")
def _id(run: StoredRun, _: Info) -> str:
    entity, project, name = run.path
    return ids.encode("Run", name, project, entity)


@run_type.field("project")
async def _project(run: StoredRun, info: Info) -> StoredProject | None:
    found: StoredProject | None = await info.context.batch(_projects, run.columns["project_id"])
    return found


async def _projects(context: Context, keys: list[int]) -> Mapping[int, StoredProject]:
    return await context.state.projects.some(keys)


@run_type.field("user")
async def _user(run: StoredRun, info: Info) -> User | None:
    return await user_of(info.context, run.columns["user_id"])


@run_type.field("running")
def _running(run: StoredRun, _: Info) -> bool:
    return bool(run.columns["state"] == "running")


@run_type.field("failed")
def _failed(run: StoredRun, _: Info) -> bool:
    return run.columns["state"] in ("failed", "crashed", "killed")


@run_type.field("readOnly")
def _read_only(run: StoredRun, info: Info) -> bool:
    return not may(info.context.user, Action.WRITE, run.path.entity)


@run_type.field("computeSeconds")
def _seconds(run: StoredRun, _: Info) -> int:
    began = run.columns["started_at"] or run.columns["created_at"]
    return max(0, int((run.columns["finished_at"] or run.columns["heartbeat_at"]) - began))


@run_type.field("config")
async def _config(run: StoredRun, info: Info) -> str:
    text = await _config_text(run, info.context)
    if len(text) <= _THREAD_ABOVE:
        return _wrapped(text)
    context = info.context
    async with context.wrapping:  # one at a time, and once: it may be asked for under many names
        if text not in context.wrapped:  # tens of thousands of keys would hold up everything else
            context.wrapped[text] = await to_thread.run_sync(_wrapped, text)
        return context.wrapped[text]


def _wrapped(text: str) -> str:
    return dumps(wandb.wrap(loads(text))).decode()


@run_type.field("wandbConfig")
async def _wandb_config(
    run: StoredRun, info: Info, keys: list[str] | None = None
) -> dict[str, object]:
    """Return the internal part of a config.

    Clients take a run for begun where it has `t` (telemetry). One that another client began has
    none, so it is given an empty one.
    """
    found = (await _plain_config(run, info.context)).get(INTERNAL)
    internal = dict(found) if isinstance(found, Mapping) else {}
    if run.columns["rows"] or run.columns["started_at"]:
        internal.setdefault("t", {})
    return {key: internal[key] for key in internal if keys is None or key in keys}


async def _plain_config(run: StoredRun, context: Context) -> JsonObject:
    text = await _config_text(run, context)
    large = len(text) > _THREAD_ABOVE
    found: JsonObject = await to_thread.run_sync(loads, text) if large else loads(text)
    return found


async def _config_text(run: StoredRun, context: Context) -> str:
    text: str | None = await context.batch(_configs, run.id)
    return "{}" if text is None else require_sound(text, f"the config of {run.path}")


async def _configs(context: Context, keys: list[int]) -> Mapping[int, str]:
    return await Details(context.state.database, context.allowance).configs(keys)


@run_type.field("runInfo")
async def _run_info(run: StoredRun, info: Info) -> dict[str, object]:
    columns = run.columns
    git = {"remote": columns["repo"], "commit": columns["commit"]}
    return {
        "program": columns["program"],
        "python": columns["python"],
        "git": git if any(git.values()) else None,
    }


# Changing.


@mutation.field("upsertBucket")
async def _upsert(_: object, info: Info, input: UpsertBucketInput) -> dict[str, object]:
    context: Context = info.context
    state, user = context.state, context.user
    edit = await to_thread.run_sync(_edit, input)  # a config may have 100,000 keys
    run_id, name = input.get("id"), input.get("name")
    if run_id:
        done = await edit_requests.edit_run(state, user, path_of(run_id), edit)
    else:
        if not name:
            raise refused("bad_run", "Say which run: by `id`, or by `name`. Nothing was written.")
        entity = input.get("entity_name") or user.entity
        path = RunKey(entity, input.get("model_name") or UNNAMED, name)
        done = await edit_requests.upsert(state, user, path, edit)
    if _begins(edit):
        await file_stream.begin(state, done.path)
    if edit.config is not None:
        rules = await to_thread.run_sync(file_stream.rules_from_wandb, edit.config)
        await file_stream.set_rules(state, done.path, rules)
    bucket = await _again(context, done.path)
    if bucket is not None and _begins(edit) and not run_id:
        bucket = replace(bucket, columns={**bucket.columns, FROM_THE_START: True})
    return {**back(input), "bucket": bucket, "inserted": done.created}


def _begins(edit: Edit) -> bool:
    """Tell whether a process begins the run with this, or goes on with it.

    It says where it runs. Later edits, which may arrive when the run has ended, do not. One that
    goes on names the run by its id.
    """
    return edit.state is None and (edit.host is not None or edit.program is not None)


def _edit(input: UpsertBucketInput) -> Edit:
    config, tags = _object(input, "config"), input.get("tags")
    return Edit(
        name=input.get("display_name"),
        group=input.get("group_name"),
        description=input.get("description"),
        notes=input.get("notes"),
        commit=input.get("commit"),
        host=input.get("host"),
        program=input.get("job_program"),
        repo=input.get("job_repo"),
        job_type=input.get("job_type"),
        state=input.get("state"),
        sweep=input.get("sweep") or None,  # some clients write "" where there is none
        tags=None if tags is None else tuple(tags),
        config=None if config is None else wandb.unwrap(config),
        summary=_object(input, "summary_metrics"),
        config_changes=_changes(input, "config_changes"),
        summary_changes=_changes(input, "summary_changes"),
        add_tags=tuple(input.get("add_tags") or ()),
        remove_tags=tuple(input.get("remove_tags") or ()),
    )


def _changes(input: Mapping[str, object], name: str) -> Changes | None:
    value = input.get(name)
    if value is None:
        return None
    try:
        return Changes.from_json(value)
    except ValueError as error:
        raise refused("bad_edit", f"{name}: {error}. Nothing was written.") from error


def _object(input: Mapping[str, object], name: str) -> JsonObject | None:
    value = input.get(name)
    if value is not None and not isinstance(value, dict):
        raise refused("bad_edit", f"{name} must be a JSON object. Nothing was written.")
    return value


async def _again(context: Context, path: RunKey) -> StoredRun | None:
    return await Details(context.state.database).run(path)


@mutation.field("rewindRun")
async def _rewind(_: object, info: Info, input: RewindRunInput) -> dict[str, object]:
    context: Context = info.context
    if input["metric_name"] != STEP:
        raise refused("bad_metric", "A run can be rewound by _step only. Nothing was changed.")
    value = input["metric_value"]
    if not (0 <= value < 2**53 or value == -1):  # which NaN is not either
        raise refused(
            "bad_metric",
            "metricValue must be a step, 0 or more, or -1 for no rows at all. Nothing was changed.",
        )
    path, run_id = await require_run(
        context.state, context.user, Action.WRITE, named(context, input)
    )
    context.limit.lift()  # reading millions of rows takes as long as it takes
    await context.app[REWINDS].rewind(path, run_id, math.floor(value))
    return {**back(input), "rewound_run": await _again(context, path)}


@mutation.field("stopRun")
async def _stop(_: object, info: Info, input: StopRunInput) -> dict[str, object]:
    context: Context = info.context
    await edit_requests.stop(context.state, context.user, path_of(input["id"]))
    return {**back(input), "success": True}


@mutation.field("updateRunState")
async def _move(_: object, info: Info, input: UpdateRunStateInput) -> dict[str, object]:
    context: Context = info.context
    await edit_requests.move(context.state, context.user, path_of(input["id"]), input["state"])
    return {**back(input), "success": True}


@mutation.field("deleteRun")
async def _delete(_: object, info: Info, input: DeleteRunInput) -> dict[str, object]:
    context: Context = info.context
    path = path_of(input["id"])
    try:
        await edit_requests.delete(context.app, context.user, path)
    except ApiError as error:
        # A client whose answer was lost asks once more. Who may not write there is told no more
        # of a run that is gone than of one that is hidden.
        gone = error.code == "run_not_found" and may(context.user, Action.WRITE, path.entity)
        if not gone:
            raise
    return {**back(input), "success": True}


@mutation.field("notifyScriptableRunAlert")
async def _alert(_: object, info: Info, input: NotifyScriptableRunAlertInput) -> dict[str, object]:
    context: Context = info.context
    wait = input.get("wait_duration") or 0
    if not isinstance(wait, (int, float)) or not math.isfinite(wait):
        raise ApiError(400, "bad_duration", "waitDuration must be a number. Nothing was written.")
    await edit_requests.alert(
        context.state,
        context.user,
        named(context, input),
        title=input["title"],
        text=input["text"],
        level=input.get("severity") or "INFO",
        wait=wait / 1000,
    )
    return {**back(input), "success": True}
