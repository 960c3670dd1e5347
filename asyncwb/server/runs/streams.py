"""Live events of a run, as server-sent events: what it is, then what changes.

    event: run
    data: {"version", "state", "rows", "last_step", "heartbeat_at", "lost", "whole": true,
           "damaged": [], "summary": {...}, "removed": [], "more": false}

The first event of a connection has the summary (`shielded`), each later one the keys of it that are
new or other since the one before, and those that are gone. `damaged` is ["summary"] where that is
damaged in the store, and empty here. Long values are cut (`short`), and an event has `MAX_EVENT`
bytes of these at most; where there is `more`, the page asks for the run.
With `values=none` events have figures only (`summary` is empty), and the summary is not even read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from typing import Final

from aiohttp import web
from anyio import to_thread

from asyncwb.server.http.access import Action, Watcher, require_run
from asyncwb.server.http.state import STATE, USER, State
from asyncwb.server.http.strict_json import strict
from asyncwb.server.live.feed import PING, POLL, Snapshot, Watched, wait_for
from asyncwb.server.process.background import TASKS, shielded
from asyncwb.server.runs.short import short
from asyncwb.server.store.documents import DamagedText
from asyncwb.server.store.records import RunKey
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import loads

MAX_EVENT: Final = 64 * 2**10
"""bytes of JSON of the summary in one event"""
_THREAD_ABOVE: Final = 16 * 2**10
"""characters of a summary above which reading it is worth the hop to a thread"""


def routes() -> list[web.RouteDef]:
    """Return the route of live events."""
    return [web.get("/api/v1/runs/{entity}/{project}/{run}/live", live, allow_head=False)]


async def background(app: web.Application) -> AsyncIterator[None]:
    """Notice what other processes write to runs that are watched here (a cleanup context)."""
    state = app[STATE]

    async def turn() -> float:
        if state.hub.runs:
            state.hub.compare(await shielded(state.runs.versions(state.hub.runs)))
        return POLL

    async with app[TASKS].keep("comparing watched runs", turn, after=POLL):
        yield


async def live(request: web.Request) -> web.StreamResponse:
    """Send the run's figures at once and after every change, as server-sent events."""
    state, match = request.app[STATE], request.match_info
    asked = RunKey(match["entity"], match["project"], match["run"])
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
    seen: int | None = None
    read = partial(_read, state, run_id, summary)
    with state.hub.watch(run_id, summary=summary) as (watched, changed):
        while not state.hub.closed:
            changed.clear()
            await watched.look(read)
            if not await watcher.may_go_on(every=PING) or watched.latest is None:
                return
            # No snapshot is held here: whoever reads slowly would keep it in memory.
            if watched.latest.version != seen:
                event, seen = _event(watched, watched.latest, seen), watched.latest.version
                await response.write(event)
            if not await wait_for(changed, PING):
                await response.write(b": ping\n\n")


async def _read(
    state: State, run_id: int, summary: bool, before: Snapshot | None
) -> Snapshot | None:
    found = await state.runs.figures_of(run_id, summary=summary)
    if found is None:
        return None
    text: str = found.pop("summary", "{}")
    found["damaged"] = ["summary"] if isinstance(text, DamagedText) else []
    make = partial(_snapshot, found, text, before)
    return await to_thread.run_sync(make) if len(text) > _THREAD_ABOVE else make()


def _snapshot(figures: JsonObject, text: str, before: Snapshot | None) -> Snapshot:
    summary: JsonObject = {}
    if not isinstance(text, DamagedText):
        summary = short(loads(text.encode()))
    since = None if before is None else before.version
    change = _written(figures, summary, None if before is None else before.summary)
    return Snapshot(figures["version"], figures, summary, since, change)


def _event(watched: Watched, latest: Snapshot, seen: int | None) -> bytes:
    """Return what the latest reading says to who was told version `seen`; written once for all."""
    if seen == latest.since:
        return latest.change
    if watched.whole is None:
        watched.whole = _written(latest.figures, latest.summary, None)
    return watched.whole


def _written(
    figures: Mapping[str, object],
    summary: Mapping[str, object],
    before: Mapping[str, object] | None,
) -> bytes:
    known = before or {}
    changed = (key for key in summary if key not in known or known[key] != summary[key])
    told, more = _fitting(strict(key) + b":" + strict(summary[key]) for key in changed)
    room = MAX_EVENT - sum(map(len, told))
    gone, more_gone = _fitting((strict(key) for key in known if key not in summary), room)
    head = strict({**figures, "whole": before is None, "more": more or more_gone})[:-1]
    parts = (head, b",".join(told), b",".join(gone))
    return b'event: run\ndata: %b,"summary":{%b},"removed":[%b]}\n\n' % parts


def _fitting(parts: Iterable[bytes], room: int = MAX_EVENT) -> tuple[list[bytes], bool]:
    """Return the first parts, as many as have room, and whether there are more."""
    fitting: list[bytes] = []
    for part in parts:
        room -= len(part) + 1
        if room < 0:
            return fitting, True
        fitting.append(part)
    return fitting, False
