"""The summary of a run: a fold over its rows and events that both ends compute alike.

Theory of operation. The summary holds the last value of every path, or what `define_metric` asked
for. A row counts once its step is closed: a row with `_open` waits, one row a writer into which
later rows of the same step are merged, until that writer

* logs a row of the same step that is not open (it is merged in, then all of it counts),
* logs a row of a later step, or
* finishes.

A row behind the writer's largest step counts at once; it is a late addition to a closed step.
What counts is folded in per path, in the order of closing, so cutting the same rows into other
batches changes nothing (but for the rounding of a mean's sum).

A value that the user sets by hand stands until that path is logged again, and switches the
path's `define_metric` ops off. Whole columns are folded with numpy; no Python code runs per row.
Nor does any run per column while batches of one shape follow each other and no metric has a rule,
which is what most training loops log: such a streak keeps its last row, and the leaves hear of it
when somebody asks, or when something else comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asyncwb.errors import UsageError
from asyncwb.wire import keys
from asyncwb.wire.columns import BOOL, FLOAT, INT, JSON, OPEN, STEP, TIME, Column, Kind, Table
from asyncwb.wire.metrics import MetricRule, MetricRules, metric_event
from asyncwb.wire.reducers import MISSING, Leaf

__all__ = ["Fold", "MetricInfo", "MetricRule", "MetricRules", "metric_event"]

_RUNTIME: Final = "_runtime"
_COMPUTED: Final = frozenset((STEP, TIME, OPEN, _RUNTIME))
_READ: Final = ("start", "summary", "metric", "finish", "leave")

Index = NDArray[np.intp]


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
    top: int = -1  # its largest step
    row: dict[str, Any] | None = None  # the open row at that step


@dataclass(slots=True)
class _Streak:
    """Rows of one shape that count: how many, their steps, and the last one's words."""

    keys: tuple[str, ...]
    kinds: str
    count: int
    first_step: int
    last_step: int
    words: NDArray[np.uint64]

    @classmethod
    def of(cls, table: Table) -> _Streak | None:
        """Return a batch as a streak; None where its columns have to be looked at one by one."""
        block = table.blocks[0]
        alike = len(table.blocks) == 1 and not table.texts and block.rows is None
        if not alike or block.keys.count(TIME) != 1 or OPEN in block.keys or not table.ascending:
            return None
        first, last = int(table.steps[0]), table.last_step
        return cls(block.keys, block.kinds, table.n, first, last, block.words[:, -1].copy())

    def continue_with(self, other: _Streak) -> bool:
        """Add rows of the same shape; False where they have another."""
        if (self.keys, self.kinds) != (other.keys, other.kinds):
            return False
        self.count += other.count
        self.first_step = min(self.first_step, other.first_step)
        self.last_step = max(self.last_step, other.last_step)
        self.words = other.words
        return True

    def tell(self, leaf_of: Callable[[str], Leaf]) -> None:
        """Tell the leaves."""
        floats, ints = self.words.view(np.float64).tolist(), self.words.view(np.int64).tolist()
        for i, key in enumerate(self.keys):
            if key not in _COMPUTED:
                kind: Any = self.kinds[i]
                leaf = leaf_of(key)
                leaf.saw(kind, self.count, self.first_step, self.last_step)
                leaf.last = floats[i] if kind == FLOAT else ints[i] if kind == INT else ints[i] != 0
        leaf_of(TIME).last = floats[self.keys.index(TIME)]


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

    def apply(
        self,
        table: Table,
        events: Iterable[tuple[int, Mapping[str, Any]]] = (),
        writer: str = "",
        *,
        late: bool = False,
    ) -> None:
        """Take in rows and events of one writer, in order.

        `late`: the writer is gone, and others may have logged since. Rows that are older than what
        those logged count for all but the last values of paths that have a larger step.

        Costs some microseconds a column, whatever the number of rows up to thousands. `events`
        are (row position, event), ascending; an event happens before the row at its position.
        Events of unknown types and malformed ones, which only a foreign client can send, are
        passed over: the stream must go on.
        """
        newer = self._newer_than(table, writer) if late else {}
        done = 0
        with np.errstate(all="ignore"):
            for position, event in events:
                if event.get("t") in _READ:
                    self._rows(table.slice(done, position), writer)
                    done = max(done, position)
                    self._event(event, writer)
            self._rows(table.slice(done, table.n), writer)
        if newer:
            self._tell()
            for path, last in newer.items():
                self._leaf(path).last = last

    def _newer_than(self, table: Table, writer: str) -> dict[str, Any]:
        """Return the last values that rows which come late must leave as they are."""
        if not table.n or self._writers.keys() <= {writer}:
            return {}
        self._tell()
        time = self._leaf(TIME).last
        if time is MISSING or time <= float(table.times.max()):
            return {}
        kept = {TIME: time}
        for path in {column.key for column in table.columns} - _COMPUTED:
            leaf = self._leaves.get(path)
            if leaf is not None and leaf.count and leaf.last_step > table.last_step:
                kept[path] = leaf.last
        return kept

    # Rows.

    def _rows(self, table: Table, writer: str) -> None:
        if not table.n:
            return
        source = self._writers.setdefault(writer, _Writer())
        top = max(source.top, table.last_step)
        streak = None if source.row is not None or self.rules else _Streak.of(table)
        if streak is not None:
            self._go_on(streak)
            source.top = top
            return
        self._tell()
        self._count(table)
        if source.row is None and (table.get(OPEN, BOOL) is None or not table.open.any()):
            self._fold(table)
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
        label, order = _closing_order(table.steps, late, is_open)
        if order is not None:
            table, label, is_open = table.take(order), label[order], is_open[order]
        waiting = int((label == label[-1]).sum()) if is_open[-1] else 0
        closed = table.n - waiting
        self._fold(table.slice(0, closed), label[:closed])
        if waiting:
            source.row = _merged_row(table.slice(closed, table.n))
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
            self._fold(table.take(np.flatnonzero(late[:used])))
        joined = np.flatnonzero(~late[:used])
        if len(joined):
            source.row.update(_merged_row(table.take(joined)))
        if len(closing):
            self._close(source)
        return used

    def _close(self, source: _Writer) -> None:
        row, source.row = source.row, None
        if row is None:
            return
        self._step = max(source.top, -1 if self._step is None else self._step)
        for path, value in row.items():
            self._leaf(path).fold_list([value], self._rule(path))

    def _fold(self, table: Table, label: Index | None = None) -> None:
        """Fold in rows that count; neighbours with the same label are one row."""
        if not table.n:
            return
        self._step = max(table.last_step, -1 if self._step is None else self._step)
        kept = _Kept(table.n, label)
        for path, columns in _by_path(table):
            rule = self._rule(path)
            column = columns[0]
            if len(columns) > 1:
                self._leaf(path).fold_list(kept.mixed(columns), rule)
            elif column.kind == JSON:
                self._leaf(path).fold_list(kept.values(column), rule)
            else:
                self._leaf(path).fold_array(kept.values(column), rule)

    def _count(self, table: Table) -> None:
        steps = table.steps
        spans: dict[int, tuple[int, int]] = {}
        for column in table.columns:
            if column.key in _COMPUTED or not len(column.values):
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
        return leaf

    def _rule(self, path: str) -> MetricRule | None:
        return None if path == TIME else self.rules.resolve(path)

    # Events.

    def _event(self, event: Mapping[str, Any], writer: str) -> None:
        self._tell()
        kind = event["t"]
        source = self._writers.setdefault(writer, _Writer())
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
            self._set(event.get("set"), event.get("delete"), source)
        elif kind in ("finish", "leave"):
            self._close(source)

    def _set(self, values: Any, deleted: Any, source: _Writer) -> None:
        waiting = source.row or {}
        for path in deleted if isinstance(deleted, list) else ():
            if not isinstance(path, str) or path in _COMPUTED:
                continue
            inside = f"{path}."
            for name in [n for n in waiting if n == path or n.startswith(inside)]:
                del waiting[name]
            for name in [n for n in self._leaves if n == path or n.startswith(inside)]:
                self._leaves[name].clear()
                if not self._leaves[name].count:
                    del self._leaves[name]
        for path, value in values.items() if isinstance(values, dict) else ():
            if path not in _COMPUTED and not keys.is_too_deep(value):
                waiting.pop(path, None)  # logged before this: the hand-set value is the newer
                self._leaf(path).set(value)

    # Reading.

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as the user sees it: nested dicts, `{op: value}` where ops are asked.

        Where a path is both a value and a parent (`a` and `a.b`), the value stays under its name
        and the child stands beside it under the dotted name. Values are shared, not copied.
        """
        return keys.nest(self.values())

    def values(self) -> dict[str, Any]:
        """Return the summary by path, flat; otherwise as `as_dict`."""
        self._tell()
        shown = {}
        for path, leaf in self._leaves.items():
            value = leaf.value(self._rule(path))
            if value is not MISSING:
                shown[path] = value
        if self._step is not None:
            shown[STEP] = self._step
        if self._started_at is not None and TIME in shown:
            shown[_RUNTIME] = max(0.0, shown[TIME] - self._started_at)
        return shown

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

    def state(self) -> dict[str, Any]:
        """Return all of it as JSON (NaN and infinities may be in it: use `values.dumps`)."""
        self._tell()
        return {
            "v": 1,
            "started_at": self._started_at,
            "step": self._step,
            "leaves": {path: leaf.state() for path, leaf in self._leaves.items()},
            "rules": self.rules.events(),
            "writers": {
                name: [source.top, None if source.row is None else dict(source.row)]
                for name, source in self._writers.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Fold:
        """Return the fold that `state()` described; it goes on exactly where that one stood."""
        fold = cls()
        fold._started_at, fold._step = state["started_at"], state["step"]
        fold._leaves = {path: Leaf.from_state(leaf) for path, leaf in state["leaves"].items()}
        fold.rules = MetricRules(state["rules"])
        fold._writers = {
            name: _Writer(top, None if row is None else dict(row))
            for name, (top, row) in state["writers"].items()
        }
        return fold


class _Kept:
    """Which values of a column count, where rows with the same label are one row."""

    def __init__(self, n: int, label: Index | None) -> None:
        self._n = n
        merges = label is not None and bool((label[1:] == label[:-1]).any())
        self._label = label if merges else None
        self._found: dict[int, Index | None] = {}  # by id of a column's rows, which blocks share

    def values(self, column: Column) -> Any:
        last = self._last_of_label(column)
        if last is None:
            return column.values
        if column.kind == JSON:
            return [column.values[i] for i in last.tolist()]
        return column.values[last]

    def _last_of_label(self, column: Column) -> Index | None:
        if self._label is None:
            return None
        where = id(column.rows)
        if where not in self._found:
            label = self._label if column.rows is None else self._label[column.rows]
            ends = np.concatenate((label[1:] != label[:-1], [True]))
            self._found[where] = None if ends.all() else np.flatnonzero(ends)
        return self._found[where]

    def mixed(self, columns: list[Column]) -> list[Any]:
        """Weave the columns of one key, one a kind, into one list of values."""
        label = np.arange(self._n) if self._label is None else self._label
        by_row: dict[int, Any] = {}
        for column in columns:
            rows = range(self._n) if column.rows is None else column.rows.tolist()
            plain = column.values if column.kind == JSON else column.values.tolist()
            by_row.update(zip(rows, plain, strict=True))
        return list({int(label[row]): by_row[row] for row in sorted(by_row)}.values())


def _closing_order(
    steps: NDArray[np.int64], late: NDArray[np.bool_], is_open: NDArray[np.bool_]
) -> tuple[Index, Index | None]:
    """Return each row's label, equal for rows that are one, and the order in which rows close.

    The order is None where the rows already stand in it. Without late rows they do.
    """
    n = len(steps)
    label = np.arange(n)
    on_time = np.flatnonzero(~late)
    joins = np.zeros(len(on_time), dtype=np.bool_)
    here, before = on_time[1:], on_time[:-1]
    joins[1:] = (steps[here] == steps[before]) & is_open[before]
    start = np.maximum.accumulate(np.where(joins, 0, np.arange(len(on_time))))
    label[on_time] = on_time[start]
    if len(on_time) == n:
        return label, None
    # When each row counts, in half rows: with row i at 2i + 1; an open step just before the row
    # of a later step, at 2i; the step that is open at the end last of all.
    when = 2 * np.arange(n) + 1
    firsts = np.flatnonzero(~joins)
    lasts = np.append(firsts[1:] - 1, len(on_time) - 1)[: len(firsts)]
    end = on_time[lasts]
    follows = np.append(2 * on_time[firsts[1:]], 2 * n + 1)[: len(firsts)]
    closes = np.where(is_open[end], follows, 2 * end + 1)
    when[on_time] = closes[np.cumsum(~joins) - 1]
    return label, np.argsort(when, kind="stable")


def _by_path(table: Table) -> Iterable[tuple[str, list[Column]]]:
    found: dict[str, list[Column]] = {}
    for column in table.columns:
        if column.key not in (STEP, OPEN, _RUNTIME) and len(column.values):
            found.setdefault(column.key, []).append(column)
    return found.items()


def _merged_row(table: Table) -> dict[str, Any]:
    """Return the rows of one step as one: of each key the value logged last."""
    row: dict[str, Any] = {}
    for path, columns in _by_path(table):
        last = max(columns, key=lambda c: table.n if c.rows is None else int(c.rows[-1]))
        value = last.values[-1]
        row[path] = value if last.kind == JSON else value.item()
    return row
