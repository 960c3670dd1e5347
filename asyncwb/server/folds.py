"""The folds of runs that are being written to, kept so that a busy run's is not read every time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from asyncwb.server.damage import sound
from asyncwb.server.store.records import RunPath, RunRecord
from asyncwb.wire.summary import Fold
from asyncwb.wire.values import loads

FOLD: Final = "what the run's summary is folded from"
_FOLDS: Final = 512


@dataclass(frozen=True, slots=True)
class Known:
    """A run as this process committed it last; `fold` is None where no row came with that."""

    record: RunRecord
    fold: Fold | None


class FoldCache:
    """The runs that were committed last, with their folds. Mutable state: `_runs`.

    One is taken out to be changed, and put back once that is committed; where it is not, it is
    simply not put back. It may be old, when another process changed the run since: whoever takes
    it compares its version with the row's before anything is written.
    """

    def __init__(self, size: int = _FOLDS) -> None:
        self._size = size
        self._runs: OrderedDict[RunPath, Known] = OrderedDict()

    def take(self, path: RunPath) -> Known | None:
        """Take out what is known of a run."""
        return self._runs.pop(path, None)

    def put(self, record: RunRecord, fold: Fold | None) -> None:
        """Keep what is committed of a run."""
        self._runs[record.path] = Known(record, fold)
        self._runs.move_to_end(record.path)
        while len(self._runs) > self._size:
            self._runs.popitem(last=False)


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
