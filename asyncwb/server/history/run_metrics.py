"""The names of what charts can draw of a run, in the order in which the page shows them.

A run may have a hundred thousand. The page draws its first charts from the first of them
(`first=...`), for which the others need not be put in order, and asks for all of them later; what
was read of a run is kept until the run has another version. `GET .../runs/{entity}/{project}/{run}`
says more of each metric, at ten times the size.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from aiohttp import web
from anyio import to_thread

from asyncwb.server.history.sections import ordered
from asyncwb.server.http.access import run_not_found
from asyncwb.server.http.parameters import whole_number
from asyncwb.server.http.state import STATE
from asyncwb.server.intake.folds import FOLD
from asyncwb.server.objects.damage import require_sound
from asyncwb.server.runs.runs import run_of
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.summary.fold import Fold
from asyncwb.wire.summary.metrics import MetricRules
from asyncwb.wire.summary.stored import rows_of_numbers

_MOST: Final = 2**20
_KEPT: Final = 2**18
"""names that are kept of all runs together, each of about 100 bytes"""


@dataclass(slots=True)
class Drawable:
    """What can be drawn of one version of a run: counts of rows by key, and the keys in order.

    `order` is made when somebody asks for all of them.
    """

    version: int
    counts: dict[str, int]
    order: list[str] | None = None

    def answer(self, first: int | None) -> bytes:
        """Return the first keys, or all, with their counts."""
        if first is None or first >= len(self.counts):
            keys = self.order = self.order or list(ordered(self.counts))
        else:
            keys = self.order[:first] if self.order else list(islice(ordered(self.counts), first))
        counts = [self.counts[key] for key in keys]
        return dumps({"key": keys, "count": counts, "total": len(self.counts)})

    def follow(self, before: Drawable) -> None:
        """Take over the order of an earlier version where the keys are the same."""
        if before.counts.keys() == self.counts.keys():
            self.order = before.order


@dataclass(slots=True)
class Kept:
    """What was read last, by runs' inner ids, the latest used last. Of the event loop's thread."""

    runs: OrderedDict[int, Drawable] = field(default_factory=OrderedDict)

    def get(self, run_id: int) -> Drawable | None:
        """Return what was read of a run."""
        return self.runs.get(run_id)

    def put(self, run_id: int, found: Drawable) -> None:
        """Keep it, and forget what was not asked for the longest."""
        self.runs[run_id] = found
        self.runs.move_to_end(run_id)
        total = sum(len(one.counts) for one in self.runs.values())
        while total > _KEPT:
            total -= len(self.runs.popitem(last=False)[1].counts)


KEPT: web.AppKey[Kept] = web.AppKey("kept metrics", Kept)


def routes() -> list[web.RouteDef]:
    """Return the route of a run's metrics."""
    return [web.get("/api/v1/runs/{entity}/{project}/{run}/metrics", run_metrics)]


async def run_metrics(request: web.Request) -> web.Response:
    """Answer what of a run can be drawn: lists of keys and counts, and how many there are."""
    text = request.query.get("first")
    first = whole_number(text, "first", default=None, least=1, most=_MOST)
    path, run_id = await run_of(request)
    runs, kept = request.app[STATE].runs, request.app[KEPT]
    version = (await runs.versions([run_id])).get(run_id)
    before = kept.get(run_id)
    if before is not None and before.version == version:
        found = before
    else:
        stored = await runs.fold(run_id)
        if stored is None:  # deleted meanwhile
            raise run_not_found(path)
        version, fold = stored
        fold = require_sound(fold, f"{FOLD} ({path})")
        found = await to_thread.run_sync(_drawable, version, fold, before)
    kept.put(run_id, found)
    body = await to_thread.run_sync(found.answer, first)
    return web.Response(body=body, content_type="application/json")


def _drawable(version: int, fold: str, before: Drawable | None) -> Drawable:
    """Read the fold's state as it is stored, without making a fold of it."""
    state: JsonObject = loads(fold) or Fold().state()
    rules = MetricRules(state["rules"])
    counts = {
        key: count
        for key, count in rows_of_numbers(state)
        if key[:1] != "_" and not (rules and _hidden(rules, key))
    }
    found = Drawable(version, counts)
    if before is not None:
        found.follow(before)
    return found


def _hidden(rules: MetricRules, key: str) -> bool:
    rule = rules.resolve(key)
    return rule is not None and rule.hidden
