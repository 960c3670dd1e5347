"""The folds of runs: read, kept while rows come, brought to a summary that somebody sets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from asyncwb.server.damage import sound
from asyncwb.server.store.records import RunPath, RunRecord
from asyncwb.wire import keys
from asyncwb.wire.changes import same
from asyncwb.wire.summary import Fold
from asyncwb.wire.values import loads

FOLD: Final = "what the run's summary is folded from"
_COMPUTED: Final = frozenset(("_step", "_timestamp", "_runtime", "_open"))
_RUNS: Final = 512
_WEIGHT: Final = 32 * 2**20
"""characters, each of which takes some ten bytes of memory: eight runs of 60,000 metrics"""


@dataclass(frozen=True, slots=True)
class Known:
    """A run as this process committed it last; `fold` is None where no row came with that."""

    record: RunRecord
    fold: Fold | None


class FoldCache:
    """The runs that were committed last, with their folds: as many as there is room for.

    One is taken out to be changed, and put back once that is committed; where it is not, it is
    simply not put back. It may be old, when another process changed the run since: whoever takes
    it compares its version with the row's before anything is written.

    Args:
        runs: how many are kept.
        weight: how much they may weigh together (`weight`); the last one is always kept.

    Mutable state: `_runs`, and what they weigh together.
    """

    def __init__(self, runs: int = _RUNS, weight: int = _WEIGHT) -> None:
        self._most, self._heaviest = runs, weight
        self._runs: OrderedDict[RunPath, Known] = OrderedDict()
        self._weight = 0

    def take(self, path: RunPath) -> Known | None:
        """Take out what is known of a run."""
        known = self._runs.pop(path, None)
        if known is not None:
            self._weight -= weight(known.fold)
        return known

    def put(self, record: RunRecord, fold: Fold | None) -> None:
        """Keep what is committed of a run."""
        self.take(record.path)
        self._runs[record.path] = Known(record, fold)
        self._weight += weight(fold)
        while len(self._runs) > 1 and (
            len(self._runs) > self._most or self._weight > self._heaviest
        ):
            self.take(next(iter(self._runs)))


def read_fold(text: str) -> Fold:
    """Return the fold of a run from what its row says.

    Raises:
        DamagedError: that is not what was written.
    """
    state = loads(sound(text, FOLD).encode())
    return Fold.from_state(state) if state else Fold()


def weight(fold: Fold | None) -> int:
    """Return about how many characters a fold is written in."""
    return 0 if fold is None else 64 * fold.width


def summary_event(fold: Fold, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event after which the fold's summary is `summary`.

    What is there already, the values that `define_metric` computes included, is left as it is;
    `_step`, `_timestamp` and `_runtime` follow from the rows and cannot be set.

    Raises:
        LogTypeError: the summary is nested too deep.
    """
    wanted = {p: value for p, value in keys.flatten(summary).items() if p not in _COMPUTED}
    shown = {p: value for p, value in fold.values().items() if p not in _COMPUTED}
    new: dict[str, Any] = {}
    # A path of the fold under which the summary has several values (the ops of `define_metric`)
    # takes them as one: as single values they would stand beside those of the next row.
    for path, value in shown.items():
        node = _at(summary, path)
        if node:
            for leaf in keys.flatten(node, path):
                wanted.pop(leaf, None)
            if not same(node, value):
                new[path] = node
    deleted = [p for p in shown if p not in wanted and not _at(summary, p)]
    gone = set(deleted)
    new |= {
        path: value
        for path, value in wanted.items()
        # What is deleted takes along what stands below it.
        if path not in shown or not same(shown[path], value) or not gone.isdisjoint(_above(path))
    }
    return {"t": "summary", "set": new, "delete": deleted}


def _at(summary: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """Return the level of keys that stands at a path; None for a value, or nothing."""
    node: Any = summary
    for key in keys.split(path):
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node if isinstance(node, Mapping) and not keys.is_leaf_mapping(node) else None


def _above(path: str) -> list[str]:
    return [path[:at] for at, char in enumerate(path) if char == "."]
