"""Projects and runs over HTTP: lists, pages, one run's full account, and its live events.

Answers are strict JSON, which browsers can read: in config and summary, floats that are not
finite are the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from asyncwb.server.errors import ApiError
from asyncwb.server.ingest import read_fold
from asyncwb.server.live import MIN_INTERVAL, PING, POLL, wait_for
from asyncwb.server.login import base_url
from asyncwb.server.state import STATE, USER, State
from asyncwb.server.store.records import RunPath
from asyncwb.server.store.runs import StoredRun
from asyncwb.wire.summary import Fold
from asyncwb.wire.values import dumps, loads

STATES: Final = ("running", "finished", "failed", "crashed", "killed")
_MAX_PAGE: Final = 1000
_PLAIN: Final = (
    *("name", "state", "created_at", "started_at", "heartbeat_at", "finished_at", "exit_code"),
    *("rows", "last_step", "lost", "tags", "notes", "job_type", "host", "program", "version"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of projects and runs."""
    run = "/api/v1/runs/{entity}/{project}/{run}"
    return [
        web.get("/api/v1/projects", list_projects),
        web.get("/api/v1/projects/{entity}/{project}/runs", list_runs),
        web.get(run, run_info),
        web.get(f"{run}/live", live),
    ]


async def list_projects(request: web.Request) -> web.Response:
    """Answer the projects that the user may see, the last active first."""
    user = request[USER]
    found = await request.app[STATE].runs.projects(None if user.admin else user.name)
    entries = [
        {
            "entity": project.entity,
            "name": project.name,
            "runs": project.runs,
            "running": project.running,
            "updated_at": project.updated_at,
        }
        for project in found
    ]
    return json_response({"projects": entries})


async def list_runs(request: web.Request) -> web.Response:
    """Answer one page of a project's runs, newest first."""
    state, match, query = request.app[STATE], request.match_info, request.query
    entity, project = match["entity"], match["project"]
    _require_access(request, entity)
    if not await state.runs.project_exists(entity, project):
        raise ApiError(404, "project_not_found", f"There is no project {entity}/{project}.")
    limit = _number(query.get("limit"), "limit", default=100, most=_MAX_PAGE)
    cursor = query.get("cursor")
    page = await state.runs.page(
        entity,
        project,
        limit=limit + 1,
        before=_number(cursor, "cursor", default=0, most=2**62) if cursor else None,
        state=_state(query.get("state")),
        search=query.get("q"),
    )
    more = str(page[limit - 1].id) if len(page) > limit else None
    url = base_url(request)
    return json_response({"runs": [listed(run, url) for run in page[:limit]], "next": more})


async def run_info(request: web.Request) -> web.Response:
    """Answer everything about one run but its history."""
    run = await request.app[STATE].runs.get(path_of(request))
    if run is None:
        raise not_found(path_of(request))
    fold = read_fold(run.columns["fold"])
    info = {**listed(run, base_url(request)), "config": run.columns["config"]}
    return json_response({**info, "metrics": _metrics(fold)})


async def live(request: web.Request) -> web.StreamResponse:
    """Send the run's figures at once and after every change, as server-sent events."""
    state, path = request.app[STATE], path_of(request)
    found = await state.runs.find(path)
    if found is None:
        raise not_found(path)
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
        await _send_changes(state, path, found[0], response)
    except ConnectionResetError:
        pass  # the page was closed
    finally:
        state.metrics.add("asyncwb_live_connections", -1)
    return response


async def _send_changes(
    state: State, path: RunPath, run_id: int, response: web.StreamResponse
) -> None:
    sent, silent = -1, 0.0
    with state.hub.watch(run_id) as changed:
        while not state.hub.closed:
            changed.clear()
            run = await state.runs.get(path)
            if run is None:
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


def path_of(request: web.Request) -> RunPath:
    """Return the run that the address names.

    Raises:
        ApiError: the user may not see that entity's runs; told as 404, like a run that is not
            there, so that nobody can find out which runs others have.
    """
    match = request.match_info
    path = RunPath(match["entity"], match["project"], match["run"])
    if not request[USER].may_use(path.entity):
        raise not_found(path)
    return path


def not_found(path: RunPath) -> ApiError:
    """Return the refusal for a run that is not there."""
    return ApiError(404, "run_not_found", f"There is no run {path}. Check entity, project and id.")


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


def _require_access(request: web.Request, entity: str) -> None:
    if not request[USER].may_use(entity):
        raise ApiError(404, "project_not_found", f"There is no such project of {entity}.")


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
