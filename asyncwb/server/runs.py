"""Projects and runs over HTTP: lists, pages, one run's full account, and its live events.

Answers are strict JSON, which browsers can read: in config and summary, floats that are not
finite are the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from asyncwb.errors import FilterError
from asyncwb.server.access import (
    Action,
    Watcher,
    readable,
    require_project,
    require_run,
    run_not_found,
)
from asyncwb.server.address import base_url
from asyncwb.server.edits import STATES
from asyncwb.server.errors import ApiError
from asyncwb.server.ingest import read_fold
from asyncwb.server.live import MIN_INTERVAL, PING, POLL, wait_for
from asyncwb.server.state import STATE, USER, State
from asyncwb.server.store.projects import StoredProject
from asyncwb.server.store.query import RunQuery
from asyncwb.server.store.records import RunPath
from asyncwb.server.store.runs import StoredRun
from asyncwb.server.store.users import User
from asyncwb.wire.conditions import EVERYTHING, All, Filter
from asyncwb.wire.filters import parse, parse_order
from asyncwb.wire.summary import Fold
from asyncwb.wire.values import dumps, loads

_MAX_PAGE: Final = 1000
_PLAIN: Final = (
    *("name", "state", "created_at", "started_at", "heartbeat_at", "finished_at", "exit_code"),
    *("rows", "last_step", "lost", "tags", "notes", "job_type", "host", "program", "python"),
    "version",
)


def routes() -> list[web.RouteDef]:
    """Return the routes of projects and runs."""
    run = "/api/v1/runs/{entity}/{project}/{run}"
    return [
        web.get("/api/v1/projects", list_projects),
        web.get("/api/v1/projects/{entity}/{project}/runs", list_runs),
        web.get(run, run_info),
        web.get(f"{run}/live", live, allow_head=False),
    ]


async def list_projects(request: web.Request) -> web.Response:
    """Answer the projects that the user may see, the last active first."""
    found = await request.app[STATE].projects.figures(readable(request[USER]))
    entries = [
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
    limit = _number(query.get("limit"), "limit", default=100, most=_MAX_PAGE)
    if "filters" in query or "order" in query:
        return await _list_queried(request, found.id, limit)
    cursor = query.get("cursor")
    page = await state.runs.page(
        found.entity,
        found.name,
        limit=limit + 1,
        before=_number(cursor, "cursor", default=0, most=2**62) if cursor else None,
        state=_state(query.get("state")),
        search=query.get("q"),
    )
    more = str(page[limit - 1].id) if len(page) > limit else None
    url = base_url(request)
    return json_response({"runs": [listed(run, url) for run in page[:limit]], "next": more})


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
    return json_response({"runs": [listed(run, url) for run in page.rows], "next": more})


async def run_info(request: web.Request) -> web.Response:
    """Answer everything about one run but its history; its fold only to who asks for it."""
    path, _ = await run_of(request)
    run = await request.app[STATE].runs.get(path)
    if run is None:  # deleted meanwhile
        raise run_not_found(path)
    fold = read_fold(run.columns["fold"])
    info = {**listed(run, base_url(request)), "config": run.columns["config"]}
    if request.query.get("fold") == "true":
        info["fold"] = run.columns["fold"]
    return json_response({**info, "metrics": _metrics(fold)})


async def live(request: web.Request) -> web.StreamResponse:
    """Send the run's figures at once and after every change, as server-sent events."""
    state = request.app[STATE]
    path, run_id = await run_of(request)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )
    await response.prepare(request)
    state.metrics.add("asyncwb_live_connections")
    try:
        await _send_changes(state, request[USER], path, run_id, response)
    except ConnectionResetError:
        pass  # the page was closed
    finally:
        state.metrics.add("asyncwb_live_connections", -1)
    return response


async def _send_changes(
    state: State, user: User, path: RunPath, run_id: int, response: web.StreamResponse
) -> None:
    sent, silent = -1, 0.0
    watcher = Watcher(state, user, path)
    with state.hub.watch(run_id) as changed:
        while not state.hub.closed:
            changed.clear()
            run = await state.runs.get(path)
            if run is None or not await watcher.may_go_on(every=PING):
                return
            if run.columns["version"] != sent:
                sent, silent = run.columns["version"], 0.0
                await response.write(b"event: run\ndata: " + strict(_figures(run)) + b"\n\n")
                await asyncio.sleep(0 if state.hub.closed else MIN_INTERVAL)
            elif silent >= PING:
                silent = 0.0
                await response.write(b": ping\n\n")
            if not await wait_for(changed, POLL):
                silent += POLL


def _figures(run: StoredRun) -> dict[str, Any]:
    names = ("version", "state", "rows", "last_step", "heartbeat_at", "lost")
    figures = {name: run.columns[name] for name in names}
    return {**figures, "summary": loads(run.columns["summary"].encode())}


def listed(run: StoredRun, url: str) -> dict[str, Any]:
    """Return a run as lists show it."""
    entity, project, name = run.path
    address = "/".join(quote(part, safe="") for part in (entity, project, "runs", name))
    return {
        "entity": entity,
        "project": project,
        "id": name,
        **{key: run.columns[key] for key in _PLAIN},
        "group": run.columns["group_name"],
        "url": f"{url}/{address}",
        "summary": loads(run.columns["summary"].encode()),
    }


def _metrics(fold: Fold) -> list[dict[str, Any]]:
    entries = []
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


async def run_of(request: web.Request, action: Action = Action.READ) -> tuple[RunPath, int]:
    """Return the run that the address names, and its inner id.

    Raises:
        ApiError: 404 where there is none or the user may not see it, 403 where the user may not
            do more than that.
    """
    match = request.match_info
    path = RunPath(match["entity"], match["project"], match["run"])
    return await require_run(request.app[STATE], request[USER], action, path)


def project_entry(project: StoredProject) -> dict[str, Any]:
    """Return what lists say of a project."""
    return {
        "entity": project.entity,
        "name": project.name,
        "visibility": project.visibility,
        "description": project.description,
        "created_at": project.created_at,
    }


def json_response(value: Any) -> web.Response:
    """Return an answer in strict JSON."""
    return web.Response(body=strict(value), content_type="application/json")


def strict(value: Any) -> bytes:
    """Encode JSON; floats that are not finite become strings."""
    return dumps(_finite(value))


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
    return value


def _number(text: str | None, name: str, *, default: int, most: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) <= most:
        raise ApiError(400, "bad_request", f"{name} must be a whole number from 1 to {most}.")
    return int(text)


def _state(text: str | None) -> str | None:
    if text and text not in STATES:
        raise ApiError(400, "bad_request", f"state must be one of {', '.join(STATES)}.")
    return text or None
