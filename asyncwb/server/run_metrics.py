"""The names of what a run has logged, as columns: a run may have a hundred thousand of them.

`GET .../runs/{entity}/{project}/{run}` says more of each metric, at ten times the size; the page
only needs to know what it can draw.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from asyncwb.server.access import run_not_found
from asyncwb.server.damage import require_sound
from asyncwb.server.folds import FOLD
from asyncwb.server.runs import run_of
from asyncwb.server.state import STATE
from asyncwb.wire.metrics import MetricRules
from asyncwb.wire.reducers import kind_and_count
from asyncwb.wire.values import dumps, loads


def routes() -> list[web.RouteDef]:
    """Return the route of a run's metrics."""
    return [web.get("/api/v1/runs/{entity}/{project}/{run}/metrics", run_metrics)]


async def run_metrics(request: web.Request) -> web.Response:
    """Answer a run's metrics: a list of keys, of kinds and of counts, and the places hidden."""
    path, _ = await run_of(request)
    run = await request.app[STATE].runs.get(path)
    if run is None:  # deleted meanwhile
        raise run_not_found(path)
    fold = require_sound(run.columns["fold"], f"{FOLD} ({path})")
    body = await asyncio.to_thread(_columns, fold)
    return web.Response(body=body, content_type="application/json")


def _columns(fold: str) -> bytes:
    """Return the answer; reads the fold's state as it is stored, without making a fold of it."""
    state: dict[str, Any] = loads(fold) or {"leaves": {}, "rules": []}
    seen = {key: kind_and_count(leaf) for key, leaf in state["leaves"].items()}
    logged = {key: found for key, found in seen.items() if found[1]}
    rules = MetricRules(state["rules"])
    hidden = [i for i, key in enumerate(logged) if _hidden(rules, key)] if rules else []
    kinds = "".join(kind for kind, _ in logged.values())
    counts = [count for _, count in logged.values()]
    return dumps({"key": list(logged), "kind": kinds, "count": counts, "hidden": hidden})


def _hidden(rules: MetricRules, key: str) -> bool:
    rule = rules.resolve(key)
    return rule is not None and rule.hidden
