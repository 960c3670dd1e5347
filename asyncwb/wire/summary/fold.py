"""The summary of a run: a fold over its rows and events that both ends compute alike.

Theory of operation. The summary holds the last value of every path, or what `define_metric` asked
for. Last is what has the highest step; of two values at one step, the one of the writer that
started later; of one writer's, the one logged later. First is the reverse. So it does not matter
when rows arrive: neither a step that goes backwards nor a writer whose rows come late (a forked
child, a part that was offline, an open row that its writer closes at the end) takes the place of
what is newer.

Rows of one step are one row while it is open: a row with `_open` waits, one row a writer into which
later rows of the same step are merged, until that writer

* logs a row of the same step that is not open (it is merged in, then all of it is folded in),
* logs a row of a later step, or
* finishes.

What waits is shown: whoever reads the summary gets what it were if each open row closed now. A row
behind the writer's largest step is folded in at once; it is a late addition to a closed step.
Cutting the same rows into other batches changes nothing (but for the rounding of a mean's sum).

A value that the user sets by hand stands until that path is logged again, and switches the
path's `define_metric` ops off. It takes the place of what its writer logged so far, and its step is
the one that the writer had come to; where the event does not say which (an edit from outside), the
value takes the place of whatever is there.

Whole columns are folded with numpy; no Python code runs per row. Nor does any run per column while
batches of one shape follow each other and no metric has a rule, which is what most training loops
log: such a streak keeps its last row, and what is kept of each metric follows when somebody asks,
or when something else comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asyncwb.errors import UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Kind, Table
from asyncwb.wire.rows.keys import OPEN, RUNTIME, STEP, TIME
from asyncwb.wire.summary import stored
from asyncwb.wire.summary.closing import Index, MergedRows, by_path, closing_order, merged_row
from asyncwb.wire.summary.metrics import MetricRule, MetricRules, metric_event
from asyncwb.wire.summary.reducers import MISSING, Leaf, Rank

VERSION: Final = 3
"""What `Fold.state()` gives; `Fold.from_state` reads this one and those before."""

__all__ = ["VERSION", "Fold", "MetricInfo", "MetricRule", "MetricRules", "metric_event"]

_READ: Final = ("start", "summary", "metric", "finish", "leave")


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a run holds of one key.

    `kind` is the widest that was logged (float over int over bool over other JSON); `count` the
    number of rows with the key; `first_step` and `last_step` the smallest and largest of them;
    `types` the rows by type, as `Leaf` names them.
    """

    kind: Kind
    count: int
    first_step: int
    last_step: int
    types: Mapping[str, int]


@dataclass(slots=True)
class _Writer:
    name: str
    started_at: float = 0.0  # unix, where its first word said so
    top: int = -1  # its largest step
    row: JsonObject | None = None  # the open row at that step

    def rank(self, step: int) -> Rank:
        """Return the place of a value that it logged at a step."""
        return step, self.started_at, self.name


@dataclass(slots=True)
class _Streak:
    """Rows of one shape that count: how many, their steps, and the words and rank of the last."""

    keys: tuple[str, ...]
    kinds: str
    count: int
    first_step: int
    last_step: int
    words: NDArray[np.uint64]
    rank: Rank

    @classmethod
    def of(cls, table: Table, source: _Writer) -> _Streak | None:
        """Return a batch as a streak; None where its columns have to be looked at one by one."""
        block = table.blocks[0]
        alike = len(table.blocks) == 1 and not table.texts and block.rows is None
        if not alike or block.keys.count(TIME) != 1 or OPEN in block.keys or not table.ascending:
            return None
        first, last = int(table.steps[0]), table.last_step
        words, rank = block.words[:, -1].copy(), source.rank(last)
        return cls(block.keys, block.kinds, table.n, first, last, words, rank)

    def continue_with(self, other: _Streak) -> bool:
        """Add rows of the same shape; False where they have another."""
        if (self.keys, self.kinds) != (other.keys, other.kinds):
            return False
        self.count += other.count
        self.first_step = min(self.first_step, other.first_step)
        self.last_step = max(self.last_step, other.last_step)
        if other.rank >= self.rank:
            self.words, self.rank = other.words, other.rank
        return True

    def tell(self, leaf_of: Callable[[str], Leaf]) -> None:
        """Tell the leaves."""
        floats, ints = self.words.view(np.float64).tolist(), self.words.view(np.int64).tolist()
        for i, key in enumerate(self.keys):
            if key not in keys.COMPUTED:
                kind: Any = self.kinds[i]
                leaf = leaf_of(key)
                leaf.saw(kind, self.count, self.first_step, self.last_step)
                number = floats[i] if kind == FLOAT else ints[i] if kind == INT else ints[i] != 0
                leaf.put(number, self.rank)
        leaf_of(TIME).put(floats[self.keys.index(TIME)], self.rank)


