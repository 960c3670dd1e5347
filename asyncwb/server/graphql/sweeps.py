"""Sweeps: made, changed, found, and their runs. Who may is asked in `server.runs.sweeps`.

A node of the type `Sweep` is a `StoredSweep`; what it says of its runs is fetched once for all
sweeps of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from anyio import to_thread
from ariadne import MutationType, ObjectType

from asyncwb.errors import FilterError
from asyncwb.server.graphql import runs
from asyncwb.server.graphql.base import iso
from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, refused
from asyncwb.server.graphql.inputs import UpsertSweepInput, back
from asyncwb.server.graphql.nodes import project_of, user_of
from asyncwb.server.http.errors import ApiError
from asyncwb.server.objects.damage import require_sound
from asyncwb.server.queries.filters import parse, parse_order
from asyncwb.server.runs.sweep_config import read
from asyncwb.server.runs.sweeps import SweepEdit, SweepName, change_sweep, create_sweep
from asyncwb.server.store.people.users import User
from asyncwb.server.store.records import StoredRun
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.server.store.runs.sweeps import RunFigures, StoredSweep
from asyncwb.typing import JsonObject

LIST: Final = "sweeps"
_NOT_KEPT: Final = ("controller", "scheduler", "launch_scheduler", "template_variable_values")

mutation = MutationType()
project_type = ObjectType("Project")
run_type = ObjectType("Run")
sweep_type = ObjectType("Sweep")
BINDABLES = [mutation, project_type, run_type, sweep_type]


# Finding.


@project_type.field("sweep")
async def _sweep(project: StoredProject, info: Info, sweep_name: str) -> StoredSweep | None:
    """Return a sweep of a project that the user may read."""
    found: StoredSweep | None = await info.context.state.sweeps.find(project.id, sweep_name)
    return found


@project_type.field("sweeps")
async def _sweeps(
    project: StoredProject,
    info: Info,
    filters: object = None,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
) -> paging.Connection:
    if filters:
        raise refused("bad_filter", "This server does not filter sweeps; leave `filters` out.")
    descending = _descending(order)
    name = f"{LIST}{'-' if descending else '+'}"
    size, cursor = paging.page_size(first), paging.decode(after, name)
    rows = await info.context.state.sweeps.page(
        project.id,
        descending=descending,
        limit=size + 1,
        after=None if cursor is None else cursor[1],
    )
    return paging.connection(rows, size, lambda sweep: (None, sweep.id), name)


def _descending(order: str | None) -> bool:
    if not order:
        return True
    try:
        read = parse_order(order)
    except FilterError as error:
        raise refused("bad_filter", str(error)) from error
    if read.field.path != "createdAt":
        raise refused("bad_filter", "Sweeps are sorted by createdAt only.")
    return read.descending


@project_type.field("totalSweeps")
async def _total(project: StoredProject, info: Info) -> int:
    count: int = await info.context.state.sweeps.count(project.id)
    return count


@run_type.field("sweep")
async def _sweep_of_run(run: StoredRun, info: Info) -> StoredSweep | None:
    sweep = run.columns["sweep"]
    if sweep is None:
        return None
    found: StoredSweep | None = await info.context.batch(_some, (run.columns["project_id"], sweep))
    return found


async def _some(
    context: Context, names: list[tuple[int, str]]
) -> Mapping[tuple[int, str], StoredSweep]:
    return await context.state.sweeps.some(names)


# Fields.


for _field, _column in {"name": "sweep", "runCountExpected": "expected_runs"}.items():
    sweep_type.set_alias(_field, _column)


@sweep_type.field("id")
async def _id(sweep: StoredSweep, info: Info) -> str | None:
    project = await project_of(info.context, sweep.project_id)
    if project is None:  # deleted meanwhile
        return None
    return ids.encode("Sweep", sweep.sweep, project.name, project.entity)


@sweep_type.field("title")
def _title(sweep: StoredSweep, _: Info) -> str:
    return sweep.display_name or sweep.config_name or sweep.sweep


@sweep_type.field("project")
async def _project(sweep: StoredSweep, info: Info) -> StoredProject | None:
    return await project_of(info.context, sweep.project_id)


@sweep_type.field("user")
async def _user(sweep: StoredSweep, info: Info) -> User | None:
    return await user_of(info.context, sweep.user_id)


@sweep_type.field("earlyStopJobRunning")
def _no_job(_: StoredSweep, _info: Info) -> bool:
    return False


@sweep_type.field("controller")
@sweep_type.field("scheduler")
@sweep_type.field("controllerRunName")
def _nobody(_: StoredSweep, _info: Info) -> None:
    return None


@sweep_type.field("config")
def _config(sweep: StoredSweep, _: Info) -> str:
    return _text(sweep)


def _text(sweep: StoredSweep) -> str:
    return require_sound(sweep.config, f"the config of the sweep {sweep.sweep}")


@sweep_type.field("metric")
async def _metric(sweep: StoredSweep, _: Info) -> str | None:
    return (await to_thread.run_sync(read, _text(sweep))).metric_name


@sweep_type.field("varied")
async def _varied(sweep: StoredSweep, _: Info) -> tuple[str, ...]:
    return (await to_thread.run_sync(read, _text(sweep))).varied


@sweep_type.field("runCount")
async def _run_count(sweep: StoredSweep, info: Info) -> int:
    found = await _run_figures(sweep, info)
    return 0 if found is None else found.runs


@sweep_type.field("heartbeatAt")
async def _heartbeat(sweep: StoredSweep, info: Info) -> float | None:
    found = await _run_figures(sweep, info)
    return None if found is None else found.heartbeat_at


async def _run_figures(sweep: StoredSweep, info: Info) -> RunFigures | None:
    found: RunFigures | None = await info.context.batch(_figures, sweep.id)
    return found


async def _figures(context: Context, keys: list[int]) -> Mapping[int, RunFigures]:
    return await context.state.sweeps.figures(keys)


@sweep_type.field("bestLoss")
async def _best_loss(sweep: StoredSweep, info: Info) -> float | None:
    if sweep.metric is None:
        return None
    found: float | None = await info.context.batch(_best, sweep)
    return found


async def _best(context: Context, keys: list[StoredSweep]) -> Mapping[StoredSweep, float]:
    best = await context.state.sweeps.best(keys)
    return {sweep: best[sweep.id] for sweep in keys if sweep.id in best}


@sweep_type.field("runs")
async def _runs(
    sweep: StoredSweep,
    info: Info,
    filters: object = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, object] | None:
    return await _of(sweep, info, {}, filters, order, first, after)


@sweep_type.field("priorRuns")
async def _prior_runs(
    sweep: StoredSweep,
    info: Info,
    filters: object = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, object] | None:
    older = {"createdAt": {"$lt": iso(sweep.created_at)}}
    return await _of(sweep, info, older, filters, order, first, after)


async def _of(
    sweep: StoredSweep,
    info: Info,
    also: JsonObject,
    filters: object,
    order: str | None,
    first: int | None,
    after: str | None,
) -> dict[str, object] | None:
    """Return a connection of those runs of a sweep that both filters let pass."""
    project = await project_of(info.context, sweep.project_id)
    if project is None:
        return None
    mine = {"sweep": sweep.sweep, **also}
    both = {"$and": [mine, filters]} if filters else mine
    found: dict[str, object] = await runs.page(project, info, both, order, first, after)
    return found


# Changing.


@mutation.field("upsertSweep")
async def _upsert(_: object, info: Info, input: UpsertSweepInput) -> dict[str, object]:
    context: Context = info.context
    for field in _NOT_KEPT:
        if input.get(field) is not None:
            raise ApiError(400, "not_yet", f"This server has no {field!r} of sweeps yet.")
    edit = _edit(input)
    if sweep_id := input.get("id"):
        sweep, project, entity = ids.decode(sweep_id, "Sweep")
        name = SweepName(entity, project, sweep)
        found, warnings = await change_sweep(context.state, context.user, name, edit)
    else:
        where = (input.get("entity_name"), input.get("project_name") or runs.UNNAMED)
        found, warnings = await create_sweep(context.state, context.user, *where, edit)
    return {**back(input), "sweep": found, "config_validation_warnings": list(warnings)}


def _edit(input: UpsertSweepInput) -> SweepEdit:
    prior = input.get("prior_runs_filters")
    try:
        wanted = None if prior is None else parse(prior)
    except FilterError as error:
        raise refused("bad_filter", f"{error} Nothing was written.") from error
    return SweepEdit(
        config=input.get("config"),
        display_name=input.get("display_name"),
        description=input.get("description"),
        state=input.get("state"),
        prior_runs=wanted,
    )
