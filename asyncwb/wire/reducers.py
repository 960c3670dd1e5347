"""What a summary keeps of one metric, and how a batch of its values changes that.

A `Leaf` is updated by whole columns: numeric ones as numpy arrays, anything else as lists. Only
what the metric's rule asks for is tracked, from the moment it asks, so that a metric without a
rule costs one assignment a batch. NaN is skipped by min, max, mean and best (one NaN would
otherwise poison them for good) but is a last and a first value like any other; None is skipped by
all. Bools count as 0 and 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from asyncwb.wire.columns import BOOL, FLOAT, INT, JSON, Kind
from asyncwb.wire.metrics import MetricRule

MISSING: Final[Any] = object()
"""Stands where there is no value, since None can be one."""

_RANK: Final = {"j": 0, "b": 1, "i": 2, "f": 3}
_KINDS: Final[dict[str, Kind]] = {"j": JSON, "b": BOOL, "i": INT, "f": FLOAT}
_JSON_TYPES: Final = {str: "jstring", list: "jlist", type(None): "jnil"}
_MAX_TYPES: Final = 16
_LONGEST_TYPE: Final = 64


class Leaf:
    """The summary of one path.

    `last` is the plain value, MISSING before the first. `stats` holds what rules asked for: "min",
    "max", "sum" and "n" (of the mean), "first". `explicit` is true once the user has set the value
    by hand, which switches the rule's ops off for good. `kind`, `count`, `types`, `first_step` and
    `last_step` describe the rows that hold the key, summarised yet or not. `types` counts them by
    kind, other JSON by "j" and what it was: "jstring", "jlist", "jmap", "jnil", or the `_type` of
    a dict ("jhistogram"); "j" alone where nobody knows.
    """

    __slots__ = ("count", "explicit", "first_step", "kind", "last", "last_step", "stats", "types")

    def __init__(self) -> None:
        self.kind: Kind = JSON
        self.count = 0
        self.types: dict[str, int] = {}
        self.first_step = 0
        self.last_step = 0
        self.explicit = False
        self.last: Any = MISSING
        self.stats: dict[str, Any] = {}

    def saw(self, kind: Kind, count: int, low: int, high: int, values: Sequence[Any] = ()) -> None:
        """Count rows that hold the key, at steps from `low` to `high`; `values` of other JSON."""
        for name, n in _json_types(values).items() if kind == JSON else ((kind, count),):
            known = name in self.types or len(self.types) < _MAX_TYPES
            name = name if known else JSON
            self.types[name] = self.types.get(name, 0) + n
        if _RANK[kind] > _RANK[self.kind] or not self.count:
            self.kind = kind
        self.first_step = min(self.first_step, low) if self.count else low
        self.last_step = max(self.last_step, high) if self.count else high
        self.count += count

    def fold_array(self, values: NDArray[Any], rule: MetricRule | None) -> None:
        """Take in float64[n], int64[n] or bool[n] in the order of the rows; n > 0."""
        self.last = values[-1].item()
        if rule is None or self.explicit:
            return
        tracked = rule.tracked
        if "first" in tracked:
            self.stats.setdefault("first", values[0].item())
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

    def fold_list(self, values: list[Any], rule: MetricRule | None) -> None:
        """Take in JSON values in the order of the rows."""
        last = next((value for value in reversed(values) if value is not None), MISSING)
        if last is MISSING:
            return
        self.last = last
        tracked = () if rule is None or self.explicit else rule.tracked
        if "first" in tracked:
            first = next(value for value in values if value is not None)
            self.stats.setdefault("first", first)
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

    def set(self, value: Any) -> None:
        """Set the value by hand."""
        self.last = value
        self.explicit = True
        self.stats = {}

    def clear(self) -> None:
        """Forget the value and what was tracked; the rule starts afresh with the next row."""
        self.last = MISSING
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

    def _op(self, op: str, goal: str | None) -> Any:
        if op == "last":
            return self.last
        if op == "mean":
            return self.stats["sum"] / self.stats["n"] if "n" in self.stats else MISSING
        if op == "best":
            op = "max" if goal == "maximize" else "min"
        return self.stats.get(op, MISSING)

    def state(self) -> list[Any]:
        """Return the leaf as JSON."""
        last = [] if self.last is MISSING else [self.last]
        plain = self.types.keys() <= {self.kind}
        kind = self.kind if plain else dict(self.types)
        info = [kind, self.count, self.first_step, self.last_step]
        return [*info, self.explicit, dict(self.stats), *last]

    @classmethod
    def from_state(cls, state: list[Any]) -> Leaf:
        """Return the leaf that `state()` described."""
        leaf = cls()
        kind, leaf.count, leaf.first_step, leaf.last_step, leaf.explicit, stats = state[:6]
        if leaf.count:
            leaf.types = dict(kind) if isinstance(kind, dict) else {kind: leaf.count}
            leaf.kind = max((_KINDS[name[0]] for name in leaf.types), key=_RANK.__getitem__)
        leaf.stats = dict(stats)
        leaf.last = state[6] if len(state) > 6 else MISSING
        return leaf


def _json_types(values: Sequence[Any]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for kind, count in Counter(map(type, values)).items():
        if kind is dict:
            found.update(_dict_type(value) for value in values if type(value) is dict)
        else:
            found[_JSON_TYPES.get(kind, JSON)] += count
    return found


def _dict_type(value: Mapping[str, Any]) -> str:
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
