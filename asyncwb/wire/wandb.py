"""W&B's shapes: a writer's frames as history lines, summary, config and run attributes, and back.

A server that does not take our frames takes what W&B's clients send. `Translation` turns one
writer's rows and events into that, purely: the same frames give the same lines under the same
numbers, however they are cut into requests, so a line that is sent twice overwrites itself.

| ours | W&B's |
| --- | --- |
| rows of one step, until it is closed | one line of `wandb-history.jsonl` |
| a row behind the writer's largest step | a line of its own, out of order: nothing is dropped |
| a path `a.b` | the nested object `{"a": {"b": ..}}` |
| the fold of rows, summary events and metric rules | the one line of `wandb-summary.json` |
| config | `{"key": {"value": ..}}`; W&B's own part is under `_wandb` |
| a metric definition | an item of `_wandb.m`, its fields named by number |
| start, attrs | the variables of `UpsertBucket` |
| finish | `complete` and `exitcode` |
| lost | nothing: W&B has no word for rows that are gone |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from asyncwb.errors import UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.columns import Table
from asyncwb.wire.rows.frames import Frame
from asyncwb.wire.rows.keys import INTERNAL, OPEN, RUNTIME, STEP, TIME
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.summary.fold import Fold
from asyncwb.wire.summary.metrics import MetricRules

HISTORY: Final = "wandb-history.jsonl"
EVENTS: Final = "wandb-events.jsonl"
"""system metrics"""
SUMMARY: Final = "wandb-summary.json"
OUTPUT: Final = "output.log"
"""the console"""
MAX_BYTES: Final = 10 * 2**20
"""the most that a request, or one line in it, may have."""

_STEP_SYNC, _HIDDEN, _DEFINED = 1, 2, 3
_OPS: Final = ("min", "max", "mean", "best", "last", "none", "copy", "first")
"""the summary ops in the order of their numbers, from 1."""
_GOALS: Final = {"minimize": 1, "maximize": 2}
_TEXTS: Final = {"notes": "notes", "group": "groupName", "job_type": "jobType"}
_ABOUT: Final = {
    "name": "displayName",
    "tags": "tags",
    "notes": "notes",
    "group": "group",
    "job_type": "jobType",
}
"""what a run is called and sorted by, under the names of W&B's `Run`"""


@dataclass(frozen=True, slots=True)
class Existing:
    """A run as a W&B server has it.

    `lines`: how many history lines; `last_step`: the last line's step, None without lines;
    `started_at`: unix seconds, as far as the last line tells; `summary` by path; `about`: name,
    tags, notes, group and job type, under our names; `logged`: whether a client has begun it (one
    that was only created by hand has not).
    """

    lines: int
    last_step: int | None
    started_at: float | None
    config: JsonObject
    summary: JsonObject
    about: JsonObject
    logged: bool


def read_existing(bucket: Mapping[str, Any] | None) -> Existing | None:
    """Read the bucket of `RunResumeStatus`; None where the server has no such run.

    Raises ValueError or TypeError for what is none.
    """
    if bucket is None:
        return None
    tail = _json(bucket.get("historyTail")) or []
    last = _json(tail[-1]) if tail else {}
    step, at, runtime = (_number(last.get(key)) for key in (STEP, TIME, RUNTIME))
    return Existing(
        lines=int(bucket.get("historyLineCount") or 0),
        last_step=None if step is None else int(step),
        started_at=None if at is None or runtime is None else at - runtime,
        config=plain_config(_json(bucket.get("config")) or {}),
        summary=keys.flatten(_json(bucket.get("summaryMetrics")) or {}),
        about={ours: bucket.get(theirs) for ours, theirs in _ABOUT.items()},
        logged="t" in (_json(bucket.get("wandbConfig")) or {}),
    )


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _json(value: Any) -> Any:
    """Read what is JSON inside a string at one server, and a value at another."""
    return loads(value) if isinstance(value, str) else value


# Config.


def wire_config(
    config: Mapping[str, object], metrics: list[JsonObject], about: Mapping[str, object]
) -> JsonObject:
    """Wrap a config as W&B sends it.

    `metrics` are `metric_items`; `about` is the start event, which knows the versions. The key
    `t` in W&B's part is what makes its clients take the run for one that exists.
    """
    python, client = about.get("python"), about.get("client")
    own = {
        "python_version": python,
        "cli_version": client,
        "t": {"4": python, "5": client},
        "m": metrics,
    }
    wrapped = {key: {"value": value} for key, value in config.items() if key != INTERNAL}
    return {**wrapped, INTERNAL: {"value": own}}


