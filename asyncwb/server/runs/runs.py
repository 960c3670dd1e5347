"""Projects and runs over HTTP: lists, pages, and one run's full account.

`damaged` names the parts of a run (summary, config, fold) that are damaged in the store, and empty
here. Answers are strict JSON, which browsers can read: in config and summary, floats that are not
finite are the strings "NaN", "Infinity" and "-Infinity". Lists have long values cut (`short`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from aiohttp import web
from anyio import to_thread

from asyncwb.errors import FilterError
from asyncwb.server.http import answers
from asyncwb.server.http.access import (
    Action,
    readable,
    require_project,
    require_run,
    run_not_found,
)
from asyncwb.server.http.address import base_url
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.parameters import whole_number
from asyncwb.server.http.state import STATE, USER
from asyncwb.server.http.strict_json import json_response
from asyncwb.server.intake.folds import FOLD, read_fold
from asyncwb.server.objects.damage import require_sound
from asyncwb.server.queries.conditions import EVERYTHING, All, Filter
from asyncwb.server.queries.filters import parse, parse_order
from asyncwb.server.runs.edits import STATES
from asyncwb.server.runs.short import head, short
from asyncwb.server.store.documents import DamagedText
from asyncwb.server.store.queries.query import RunQuery
from asyncwb.server.store.records import RunKey, StoredRun
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import loads
from asyncwb.wire.summary.fold import Fold

_MAX_PAGE: Final = 1000
_THREAD_ABOVE: Final = 256 * 2**10
"""characters of summaries above which writing an answer is worth the hop to a thread"""


def routes() -> list[web.RouteDef]:
    """Return the routes of projects and runs."""
    run = "/api/v1/runs/{entity}/{project}/{run}"
    return [
        web.get("/api/v1/projects", list_projects),
        web.get("/api/v1/projects/{entity}/{project}/runs", list_runs),
        web.get(run, run_info),
    ]


async def list_projects(request: web.Request) -> web.Response:
    """Answer the projects that the user may see, the last active first."""
    found = await request.app[STATE].projects.figures(readable(request[USER]))
    entries: list[answers.ListedProject] = [
        {
            **project_entry(figures.project),
            "runs": figures.runs,
            "running": figures.running,
            "updated_at": figures.updated_at,
        }
        for figures in found
    ]
    return json_response({"projects": entries})


async def list_runs(request: web.Request) -> web.Response:
    """Answer one page of a project's runs, newest first, or filtered and in an order."""
    state, match, query = request.app[STATE], request.match_info, request.query
    entity, project = match["entity"], match["project"]
    found = await require_project(state, request[USER], Action.READ, entity, project)
    limit = whole_number(query.get("limit"), "limit", default=100, least=1, most=_MAX_PAGE)
    if "filters" in query or "order" in query:
        return await _list_queried(request, found.id, limit)
    cursor = query.get("cursor")
    page = await state.runs.page(
        found.entity,
        found.name,
        limit=limit + 1,
        before=whole_number(cursor or None, "cursor", default=None, least=1, most=2**62),
        state=_state(query.get("state")),
        search=query.get("q"),
    )
    more = str(page[limit - 1].id) if len(page) > limit else None
    url = base_url(request)
    return await _answer(page[:limit], url, more)


async def _list_queried(request: web.Request, project_id: int, limit: int) -> web.Response:
    query, url = request.query, base_url(request)
    state, search = _state(query.get("state")), query.get("q")
    parts: list[Filter] = []
    try:
        parts.append(parse(query.get("filters")))
        if state:
            parts.append(parse({"state": state}))
        if search:
            text = {"$regex": "(?i)" + re.escape(search)}
            parts.append(parse({"$or": [{"displayName": text}, {"name": text}]}))
        page = await RunQuery(request.app[STATE].database).page(
            project_id,
            All(tuple(part for part in parts if part != EVERYTHING)),
            parse_order(query.get("order") or "-created_at"),
            limit,
            query.get("cursor") or None,
        )
    except FilterError as error:
        raise ApiError(400, "bad_filter", error.message) from None
    more = page.cursors[-1] if page.has_next else None
    return await _answer(page.rows, url, more)


async def _answer(found: Sequence[StoredRun], url: str, more: str | None) -> web.Response:
    def make() -> web.Response:
        return json_response({"runs": [_row(run, url) for run in found], "next": more})

    large = sum(len(run.columns["summary"]) for run in found) > _THREAD_ABOVE
    return await to_thread.run_sync(make) if large else make()


def _row(run: StoredRun, url: str) -> answers.RunRow:
    summary, left_out = head(_there(run.columns["summary"]))
    return {**_figures(run, url), "summary": summary, "summary_left_out": left_out}


