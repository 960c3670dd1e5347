"""For how long clients are asked to let rows gather, so that a crowd of them is no load.

What a request of a run costs hardly depends on how many rows it brings. Where a thousand runs send
a few rows four times a second, most of that is for nothing: asked to gather for a second, they cost
a quarter. Nobody who has much to send waits (`engine.uplink`), nor who flushes or ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MOST: Final = 1.0
"""seconds that are asked for at most: for so long a page is behind, beside its own pauses"""
_LEAST: Final = 0.25
"""what clients do by themselves"""
_PERIOD: Final = 1.0
_BUSY: Final = 0.35
"""cores that the process may use, above which clients are asked for more, up to twice as much"""
_FREE: Final = 0.15
"""cores below which they are asked for less; half as much costs twice as much, at most"""


class Pace:
    """What to ask for, by how much of the machine this process takes.

    Args:
        clock: seconds.
        used: seconds of CPU that the process has used, all its threads together.

    Mutable state: what is asked for, and when it was decided, with the CPU used until then.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._used = clock, used
        self._gather = 0.0
        self._at, self._until_then = clock(), used()

    def gather(self) -> float:
        """Return the seconds for which rows are to gather; 0.0: as the client likes."""
        now = self._clock()
        if (passed := now - self._at) >= _PERIOD:
            used = self._used()
            self._decide((used - self._until_then) / passed)
            self._at, self._until_then = now, used
        return self._gather

    def _decide(self, cores: float) -> None:
        if cores > _BUSY:
            more = min(2.0, cores / _BUSY)
            self._gather = min(MOST, max(_LEAST, self._gather) * more)
        elif cores < _FREE:
            self._gather = self._gather / 2 if self._gather > _LEAST else 0.0