def unwrap(config: Mapping[str, Any]) -> JsonObject:
    """Return a config of W&B's form as a plain one; what is not wrapped stays as it is."""
    return {key: value["value"] if _is_wrapped(value) else value for key, value in config.items()}


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and "value" in value and value.keys() <= {"value", "desc"}


def wrap(config: Mapping[str, Any]) -> JsonObject:
    """Return a plain config in W&B's form."""
    return {key: {"value": value, "desc": None} for key, value in config.items()}


def plain_config(document: Mapping[str, object]) -> JsonObject:
    """Unwrap a config of W&B's; its own part is left out."""
    return {key: value for key, value in unwrap(document).items() if key != INTERNAL}


def smaller_config(text: str) -> str | None:
    """Return the JSON of a config without its largest values, at most half as long; None where
    nothing is left to leave out. W&B's own part stays."""
    config = loads(text)
    sizes = {key: len(dumps(value)) for key, value in config.items() if key != INTERNAL}
    if not sizes:
        return None
    left = len(text)
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        del config[key]
        left -= sizes[key]
        if left <= len(text) // 2:
            break
    return dumps(config).decode()


# Metric definitions.


def metric_items(rules: MetricRules, logged: Iterable[str] = ()) -> list[JsonObject]:
    """Write metric definitions as items of `_wandb.m`.

    Globs are written as such and once more for each key of `logged` that they cover, since older
    servers know full names only. A step metric needs an item of its own: it is named by number.
    """
    events = {event["name"]: event for event in rules.events()}
    names = dict.fromkeys(name for name in events if not name.endswith("*"))
    covered = {path: rule for path in logged if path not in names and (rule := rules.resolve(path))}
    for path, rule in covered.items():
        events[path] = {**rule.event(), "name": path}
    steps = [event["step_metric"] for event in events.values() if event["step_metric"]]
    order = list(dict.fromkeys([*names, *covered, *steps, *events]))
    numbers = {name: number for number, name in enumerate(order, 1)}
    return [_item(name, events.get(name), numbers, defined=name not in covered) for name in order]


def _item(
    name: str, event: Mapping[str, Any] | None, numbers: Mapping[str, int], *, defined: bool
) -> JsonObject:
    item: JsonObject = {"2" if name.endswith("*") else "1": name}
    if event is None:
        return item
    if event["step_metric"]:
        item["5"] = numbers[event["step_metric"]]
    flags = ((_STEP_SYNC, event["step_sync"]), (_HIDDEN, event["hidden"]), (_DEFINED, defined))
    item["6"] = [number for number, is_set in flags if is_set]
    if event["summary"]:
        item["7"] = [_OPS.index(op) + 1 for op in event["summary"]]
    if event["goal"]:
        item["8"] = _GOALS[event["goal"]]
    return {number: value for number, value in item.items() if value != []}


def metric_events(items: Iterable[Any]) -> list[JsonObject]:
    """Read items of `_wandb.m` back as metric events; what cannot be read is passed over."""
    listed = list(items)
    found = (_event(item, listed) for item in listed if isinstance(item, dict))
    return [event for event in found if event is not None]


def _event(item: Mapping[str, object], items: list[object]) -> JsonObject | None:
    name = item.get("1") or item.get("2")
    flags, numbers, goal = item.get("6"), item.get("7"), item.get("8")
    event = {
        "t": "metric",
        "name": name,
        "step_metric": _step_metric(item, items),
        "step_sync": isinstance(flags, list) and _STEP_SYNC in flags,
        "hidden": isinstance(flags, list) and _HIDDEN in flags,
        "summary": [
            _OPS[n - 1] for n in (numbers if isinstance(numbers, list) else ()) if n in _OP_NUMBERS
        ],
        "goal": next((word for word, number in _GOALS.items() if number == goal), None),
        "overwrite": True,
    }
    try:
        MetricRules([event])
    except UsageError:
        return None
    return event


_OP_NUMBERS: Final = range(1, len(_OPS) + 1)


def _step_metric(item: Mapping[str, object], items: list[object]) -> str | None:
    number, name = item.get("5"), item.get("4")
    if isinstance(number, int) and 1 <= number <= len(items):
        named = items[number - 1]
        name = named.get("1") if isinstance(named, dict) else None
    return name if isinstance(name, str) and name else None


# History.