async def run_info(request: web.Request) -> web.Response:
    """Answer everything about one run but its history; its fold only to who asks for it.

    `values=short` cuts what is long in config and summary, `values=none` leaves these out, and
    `metrics=none` the metrics.
    """
    values = request.query.get("values", "whole")
    with_fold = request.query.get("fold") == "true"
    with_metrics = request.query.get("metrics") != "none"
    left_out = {"config", "summary"} if values == "none" else set()
    left_out |= set() if with_fold or with_metrics else {"fold"}
    path, _ = await run_of(request)
    run = await request.app[STATE].runs.get(path, without=left_out)
    if run is None:  # deleted meanwhile
        raise run_not_found(path)
    url = base_url(request)

    def make() -> web.Response:
        whole, parts = values != "short", answers.RunParts()
        if values != "none":
            summary, config = (_there(run.columns[name]) for name in ("summary", "config"))
            parts["summary"] = summary if whole else short(summary)
            parts["config"] = config if whole else short(config)
        if with_fold:  # who goes on with a run must not take a part of it for all
            require_sound(run.columns.get("config", ""), f"the config of {path}")
            parts["fold"] = require_sound(run.columns["fold"], f"{FOLD} ({path})")
        if with_metrics:
            fold = run.columns["fold"]
            lost = isinstance(fold, DamagedText)
            parts["metrics"] = [] if lost else _metrics(read_fold(fold))
        info: answers.RunInfo = {**_figures(run, url, whole=whole), **parts}
        info["damaged"] = _damaged(run, "summary", "config", "fold")
        return json_response(info)

    texts = (run.columns.get(name, "") for name in ("config", "summary", "fold"))
    large = sum(map(len, texts)) > _THREAD_ABOVE
    return await to_thread.run_sync(make) if large else make()


def _figures(run: StoredRun, url: str, *, whole: bool = False) -> answers.RunFigures:
    entity, project, name = run.path
    address = "/".join(quote(part, safe="") for part in (entity, project, "runs", name))
    columns = run.columns
    long = ("tags", "notes", "host", "program", "python")
    said = {key: columns[key] if whole else short(columns[key]) for key in long}
    return {
        "entity": entity,
        "project": project,
        "id": name,
        "name": columns["name"],
        "state": columns["state"],
        "created_at": columns["created_at"],
        "started_at": columns["started_at"],
        "heartbeat_at": columns["heartbeat_at"],
        "finished_at": columns["finished_at"],
        "exit_code": columns["exit_code"],
        "rows": columns["rows"],
        "last_step": columns["last_step"],
        "lost": columns["lost"],
        "tags": said["tags"],
        "notes": said["notes"],
        "group": columns["group_name"],
        "job_type": columns["job_type"],
        "host": said["host"],
        "program": said["program"],
        "python": said["python"],
        "version": columns["version"],
        "url": f"{url}/{address}",
        "damaged": _damaged(run, "summary"),
    }


def _there(text: str) -> JsonObject:
    """Return a document; nothing where it is damaged, which `_damaged` names."""
    found: JsonObject = {} if isinstance(text, DamagedText) else loads(text.encode())
    return found


def _damaged(run: StoredRun, *names: answers.DocumentName) -> list[answers.DocumentName]:
    """Return which of these are damaged, of those that were read."""
    return [name for name in names if isinstance(run.columns.get(name), DamagedText)]


def _metrics(fold: Fold) -> list[answers.RunMetric]:
    entries: list[answers.RunMetric] = []
    for key, metric in fold.metrics().items():
        rule = fold.rules.resolve(key)
        entries.append(
            {
                "key": key,
                "kind": metric.kind,
                "count": metric.count,
                "first_step": metric.first_step,
                "last_step": metric.last_step,
                "hidden": bool(rule and rule.hidden),
                "step_metric": rule.step_metric if rule else None,
            }
        )
    return entries


async def run_of(request: web.Request, action: Action = Action.READ) -> tuple[RunKey, int]:
    """Return the run that the address names, and its inner id.

    Raises:
        ApiError: 404 where there is none or the user may not see it, 403 where the user may not
            do more than that.
    """
    match = request.match_info
    path = RunKey(match["entity"], match["project"], match["run"])
    return await require_run(request.app[STATE], request[USER], action, path)


def project_entry(project: StoredProject) -> answers.Project:
    """Return what lists say of a project."""
    return {
        "entity": project.entity,
        "name": project.name,
        "visibility": project.visibility,
        "description": project.description,
        "created_at": project.created_at,
    }


def _state(text: str | None) -> str | None:
    if text and text not in STATES:
        raise ApiError(400, "bad_request", f"state must be one of {', '.join(STATES)}.")
    return text or None
