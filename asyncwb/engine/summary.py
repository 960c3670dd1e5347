"""The run's summary on this side of the wire: folded from the journal, asked of nobody.

The engine folds each frame as it makes it. Whoever reads the summary folds the rows behind that
on the spot, from the journal: a read costs a few milliseconds at most, and never a round trip.
A run that is resumed goes on from the fold that the server had then, by the same rule, so that the
min, max and best of both ends are those of the whole run.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncwb.typing import JsonObject

if TYPE_CHECKING:
    from asyncwb.engine.journal.journal import Journal
    from asyncwb.wire.rows.frames import Frame
    from asyncwb.wire.summary.fold import Fold


class LocalSummary:
    """Folds one writer's rows, each once, whoever comes first.

    Mutable state, guarded by `_lock`: the fold, and `_seq`, the next sequence number to fold.

    Args:
        journal: where the rows are; None for a forked child that has not logged.
        writer: the name under which the server folds them.
        before: what the server has of a run that is resumed: its "fold", or where it tells none
            its "summary" by path and its "last_step".
    """

    def __init__(
        self,
        journal: Journal | None,
        writer: str = "",
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._before = before
        self.resumed = bool(before)
        self._lock = threading.Lock()
        self._fold: Fold | None = None
        self._seq = 0

    def fold(self, frame: Frame) -> None:
        """Take a frame in, less what was folded before."""
        with self._lock:
            self._take(frame)

    def read(self) -> JsonObject:
        """Return the summary with every row logged so far, by path."""
        # numpy comes with this module: a process that never reads its summary need not have it.
        pipeline = importlib.import_module("asyncwb.engine.frames.pipeline")
        with self._lock:
            if self._journal is None:  # a forked child that has not logged
                return {}
            reader = pipeline.Reader(pipeline.LiveSegments(self._journal), self._seq)
            while (frame := reader.read()) is not None:
                self._take(frame)
            return self._begun().values()

    def _take(self, frame: Frame) -> None:
        end = frame.first_seq + frame.count
        if end <= self._seq:
            return
        rest = frame.skip(max(0, self._seq - frame.first_seq))
        self._begun().apply(rest.table, rest.events, self._writer)
        self._seq = end

    def _begun(self) -> Fold:
        if self._fold is None:
            wire = importlib.import_module("asyncwb.wire.summary.fold")
            before, self._before = self._before or {}, None
            state = before.get("fold") or {}
            if 0 < state.get("v", 0) <= wire.VERSION:
                self._fold = wire.Fold.from_state(state)
            else:
                self._fold = wire.Fold()
                self._fold.begin_with(before.get("summary") or {}, before.get("last_step"))
        return self._fold