class HistoryLines:
    """Rows of one writer as history lines: one a step, in the order in which the steps close.

    Mutable state: `started_at` (unix seconds, what `_runtime` counts from), the writer's largest
    step, and the row of the step that is still open, by path.
    """

    __slots__ = ("_open", "_top", "started_at")

    def __init__(self) -> None:
        self.started_at: float | None = None
        self._top = -1
        self._open: JsonObject | None = None

    @property
    def holds(self) -> bool:
        """Whether a row waits for its step to be closed."""
        return self._open is not None

    def add(self, table: Table) -> Iterator[str]:
        """Take rows in, in order, and give the lines that are complete."""
        for row in table.iter_rows():
            is_open, step = row.pop(OPEN, False), row[STEP]
            if step < self._top:
                yield self._line(row)
                continue
            if step > self._top:
                yield from self.close()
            self._top = step
            merged = row if self._open is None else {**self._open, **row}
            self._open = merged if is_open else None
            if not is_open:
                yield self._line(merged)

    def close(self) -> Iterator[str]:
        """Give the line of the step that is open, if one is: nothing more comes to it."""
        row, self._open = self._open, None
        if row is not None:
            yield self._line(row)

    def _line(self, row: JsonObject) -> str:
        at = row[TIME]
        if self.started_at is None:
            self.started_at = at
        user = {path: value for path, value in row.items() if path not in (STEP, TIME)}
        runtime = max(0.0, at - self.started_at)
        return dumps({**keys.nest(user), STEP: row[STEP], RUNTIME: runtime, TIME: at}).decode()

    def state(self) -> JsonObject:
        """Return all of it as JSON."""
        return {"started_at": self.started_at, "top": self._top, "open": self._open}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> HistoryLines:
        """Return the lines that `state()` described."""
        lines = cls()
        lines.started_at, lines._top = state["started_at"], state["top"]
        lines._open = None if state["open"] is None else dict(state["open"])
        return lines


# One writer.

_OURS: Final = (STEP, TIME, RUNTIME, INTERNAL)
"""what stands in a summary besides the user's own"""