class Fold:
    """The summary of one run, whoever writes to it.

    Rows of several writers are applied to one fold under their writers' names. Not thread-safe.
    """

    # _leaves: by path, less what `_streak` has to tell them. _writers: by name. _step: the largest
    # step that counts. _started_at: unix.
    __slots__ = ("_leaves", "_started_at", "_step", "_streak", "_writers", "rules")

    def __init__(self) -> None:
        self.rules = MetricRules()
        self._leaves: dict[str, Leaf] = {}
        self._streak: _Streak | None = None
        self._writers: dict[str, _Writer] = {}
        self._step: int | None = None
        self._started_at: float | None = None

    @property
    def width(self) -> int:
        """How many values it holds."""
        return len(self._leaves)

    def begin_with(self, values: Mapping[str, object], step: int | None) -> None:
        """Go on from a summary (flat, by path) up to a step, of which no more is known.

        Of what `define_metric` computes, min, max, best, first and last go on from there once the
        metric is defined again; a mean cannot, and starts anew. `Fold.from_state` knows all.
        """
        source, last = self._writer(""), -1 if step is None else step
        for path, value in values.items():
            if path not in (STEP, OPEN, RUNTIME):
                self._leaf(path).put(value, source.rank(last))
        self._step = step
        time, runtime = values.get(TIME), values.get(RUNTIME)
        if isinstance(time, (int, float)) and isinstance(runtime, (int, float)):
            self._started_at = time - runtime

    def take_over(self, former: Fold) -> None:
        """Take from the run's former fold what its rows do not tell, where they are folded anew.

        That is when the run started, its metric definitions, and values only set by hand, which
        stand until they are logged again.
        """
        self._tell()
        self._started_at = former._started_at
        self.rules = MetricRules(former.rules.events())
        lowest = self._writer("").rank(-1)
        for path, leaf in former._leaves.items():
            if not leaf.count and path not in self._leaves:
                self._leaves[path] = leaf.copy()
                self._leaves[path].rank = lowest

    def apply(
        self,
        table: Table,
        events: Iterable[tuple[int, Mapping[str, object]]] = (),
        writer: str = "",
    ) -> None:
        """Take in rows and events of one writer, in order; writers may come in any order.

        Costs some microseconds a column, whatever the number of rows up to thousands. `events`
        are (row position, event), ascending; an event happens before the row at its position.
        Events of unknown types and malformed ones, which only a foreign client can send, are
        passed over: the stream must go on.
        """
        done = 0
        with np.errstate(all="ignore"):
            for position, event in events:
                if event.get("t") in _READ:
                    self._rows(table.slice(done, position), writer)
                    done = max(done, position)
                    self._event(event, writer)
            self._rows(table.slice(done, table.n), writer)

    # Rows.

    def _rows(self, table: Table, writer: str) -> None:
        if not table.n:
            return
        source = self._writer(writer)
        top = max(source.top, table.last_step)
        streak = None if source.row is not None or self.rules else _Streak.of(table, source)
        if streak is not None:
            self._go_on(streak)
            source.top = top
            return
        self._tell()
        self._count(table)
        if source.row is None and (table.get(OPEN, BOOL) is None or not table.open.any()):
            self._fold(table, source)
        else:
            self._rows_with_open(table, source)
        source.top = top

    def _go_on(self, streak: _Streak) -> None:
        self._step = max(streak.last_step, -1 if self._step is None else self._step)
        if self._streak is None or not self._streak.continue_with(streak):
            self._tell()
            self._streak = streak

    def _tell(self) -> None:
        streak, self._streak = self._streak, None
        if streak is not None:
            streak.tell(self._leaf)

    def _rows_with_open(self, table: Table, source: _Writer) -> None:
        steps = table.steps
        top_before = np.maximum.accumulate(np.concatenate(([source.top], steps[:-1])))
        late = steps < top_before
        is_open = table.open & ~late
        if source.row is not None:
            used = self._continue_open(table, source, late, is_open)
            table, late, is_open = table.slice(used, table.n), late[used:], is_open[used:]
            if not table.n:
                return
        label, order = closing_order(table.steps, late, is_open)
        if order is not None:
            table, label, is_open = table.take(order), label[order], is_open[order]
        waiting = int((label == label[-1]).sum()) if is_open[-1] else 0
        closed = table.n - waiting
        self._fold(table.slice(0, closed), source, label[:closed])
        if waiting:
            source.row = merged_row(table.slice(closed, table.n))
            source.top = int(table.steps[-1])

    def _continue_open(
        self, table: Table, source: _Writer, late: NDArray[np.bool_], is_open: NDArray[np.bool_]
    ) -> int:
        """Merge rows into the open row until it closes; return how many rows that took."""
        assert source.row is not None
        same = table.steps == source.top
        closing = np.flatnonzero(~late & ~(same & is_open))
        used = int(closing[0]) + int(same[closing[0]]) if len(closing) else table.n
        if late[:used].any():
            self._fold(table.take(np.flatnonzero(late[:used])), source)
        joined = np.flatnonzero(~late[:used])
        if len(joined):
            source.row.update(merged_row(table.take(joined)))
        if len(closing):
            self._close(source)
        return used

    def _close(self, source: _Writer) -> None:
        row, source.row = source.row, None
        if row is None:
            return
        self._step = max(source.top, -1 if self._step is None else self._step)
        for path, value in row.items():
            rank = source.rank(source.top)
            self._leaf(path).fold_list([value], [source.top], rank[1:], self._rule(path))

    def _fold(self, table: Table, source: _Writer, label: Index | None = None) -> None:
        """Fold in rows that count; neighbours with the same label are one row."""
        if not table.n:
            return
        self._step = max(table.last_step, -1 if self._step is None else self._step)
        kept, order = MergedRows(table, label), source.rank(0)[1:]
        for path, columns in by_path(table):
            leaf, rule, column = self._leaf(path), self._rule(path), columns[0]
            if len(columns) > 1:
                leaf.fold_list(*kept.mixed(columns), order, rule)
            elif column.kind == JSON:
                leaf.fold_list(kept.values(column), kept.steps(column).tolist(), order, rule)
            else:
                leaf.fold_array(kept.values(column), kept.ends(column), order, rule)

    def _count(self, table: Table) -> None:
        steps = table.steps
        spans: dict[int, tuple[int, int]] = {}
        for column in table.columns:
            if column.key in keys.COMPUTED or not len(column.values):
                continue
            span = spans.get(id(column.rows))
            if span is None:
                found = steps if column.rows is None else steps[column.rows]
                low, high = (found[0], found[-1]) if table.ascending else (found.min(), found.max())
                span = spans[id(column.rows)] = int(low), int(high)
            values = column.values if column.kind == JSON else ()
            self._leaf(column.key).saw(column.kind, len(column.values), *span, values)

    def _leaf(self, path: str) -> Leaf:
        leaf = self._leaves.get(path)
        if leaf is None:
            leaf = self._leaves[path] = Leaf()
            rule = self._rule(path)
            if rule is not None and rule.shown:
                self._adopt(path, leaf, rule)
        return leaf

    def _adopt(self, path: str, leaf: Leaf, rule: MetricRule) -> None:
        """Let a metric's ops go on from what `begin_with` told of them."""
        for op in rule.shown:
            told = self._leaves.get(f"{path}.{op}")
            if told is not None and told.told:
                del self._leaves[f"{path}.{op}"]
                leaf.go_on(op, rule.goal, told)

    def _writer(self, name: str, first: Mapping[str, object] | None = None) -> _Writer:
        """Return a writer; a new one started when its first event says."""
        source = self._writers.get(name)
        if source is None:
            source = self._writers[name] = _Writer(name)
            at = first.get("at") if first and first.get("t") == "start" else None
            if isinstance(at, (int, float)) and math.isfinite(at):
                source.started_at = float(at)
        return source

    def _rule(self, path: str) -> MetricRule | None:
        return None if path == TIME else self.rules.resolve(path)

    # Events.

    def _event(self, event: Mapping[str, object], writer: str) -> None:
        self._tell()
        kind = event["t"]
        source = self._writer(writer, event)
        if kind == "start":
            at = event.get("at")
            if isinstance(at, (int, float)):
                self._started_at = at if self._started_at is None else min(at, self._started_at)
        elif kind == "metric":
            try:
                self.rules.define(event)
            except UsageError:
                return  # a newer or foreign client's definition: its rows are still good
        elif kind == "summary":
            self._set(event, source)
        elif kind in ("finish", "leave"):
            self._close(source)

    def _set(self, event: Mapping[str, object], source: _Writer) -> None:
        """Change values by hand; without the writer's step, whatever was there before gives way."""
        values, deleted, step = event.get("set"), event.get("delete"), event.get("step")
        rank: Rank | None = None
        if isinstance(step, int) and abs(step) < 2**63:
            rank = source.rank(max(source.top, step))
        # What was logged before and waits: the hand-set value is the newer.
        waiting = list(self._writers.values()) if rank is None else [source]
        for path in deleted if isinstance(deleted, list) else ():
            if isinstance(path, str) and path not in keys.COMPUTED:
                self._delete(path, rank, waiting)
        for path, value in values.items() if isinstance(values, dict) else ():
            if path not in keys.COMPUTED and not keys.is_too_deep(value):
                leaf = self._leaf(path)
                tops = [w.top for w in waiting if w.row and w.row.pop(path, self) is not self]
                if rank is None:
                    leaf.replace(value, source.rank(max(source.top, leaf.rank[0], *tops)))
                else:
                    leaf.set(value, rank)

    def _delete(self, path: str, rank: Rank | None, waiting: Iterable[_Writer]) -> None:
        inside = f"{path}."
        for row in [source.row for source in waiting if source.row]:
            for name in [n for n in row if n == path or n.startswith(inside)]:
                del row[name]
        for name in [n for n in self._leaves if n == path or n.startswith(inside)]:
            self._leaves[name].clear(rank)
            if not self._leaves[name].count:
                del self._leaves[name]

    # Reading.

    def as_dict(self) -> JsonObject:
        """Return the summary as the user sees it: nested dicts, `{op: value}` where ops are asked.

        Where a path is both a value and a parent (`a` and `a.b`), the value stays under its name
        and the child stands beside it under the dotted name. Values are shared, not copied.
        """
        return keys.nest(self.values())

    def values(self) -> JsonObject:
        """Return the summary by path, flat; otherwise as `as_dict`."""
        leaves, step = self._now()
        shown = {}
        for path, leaf in leaves.items():
            value = leaf.value(self._rule(path))
            if value is not MISSING:
                shown[path] = value
        if step is not None:
            shown[STEP] = step
        if self._started_at is not None and TIME in shown:
            shown[RUNTIME] = max(0.0, shown[TIME] - self._started_at)
        return shown

    def _now(self) -> tuple[Mapping[str, Leaf], int | None]:
        """Return the leaves and the step as they were if each open row closed now."""
        self._tell()
        waiting = [source for source in self._writers.values() if source.row is not None]
        if not waiting:
            return self._leaves, self._step
        seen = Fold()
        seen.rules, seen._step, seen._leaves = self.rules, self._step, dict(self._leaves)
        for path in {path for source in waiting for path in source.row or ()}:
            if path in seen._leaves:
                seen._leaves[path] = seen._leaves[path].copy()
        for source in waiting:
            seen._close(replace(source))
        return seen._leaves, seen._step

    def metrics(self) -> dict[str, MetricInfo]:
        """Return what was logged, by path; summaries set by hand are not in it."""
        self._tell()
        return {
            path: MetricInfo(
                leaf.kind, leaf.count, leaf.first_step, leaf.last_step, dict(leaf.types)
            )
            for path, leaf in self._leaves.items()
            if leaf.count
        }

    def state(self) -> JsonObject:
        """Return all of it as JSON (NaN and infinities may be in it: use `values.dumps`)."""
        self._tell()
        places = {name: place for place, name in enumerate(self._writers)}
        return {
            "v": VERSION,
            "started_at": self._started_at,
            "step": self._step,
            "leaves": stored.write(self._leaves, places),
            "rules": self.rules.events(),
            "writers": {
                name: [
                    source.top,
                    source.started_at,
                    *([] if source.row is None else [dict(source.row)]),
                ]
                for name, source in self._writers.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Fold:
        """Return the fold that `state()` described; it goes on exactly where that one stood."""
        fold = cls()
        fold._started_at, fold._step = state["started_at"], state["step"]
        fold.rules = MetricRules(state["rules"])
        for name, (top, *rest) in state["writers"].items():
            source = fold._writers[name] = _Writer(name, top=top)
            for item in rest:  # when it started, and its open row: the other way round before 3
                if isinstance(item, dict):
                    source.row = dict(item)
                elif item is not None:
                    source.started_at = item
        if state["v"] == 1:  # says of no value whose it is
            fold._writers.setdefault("", _Writer(""))
        orders = [source.rank(0)[1:] for source in fold._writers.values()]
        if state["v"] < stored.COLUMNAR:
            fold._leaves = {p: Leaf.from_state(leaf, orders) for p, leaf in state["leaves"].items()}
        else:
            fold._leaves = stored.read(state["leaves"], orders)
        return fold
