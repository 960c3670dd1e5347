"""A run's rows, system metrics and console, as W&B clients read them."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, TypeGuard

from anyio import to_thread
from ariadne import ObjectType

from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, refused
from asyncwb.server.graphql.execution.pace import in_steps
from asyncwb.server.graphql.runs import FROM_THE_START
from asyncwb.server.history import rows, sample
from asyncwb.server.history.history import SOURCES
from asyncwb.server.history.rows import Selection
from asyncwb.server.history.sample import Spec, displayed
from asyncwb.server.intake import lines
from asyncwb.server.intake.folds import FOLD, read_fold
from asyncwb.server.objects.damage import require_sound
from asyncwb.server.store.records import StoredRun
from asyncwb.server.store.runs.details import Details
from asyncwb.server.store.runs.segments import RunRef
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import Table
from asyncwb.wire.rows.keys import STEP, shown
from asyncwb.wire.rows.value_count import has_too_many
from asyncwb.wire.rows.values import dumps, loads, spelled
from asyncwb.wire.summary.fold import Fold

MAX_SPECS: Final = 20
MAX_KEYS: Final = 200
MAX_LINES: Final = 10_000
"""lines of the console in one answer"""
_MAX_EVENTS: Final = 200_000
_EVENTS: Final = "events"
_OUTPUT: Final = "output"
_THREAD_ABOVE: Final = 2_000
"""values of an answer above which it is worth the hop to a thread"""
_PARTS: Final = 1_000
"""values of a console line that may be JSON of its parts, of which there are four"""
_GOING_ON: Final = ("running", "pending", "preempting", "preempted")
_TYPES: Final = {"f": "number", "i": "number", "b": "boolean"}
_LINE: Final = re.compile(r"(?:(ERROR) )?(\d{4}-\d\d-\d\dT[\d:.]+Z?) (.*)", re.DOTALL)

run_type = ObjectType("Run")
BINDABLES = [run_type]


# Counts and tails: where a client that resumes goes on.


@run_type.field("historyLineCount")
async def _history_lines(run: StoredRun, info: Info) -> int:
    """Count all rows, whoever logged them: clients take 0 for a run that has not begun.

    One that begins is told 0. It numbers its lines from the number that it is told; so those of a
    synced folder have the numbers that they had before, and each counts once.
    """
    if FROM_THE_START in run.columns:
        return 0
    end: int | None = await info.context.batch(_ends, run.id)
    return max(int(run.columns["rows"]), end or 0)


async def _ends(context: Context, keys: list[int]) -> Mapping[int, int]:
    return await Details(context.state.database).ends(keys)


@run_type.field("eventsLineCount")
async def _event_lines(run: StoredRun, info: Info) -> int:
    return await info.context.batch(_event_counts, run.id) or 0


async def _event_counts(context: Context, keys: list[int]) -> Mapping[int, int]:
    return await Details(context.state.database).line_counts(keys, _EVENTS)


@run_type.field("logLineCount")
async def _log_lines(run: StoredRun, info: Info) -> int:
    return await info.context.batch(_output_counts, run.id) or 0


async def _output_counts(context: Context, keys: list[int]) -> Mapping[int, int]:
    return await Details(context.state.database).line_counts(keys, _OUTPUT)


@run_type.field("historyTail")
async def _history_tail(run: StoredRun, info: Info) -> str:
    last = run.columns["last_step"]
    if last is None:
        return "[]"
    found = await _read(info.context, run, Selection(None, last, last + 1), 1)
    return dumps(await _texts(info.context, found)).decode()


@run_type.field("eventsTail")
async def _events_tail(run: StoredRun, info: Info) -> str:
    found = await lines.tail(info.context.state, run.id, _EVENTS, 1)
    return dumps([text for _, text in found]).decode()


@run_type.field("historyKeys")
async def _history_keys(run: StoredRun, info: Info) -> dict[str, object]:
    text: str | None = await info.context.batch(_folds, run.id)
    fold = "{}" if text is None else require_sound(text, f"{FOLD} ({run.path})")
    keys = await to_thread.run_sync(lambda: _keys(read_fold(fold)))
    last = run.columns["last_step"]
    return {"keys": keys, "lastStep": -1 if last is None else last}


async def _folds(context: Context, keys: list[int]) -> Mapping[int, str]:
    return await Details(context.state.database, context.allowance).folds(keys)


def _keys(fold: Fold) -> dict[str, object]:
    last, metrics = fold.values(), fold.metrics()
    return {
        name: {
            "typeCounts": [
                {"type": kind, "count": count}
                for kind, count in _type_counts(metric.types, last.get(path)).items()
            ],
            "firstStep": metric.first_step,
            "lastStep": metric.last_step,
            **_previous(last.get(path)),
        }
        for name, (path, metric) in zip(shown([*metrics]), metrics.items(), strict=True)
    }


def _previous(value: object) -> dict[str, object]:
    """Give the last value where it is plain; `wandb verify` compares it with what it logged."""
    plain = isinstance(value, (bool, int, float)) and math.isfinite(value)
    return {"previousValue": value} if plain else {}


def _type_counts(types: Mapping[str, int], shown: object) -> dict[str, int]:
    """Count rows by W&B's names of types; `shown` tells one that was not noted."""
    found: dict[str, int] = {}
    for kind, count in types.items():
        name = _TYPES.get(kind) or kind[1:] or _type(shown)
        found[name] = found.get(name, 0) + count
    return found