@dataclass(slots=True)
class Translation:
    """One writer's frames as W&B's shapes; feed it frames in order, then send what it shows.

    `next_seq`: the number that is expected next. `count`: the number of the next history line.
    `attributes`: what of the run is to be told by `UpsertBucket`, taken by `take_update`.
    `exit_code`: set once the writer has finished the run. Everything else is this class's own.
    """

    next_seq: int = 0
    count: int = 0
    exit_code: int | None = None
    lines: HistoryLines = field(default_factory=HistoryLines)
    fold: Fold = field(default_factory=Fold)
    attributes: JsonObject = field(default_factory=dict)
    _about: JsonObject = field(default_factory=dict)
    _config: JsonObject = field(default_factory=dict)
    _told: str = ""
    _told_attributes: JsonObject = field(default_factory=dict)
    _is_known: bool = False

    @classmethod
    def after(cls, existing: Existing | None) -> Translation:
        """Go on where a run stands: behind its lines, on top of its config and summary."""
        made = cls()
        if existing is not None:
            made.count = existing.lines
            made._is_known = True
            made.lines.started_at = existing.started_at
            made._config = dict(existing.config)
            before = {path: value for path, value in existing.summary.items() if path not in _OURS}
            made.fold.begin_with(before, existing.last_step)
        return made

    def feed(self, frame: Frame) -> Iterator[str]:
        """Take in what of a frame is new, and give the history lines that it completes.

        The frame counts as taken in once the iterator has ended.
        """
        fresh = frame.skip(min(frame.count, max(0, self.next_seq - frame.first_seq)))
        self.fold.apply(fresh.table, () if fresh.lost else fresh.events)
        done = 0
        for position, event in fresh.events:
            yield from self.lines.add(fresh.table.slice(done, position))
            done = max(done, position)
            yield from self._event(event)
        yield from self.lines.add(fresh.table.slice(done, fresh.table.n))
        self.next_seq = max(self.next_seq, frame.first_seq + frame.count)

    def _event(self, event: Mapping[str, Any]) -> Iterator[str]:
        kind = event.get("t")
        if kind == "start":
            self._start(event)
        elif kind == "config":
            self._config.update(event.get("set") or {})
            for key in event.get("delete") or ():
                self._config.pop(key, None)
        elif kind == "attrs":
            self.attributes.update(_changed(event))
        elif kind in ("finish", "leave"):
            yield from self.lines.close()
            if kind == "finish":
                self.exit_code = int(event.get("exit_code") or 0)

    def _start(self, event: Mapping[str, Any]) -> None:
        at = event.get("at")
        if isinstance(at, (int, float)):
            known = self.lines.started_at
            self.lines.started_at = at if known is None else min(at, known)
        self._about = {name: event.get(name) for name in ("python", "client")}
        if event.get("joins") and self._is_known:
            return
        self._config.update(event.get("config") or {})
        self.attributes.update(start_attributes(event))

    def take_update(self) -> JsonObject | None:
        """Return the variables of the `UpsertBucket` that is due; None where nothing changed.

        Put them back with `untake` where it could not be sent.
        """
        text = self._config_text()
        if not self.attributes and text == self._told:
            return None
        variables = dict(self.attributes)
        if text != self._told:
            variables["config"] = text
        self._told_attributes |= self.attributes
        self.attributes, self._told = {}, text
        return variables

    def untake(self, variables: Mapping[str, object]) -> None:
        """Have what was not sent told again; what changed since wins."""
        kept = {name: value for name, value in variables.items() if name != "config"}
        self.attributes = {**kept, **self.attributes}
        if "config" in variables:
            self._told = ""

    def begin_again(self) -> None:
        """Have all of it told again, to a server that has the run no more."""
        self.untake({**self._told_attributes, "config": None})
        self.count = 0

    def _config_text(self) -> str:
        items = metric_items(self.fold.rules, self.fold.metrics())
        return dumps(wire_config(self._config, items, self._about)).decode()

    def summary_text(self) -> str:
        """Return the line of `wandb-summary.json`: what stood before, and what was logged since."""
        values = self.fold.values()
        if TIME in values and self.lines.started_at is not None:
            values[RUNTIME] = max(0.0, values[TIME] - self.lines.started_at)
        return dumps(keys.nest(values)).decode()

    def state(self) -> JsonObject:
        """Return all of it as JSON (NaN may be in it: use `values.dumps`)."""
        return {
            "next_seq": self.next_seq,
            "count": self.count,
            "exit_code": self.exit_code,
            "lines": self.lines.state(),
            "fold": self.fold.state(),
            "attributes": self.attributes,
            "about": self._about,
            "config": self._config,
            "told": self._told,
            "told_attributes": self._told_attributes,
            "is_known": self._is_known,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Translation:
        """Return the translation that `state()` described; it goes on exactly where that stood.

        Raises KeyError, ValueError or TypeError for what is no such description.
        """
        return cls(
            next_seq=int(state["next_seq"]),
            count=int(state["count"]),
            exit_code=state["exit_code"],
            lines=HistoryLines.from_state(state["lines"]),
            fold=Fold.from_state(state["fold"]),
            attributes=dict(state["attributes"]),
            _about=dict(state["about"]),
            _config=dict(state["config"]),
            _told=state["told"],
            _told_attributes=dict(state.get("told_attributes", {})),
            _is_known=bool(state.get("is_known")),
        )


def start_attributes(event: Mapping[str, Any]) -> JsonObject:
    """Return what a start event says of its run, as variables of `UpsertBucket`."""
    given = {
        "displayName": event.get("name"),
        "tags": event.get("tags") or None,
        "host": event.get("host"),
        "program": event.get("program"),
        **{theirs: event.get(ours) for ours, theirs in _TEXTS.items()},
    }
    return {name: value for name, value in given.items() if value is not None}


def _changed(event: Mapping[str, object]) -> JsonObject:
    """An attrs event as variables; what is taken away is told as empty, since null means as is."""
    changed = {theirs: event[ours] or "" for ours, theirs in _TEXTS.items() if ours in event}
    if event.get("name"):
        changed["displayName"] = event["name"]
    if "tags" in event:
        changed["tags"] = event["tags"] or []
    return changed


# Requests.


def post_body(
    lines: list[str],
    offset: int,
    *,
    summary: str | None = None,
    exit_code: int | None = None,
) -> bytes:
    """Return the body of a file_stream request; without anything it is a heartbeat.

    `offset` is the number of the first of `lines`; `exit_code` says that the run is complete.
    """
    files: JsonObject = {}
    if lines:
        files[HISTORY] = {"offset": offset, "content": lines}
    if summary is not None:
        files[SUMMARY] = {"offset": 0, "content": [summary]}
    body: JsonObject = {"files": files} if files else {}
    if exit_code is not None:
        body |= {"complete": True, "exitcode": exit_code}
    return dumps(body)
