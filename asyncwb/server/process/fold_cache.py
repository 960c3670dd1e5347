"""The folds of runs that are being written to, kept so that a busy run's is not read every time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from asyncwb.server.store.records import RunKey, RunRecord
from asyncwb.wire.summary.fold import Fold

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
        self._runs: OrderedDict[RunKey, Known] = OrderedDict()
        self._weight = 0

    def take(self, path: RunKey) -> Known | None:
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


def weight(fold: Fold | None) -> int:
    """Return about how many characters a fold is written in."""
    return 0 if fold is None else 64 * fold.width
