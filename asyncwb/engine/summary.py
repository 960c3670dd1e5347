"""The run's summary on this side of the wire: folded from the journal, asked of nobody.

The engine folds each frame as it makes it. Whoever reads the summary folds the rows behind that
on the spot, from the journal: a read costs a few milliseconds at most, and never a round trip.
A run that is resumed begins with what the server had then; what is logged since stands over it.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncwb.engine.journal import Journal
    from asyncwb.wire.frames import Frame
    from asyncwb.wire.summary import Fold


class LocalSummary:
    """Folds one writer's rows, each once, whoever comes first.

    Mutable state, guarded by `_lock`: the fold, `_seq`, the next sequence number to fold, and
    `_before`, what is still there of the values of before, by path.
    """

    def __init__(self, journal: Journal | None, before: Mapping[str, Any] | None = None) -> None:
        self._journal = journal
        self._before = dict(before or {})
        self.resumed = bool(self._before)
        self._lock = threading.Lock()
        self._fold: Fold | None = None
        self._seq = 0

    def fold(self, frame: Frame) -> None:
        """Take a frame in, less what was folded before."""
        with self._lock:
            self._take(frame)

    def read(self) -> dict[str, Any]:
        """Return the summary with every row logged so far, by path."""
        # numpy comes with this module: a process that never reads its summary need not have it.
        pipeline = importlib.import_module("asyncwb.engine.pipeline")
        with self._lock:
            if self._journal is None:  # a forked child that has not logged
                return {}
            reader = pipeline.Reader(pipeline.LiveSegments(self._journal), self._seq)
            while (frame := reader.read()) is not None:
                self._take(frame)
            values = {} if self._fold is None else self._fold.values()
            return {**self._kept(values), **values} if self._before else values

    def _take(self, frame: Frame) -> None:
        end = frame.first_seq + frame.count
        if end <= self._seq:
            return
        if self._fold is None:
            self._fold = importlib.import_module("asyncwb.wire.summary").Fold()
        rest = frame.skip(max(0, self._seq - frame.first_seq))
        assert self._fold is not None
        self._fold.apply(rest.table, rest.events)
        self._seq = end
        for _, event in rest.events if self._before else ():
            if event["t"] == "summary":
                self._forget(event["delete"])

    def _forget(self, paths: list[str]) -> None:
        for path in paths:
            for name in [n for n in self._before if n == path or n.startswith(f"{path}.")]:
                del self._before[name]

    def _kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What stands beside the values of now: `loss.min` is of no use beside a new `loss`."""
        reduced = [f"{path}." for path, value in values.items() if isinstance(value, dict)]
        return {
            path: value
            for path, value in self._before.items()
            if not any(path.startswith(inside) for inside in reduced)
        }
