"""What a summary keeps of one metric, and how a batch of its values changes that.

A `Leaf` is updated by whole columns: numeric ones as numpy arrays, anything else as lists. Only
what the metric's rule asks for is tracked, from the moment it asks, so that a metric without a
rule costs one assignment a batch. NaN is skipped by min, max, mean and best (one NaN would
otherwise poison them for good) but is a last and a first value like any other; None is skipped by
all. Bools count as 0 and 1.

Which value is the last does not depend on when it came: each has a `Rank`, and the highest wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import BOOL, FLOAT, INT, JSON, Kind
from asyncwb.wire.summary.closing import Ends
from asyncwb.wire.summary.metrics import MetricRule

MISSING: Final[object] = object()
"""Stands where there is no value, since None can be one."""

Order: TypeAlias = tuple[float, str]
"""One of the writers of a run: when it started (unix), and its name."""
Rank: TypeAlias = tuple[int, float, str]
"""The place of a value among all of its path: its step, then its writer's `Order`.

Of two values of one rank, which one writer logged, the later one is the last.
"""

NEVER: Final[Rank] = (-(2**64), 0.0, "")
"""The rank of what has no value; compared by identity."""
_WIDTH: Final = {"j": 0, "b": 1, "i": 2, "f": 3}
_KINDS: Final[dict[str, Kind]] = {"j": JSON, "b": BOOL, "i": INT, "f": FLOAT}
_JSON_TYPES: Final = {str: "jstring", list: "jlist", type(None): "jnil"}
_MAX_TYPES: Final = 16
_LONGEST_TYPE: Final = 64


class Leaf:
    """The summary of one path.

    `last` is the plain value, MISSING before the first, and `rank` its place. `stats` holds what
    rules asked for: "min", "max", "sum" and "n" (of the mean), "first" and its rank "first_at".
    `explicit` is true once the user has set the value by hand, which switches the rule's ops off
    for good. `kind`, `count`, `types`, `first_step` and `last_step` describe the rows that hold the
    key, summarised yet or not. `types` counts them by kind, other JSON by "j" and what it was:
    "jstring", "jlist", "jmap", "jnil", or the `_type` of a dict ("jhistogram"); "j" alone where
    nobody knows.
    """

    __slots__ = (
        "count",
        "explicit",
        "first_step",
        "kind",
        "last",
        "last_step",
        "rank",
        "stats",
        "types",
    )

    def __init__(self) -> None:
        self.kind: Kind = JSON
        self.count = 0
        self.types: dict[str, int] = {}
        self.first_step = 0
        self.last_step = 0
        self.explicit = False
        self.last: object = MISSING
        self.rank = NEVER
        self.stats: JsonObject = {}

    def copy(self) -> Leaf:
        """Return a leaf to fold values into, in place of this one."""
        twin = Leaf()
        for name in Leaf.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.stats = dict(self.stats)
        return twin

    def put(self, value: object, rank: Rank) -> None:
        """Take in a last value, unless there is a later one."""
        if rank >= self.rank:
            self.last, self.rank = value, rank

    @property
    def told(self) -> bool:
        """Whether its value came from `Fold.begin_with`, and from nowhere else."""
        return not self.count and not self.explicit and self.rank is not NEVER

    def go_on(self, op: str, goal: str | None, told: Leaf) -> None:
        """Let one of the ops go on from a value that a summary told of it."""
        if op == "last":
            self.put(told.last, told.rank)
        elif op == "first":
            self._put_first(told.last, (-(2**64), 0.0, ""))
        elif op != "mean" and isinstance(told.last, (int, float)) and told.last == told.last:
            if op == "max" or (op == "best" and goal == "maximize"):
                self._keep_max(told.last)
            else:
                self._keep_min(told.last)

    def _put_first(self, value: object, rank: Rank) -> None:
        if "first" not in self.stats or rank < tuple(self.stats["first_at"]):
            self.stats |= {"first": value, "first_at": list(rank)}

    def saw(
        self, kind: Kind, count: int, low: int, high: int, values: Sequence[object] = ()
    ) -> None:
        """Count rows that hold the key, at steps from `low` to `high`; `values` of other JSON."""
        for name, n in _json_types(values).items() if kind == JSON else ((kind, count),):
            known = name in self.types or len(self.types) < _MAX_TYPES
            name = name if known else JSON
            self.types[name] = self.types.get(name, 0) + n
        if _WIDTH[kind] > _WIDTH[self.kind] or not self.count:
            self.kind = kind
        self.first_step = min(self.first_step, low) if self.count else low
        self.last_step = max(self.last_step, high) if self.count else high
        self.count += count

    def describe(self, types: str | Mapping[str, int], count: int, first: int, last: int) -> None:
        """Take over what is known of its rows; `types` is one, or how many there are of each."""
        self.count, self.first_step, self.last_step = count, first, last
        if count:
            self.types = {types: count} if isinstance(types, str) else dict(types)
            self.kind = kind_of(types)

    def fold_array(
        self, values: NDArray[Any], ends: Ends, order: Order, rule: MetricRule | None
    ) -> None:
        """Take in float64[n], int64[n] or bool[n] of one writer; n > 0."""
        self.put(values[ends.last].item(), (ends.high, *order))
        if rule is None or self.explicit:
            return
        tracked = rule.tracked
        if "first" in tracked:
            self._put_first(values[ends.first].item(), (ends.low, *order))
        if tracked and tracked != ("first",):
            numbers = _numbers(values)
            if len(numbers):
                self._track(tracked, numbers)

    def _track(self, tracked: tuple[str, ...], numbers: NDArray[Any]) -> None:
        if "min" in tracked:
            self._keep_min(numbers.min().item())
        if "max" in tracked:
            self._keep_max(numbers.max().item())
        if "mean" in tracked:
            self._add(float(numbers.sum(dtype="float64")), len(numbers))

    def fold_list(
        self, values: list[object], steps: list[int], order: Order, rule: MetricRule | None
    ) -> None:
        """Take in JSON values of one writer, in the order in which it logged them."""
        held = [at for at, value in enumerate(values) if value is not None]
        if not held:
            return
        last = max(reversed(held), key=steps.__getitem__)
        self.put(values[last], (steps[last], *order))
        tracked = () if rule is None or self.explicit else rule.tracked
        if "first" in tracked:
            first = min(held, key=steps.__getitem__)
            self._put_first(values[first], (steps[first], *order))
        numbers = [v for v in values if isinstance(v, (int, float)) and v == v] if tracked else []
        if not numbers:
            return
        if "min" in tracked:
            self._keep_min(_number(min(numbers)))
        if "max" in tracked:
            self._keep_max(_number(max(numbers)))
        if "mean" in tracked:
            self._add(float(sum(map(float, numbers))), len(numbers))

    def _keep_min(self, value: float) -> None:
        if "min" not in self.stats or value < self.stats["min"]:
            self.stats["min"] = value

    def _keep_max(self, value: float) -> None:
        if "max" not in self.stats or value > self.stats["max"]:
            self.stats["max"] = value

    def _add(self, total: float, count: int) -> None:
        self.stats["sum"] = self.stats.get("sum", 0.0) + total
        self.stats["n"] = self.stats.get("n", 0) + count

    def set(self, value: object, rank: Rank) -> None:
        """Set the value by hand; what has a later place stands, but for the ops."""
        self.put(value, rank)
        self.explicit = True
        self.stats = {}

    def replace(self, value: object, rank: Rank) -> None:
        """Set the value by hand, whatever is there."""
        self.rank = NEVER
        self.set(value, rank)

    def clear(self, rank: Rank | None) -> None:
        """Forget the value and what was tracked; the rule starts afresh with the next row.

        What has a later place than `rank` stands; None forgets whatever is there.
        """
        if rank is None or rank >= self.rank:
            self.last = MISSING
            self.rank = self.rank if rank is None else rank
        self.explicit = False
        self.stats = {}

    def value(self, rule: MetricRule | None) -> Any:
        """Return what the summary shows for the path, MISSING for nothing."""
        if rule is None or self.explicit:
            return self.last
        if rule.absent:
            return MISSING
        if not rule.shown:
            return self.last
        found = {op: self._op(op, rule.goal) for op in rule.shown}
        shown = {op: value for op, value in found.items() if value is not MISSING}
        return shown or MISSING

    def _op(self, op: str, goal: str | None) -> object:
        if op == "last":
            return self.last
        if op == "mean":
            return self.stats["sum"] / self.stats["n"] if "n" in self.stats else MISSING
        if op == "best":
            op = "max" if goal == "maximize" else "min"
        return self.stats.get(op, MISSING)

    @classmethod
    def from_state(cls, state: list[Any], orders: Sequence[Order]) -> Leaf:
        """Return a leaf as it was stored before version 3; `orders` are the writers by number."""
        leaf = cls()
        types, count, first, last_step, leaf.explicit, stats = state[:6]
        leaf.describe(types, count, first, last_step)
        leaf.stats = dict(stats)
        match state[6:]:
            case [step, place, *last]:
                leaf.rank = (step, *orders[place])
                leaf.last = last[0] if last else MISSING
            case [last]:  # as it was stored before values had a rank
                leaf.put(last, (leaf.last_step if leaf.count else -1, 0.0, ""))
        if "first" in stats:
            leaf.stats.setdefault("first_at", [leaf.first_step, 0.0, ""])
        return leaf


def kind_of(described: str | Mapping[str, int]) -> Kind:
    """Return the kind of a leaf of which `Leaf.describe` was told this."""
    return _KINDS[described[0]] if type(described) is str else _widest(described)


def _widest(types: Iterable[str]) -> Kind:
    return max((_KINDS[name[0]] for name in types), key=_WIDTH.__getitem__)


def _json_types(values: Sequence[object]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for kind, count in Counter(map(type, values)).items():
        if kind is dict:
            found.update(_dict_type(value) for value in values if type(value) is dict)
        else:
            found[_JSON_TYPES.get(kind, JSON)] += count
    return found


def _dict_type(value: Mapping[str, object]) -> str:
    name = value.get("_type")
    return JSON + (name[:_LONGEST_TYPE] if isinstance(name, str) else "map")


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.astype("int64")
    if values.dtype.kind != "f":
        return values
    real = values == values
    return values if real.all() else values[real]


def _number(value: float) -> float:
    return int(value) if isinstance(value, bool) else value
