"""A clock that jumps: a day forward, a day back, while it is being read.

Only the standard library is imported here: a program under test puts the clock in place before
it imports asyncwb.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

DAY = 86_400.0


class JumpingClock:
    """Unix seconds that now and then jump by a day; where to is the seed's choice.

    Args:
        seed: of the jumps.
        every: reads between two jumps, on average.
        real: the clock below.
    """

    def __init__(self, seed: int, every: int, real: Callable[[], float] = time.time) -> None:
        self._random = random.Random(seed)
        self._every = every
        self._real = real
        self._offset = 0.0
        self.jumps = 0

    def __call__(self) -> float:
        """Read the clock."""
        if self._random.random() * self._every < 1.0:
            self._offset = self._random.choice([-DAY, 0.0, DAY])
            self.jumps += 1
        return self._real() + self._offset