def _type(value: object) -> str:
    """Name the type of a value that is neither number nor bool, as W&B's clients know them."""
    if isinstance(value, dict):
        kind = value.get("_type")
        return kind if isinstance(kind, str) else "map"
    if isinstance(value, list):
        return "list"
    return "string" if isinstance(value, str) else "nil"


# Rows.


@run_type.field("history")
async def _history(
    run: StoredRun,
    info: Info,
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
) -> AsyncIterator[str]:
    size = _size(samples)
    if min_step is None and max_step is None:
        table = await sample.of_history(info.context.app[SOURCES], _ref(run), size)
    else:
        table = await _read(info.context, run, Selection(None, min_step, max_step), size)
    return in_steps(await _texts(info.context, table))


async def _read(context: Context, run: StoredRun, selection: Selection, size: int) -> Table:
    return await rows.sample(rows.read(context.app[SOURCES], _ref(run), selection), size)


def _size(samples: int | None) -> int:
    if samples is None:
        return 500
    if samples < 1:
        raise refused("bad_samples", "samples must be 1 or more.")
    return samples


def _ref(run: StoredRun) -> RunRef:
    return RunRef(run.id, run.columns["started_at"] or run.columns["created_at"])


async def _texts(context: Context, table: Table) -> list[str]:
    """Return rows as JSON texts; NaN and infinities are bare tokens, as clients log them."""
    if table.n * len(table.columns) > _THREAD_ABOVE:
        return await context.app[SOURCES].threads.run(_encoded, table)
    return _encoded(table)


def _encoded(table: Table) -> list[str]:
    return [dumps(row).decode() for row in displayed(table)]


@run_type.field("sampledHistory")
async def _sampled_history(
    run: StoredRun, info: Info, specs: list[object]
) -> list[list[JsonObject]]:
    if len(specs) > MAX_SPECS:
        raise refused("bad_spec", f"Ask for at most {MAX_SPECS} specs.")
    # W&B's tools write {} where a document asks for rows and they do not.
    asked = [None if spec == {} else _spec(spec) for spec in specs]
    sources, ref = info.context.app[SOURCES], _ref(run)
    found = [[] if spec is None else await sample.with_keys(sources, ref, spec) for spec in asked]
    return await to_thread.run_sync(lambda: [[spelled(row) for row in part] for part in found])


