"""Live events of a run, as server-sent events: what it is, then what changes.

    event: run
    data: {"version", "state", "rows", "last_step", "heartbeat_at", "lost", "whole": true,
           "damaged": [], "summary": {...}, "removed": [], "more": false}

The first event of a connection has the summary (`whole`), each later one the keys of it that are
new or other since the one before, and those that are gone. `damaged` is ["summary"] where that is
damaged in the store, and empty here. Long values are cut (`short`), and an
event has `MAX_EVENT` bytes of a summary at most; where there is `more`, the page asks for the run.
With `values=none` events have figures only (`summary` is empty), and the summary is not even read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Final

from aiohttp import web

from asyncwb.server.access import Action, Watcher, require_run
from asyncwb.server.background import TASKS, whole
from asyncwb.server.live import PING, POLL, Snapshot, Watched, wait_for
from asyncwb.server.short import short
from asyncwb.server.state import STATE, USER, State
from asyncwb.server.store.documents import DamagedText
from asyncwb.server.store.records import RunPath
from asyncwb.server.strict import strict
from asyncwb.wire.values import loads

MAX_EVENT: Final = 64 * 2**10
"""bytes of JSON of the summary in one event"""
_THREAD_ABOVE: Final = 16 * 2**10
"""characters of a summary above which reading it is worth the hop to a thread"""

_WIDE: Final = 1000
"""keys of a summary above which comparing it is worth the hop to a thread"""


def routes() -> list[web.RouteDef]:
    """Return the route of live events."""
    return [web.get("/api/v1/runs/{entity}/{project}/{run}/live", live, allow_head=False)]


async def background(app: web.Application) -> AsyncIterator[None]:
    """Notice what other processes write to runs that are watched here (a cleanup context)."""
    state = app[STATE]

    async def turn() -> float:
        if state.hub.runs:
            state.hub.compare(await whole(state.runs.versions(state.hub.runs)))
        return POLL

    async with app[TASKS].keep("comparing watched runs", turn, after=POLL):
        yield


async def live(request: web.Request) -> web.StreamResponse:
    """Send the run's figures at once and after every change, as server-sent events."""
    state, match = request.app[STATE], request.match_info
    asked = RunPath(match["entity"], match["project"], match["run"])
    path, run_id = await require_run(state, request[USER], Action.READ, asked)
    summary = request.query.get("values") != "none"
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
        watcher = Watcher(state, request[USER], path)
        await _send_changes(state, watcher, run_id, response, summary=summary)
    except ConnectionResetError:
        pass  # the page was closed
    finally:
        state.metrics.add("asyncwb_live_connections", -1)
    return response


async def _send_changes(
    state: State,
    watcher: Watcher,
    run_id: int,
    response: web.StreamResponse,
    *,
    summary: bool,
) -> None:
    seen: Snapshot | None = None
    read = partial(_read, state, run_id, summary=summary)
    with state.hub.watch(run_id, summary=summary) as (watched, changed):
        while not state.hub.closed:
            changed.clear()
            latest = await watched.look(read)
            if latest is None or not await watcher.may_go_on(every=PING):
                return
            if latest is not seen:
                await response.write(await _event(watched, seen, latest))
                seen = latest
            if not await wait_for(changed, PING):
                await response.write(b": ping\n\n")


async def _read(state: State, run_id: int, *, summary: bool) -> Snapshot | None:
    found = await state.runs.figures_of(run_id, summary=summary)
    if found is None:
        return None
    text: str = found.pop("summary", "{}")
    found["damaged"] = ["summary"] if isinstance(text, DamagedText) else []
    make = partial(_short_summary, text)
    short_one = await asyncio.to_thread(make) if len(text) > _THREAD_ABOVE else make()
    return Snapshot(found["version"], found, short_one)


def _short_summary(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not isinstance(text, DamagedText):
        found = short(loads(text.encode()))
    return found


async def _event(watched: Watched, seen: Snapshot | None, latest: Snapshot) -> bytes:
    """Return what `latest` says to somebody who has seen `seen`; written once for all."""
    follows = seen is not None and seen is watched.before
    key = seen if follows else None
    events = watched.events  # those of this reading; a later one has others
    if key not in events:
        wide = len(latest.summary) > _WIDE
        made = await asyncio.to_thread(_written, key, latest) if wide else _written(key, latest)
        events[key] = made
    return events[key]


def _written(seen: Snapshot | None, latest: Snapshot) -> bytes:
    before: Mapping[str, Any] = {} if seen is None else seen.summary
    changed = {k: v for k, v in latest.summary.items() if k not in before or before[k] != v}
    removed = [key for key in before if key not in latest.summary]
    parts, size = [], 0
    for key, value in changed.items():
        part = strict(key) + b":" + strict(value)
        size += len(part) + 1
        if size > MAX_EVENT:
            break
        parts.append(part)
    head = {**latest.figures, "whole": seen is None, "more": size > MAX_EVENT, "removed": removed}
    return b'event: run\ndata: %b,"summary":{%b}}\n\n' % (strict(head)[:-1], b",".join(parts))