def _spec(spec: object) -> Spec:
    if not isinstance(spec, dict):
        raise refused("bad_spec", "A spec is a JSON object with a list of `keys`.")
    keys = spec.get("keys")
    if not _are_keys(keys) or not 0 < len(keys) <= MAX_KEYS:
        raise refused("bad_spec", f"A spec names 1 to {MAX_KEYS} keys, each a text.")
    samples = _number(spec, "samples")
    low, last = _number(spec, "minStep"), _number(spec, "maxStep")
    # W&B's clients name the last step here, and the first one that is not wanted in `history`.
    high = None if last is None else min(last + 1, 2**63 - 1)
    return Spec(tuple(dict.fromkeys(keys)), _size(samples), low, high)


def _are_keys(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(key, str) and key for key in value)


def _number(spec: Mapping[str, object], name: str) -> int | None:
    value = spec.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise refused("bad_spec", f"{name} of a spec is a whole number.")
    return value


@run_type.field("events")
async def _events(run: StoredRun, info: Info, samples: int | None = None) -> AsyncIterator[str]:
    size = _size(samples)
    found = await lines.read(info.context.state, run.id, _EVENTS, count=_MAX_EVENTS)
    if len(found) > size:
        found = [found[at * (len(found) - 1) // max(1, size - 1)] for at in range(size)]
    return in_steps([text for _, text in found])


@run_type.field("parquetHistory")
def _parquet(run: StoredRun, info: Info, live_keys: list[str] | None = None) -> dict[str, object]:
    """Name no files, whatever keys are asked for: all rows are live, from the first step on.

    The client reads a scan from the files that are named here too, and there every key in every
    row, as null where the row lacks it, and rows that lack the keys asked for. So it pages through
    `history`, and says of a download of files that they would not be complete.
    """
    live = run.columns["rows"] or run.columns["state"] in _GOING_ON
    return {"parquet_urls": [], "live_data": [{STEP: 0}] if live else None}


# The console.


@run_type.field("logLines")
async def _console(
    run: StoredRun,
    info: Info,
    first: int | None = None,
    last: int | None = None,
    after: str | None = None,
    use_improved_pagination: bool | None = None,
) -> dict[str, object]:
    """Return a page of lines from the first on, or the last lines; there is one way to page."""
    state, name = info.context.state, f"logLines/{run.id}"
    if last is not None:
        if first is not None or after:
            raise refused("bad_page", "Ask for the `last` lines or for a page (`first`, `after`).")
        found = await lines.tail(state, run.id, _OUTPUT, _bounded(last))
        return _lines(name, run, found, has_next=False)
    size, cursor = _bounded(first), paging.decode(after, name)
    start = 0 if cursor is None else cursor[1] + 1
    found = await lines.read(state, run.id, _OUTPUT, first=start, count=size + 1)
    return _lines(name, run, found[:size], has_next=len(found) > size)


def _bounded(count: int | None) -> int:
    if count is None:
        return 1000
    if count < 1:
        raise refused("bad_page", "Ask for one line or more.")
    return min(count, MAX_LINES)


def _lines(
    name: str, run: StoredRun, found: Sequence[tuple[int, str]], *, has_next: bool
) -> dict[str, object]:
    edges: list[paging.Edge] = [
        {
            "node": {"id": ids.encode("LogLine", run.id, number), "number": number, **_line(text)},
            "cursor": paging.encode(name, (None, number)),
        }
        for number, text in found
    ]
    return {**paging.of_edges(edges, has_next=has_next), "edges": in_steps(edges)}


def _line(text: str) -> dict[str, object]:
    """Take a line of the console apart: JSON of its parts, or a time (and ERROR) before it."""
    if text.startswith("{") and not has_too_many(text, _PARTS):
        try:
            said = loads(text.encode())
        except (ValueError, RecursionError):
            said = {}
        if isinstance(said.get("content"), str):
            return {
                "line": said["content"],
                "timestamp": _text(said.get("ts")),
                "level": _text(said.get("level")),
                "label": _text(said.get("label")),
            }
    found = _LINE.fullmatch(text)
    if found is None:
        return {"line": text}
    level = found[1].lower() if found[1] else None
    return {"line": found[3], "timestamp": found[2], "level": level}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
