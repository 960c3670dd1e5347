"""How far a writer's data has come: written by the engine, read by the faces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_MARKS: Final = 4096


@dataclass(slots=True)
class Progress:
    """How far a writer's data has come; written by the engine, read by anyone.

    `next_seq`: the server has everything below it, as far as it has said; `reached_at` (monotonic
    seconds): everything logged before that. `rows`: how many rows that is; fewer, by the events
    between them, while a server that lost its data is sent it again, and by those events that are
    lost with it. `ready_seq`: everything below it is made into frames, which are kept in memory.
    `lost`: rows that were in the journal no more when those frames were made. `error`: the last
    thing that went wrong. `refused`: the server will not take this writer's data; it stays on disk.
    """

    next_seq: int = 0
    reached_at: float | None = None
    rows: int = 0
    ready_seq: int = 0
    lost: int = 0
    error: str | None = None
    refused: str | None = None
    connected: bool = False
    run_path: str | None = None
    base_url: str | None = None
    stop_requested: bool = False
    moved: list[Callable[[int], None]] = field(default_factory=list)
    """called on the engine's thread whenever `next_seq` grows, with its value."""
    fell: list[Callable[[], None]] = field(default_factory=list)
    """called on the engine's thread whenever the server is found to have lost data."""
    marks: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_MARKS))
    """(next sequence number, when it was that), ascending"""

    def mark(self, next_seq: int, now: float) -> None:
        """Note how far the inbox is now, to tell later since when all of that has arrived."""
        self.marks.append((next_seq, now))

    def reach(self, next_seq: int) -> None:
        """Everything below `next_seq` is acknowledged."""
        self.next_seq = next_seq
        while self.marks and self.marks[0][0] <= next_seq:
            self.reached_at = self.marks.popleft()[1]

    def fall_back(self, next_seq: int) -> None:
        """The server has lost what is behind `next_seq`; when that was logged is not known."""
        self.next_seq = next_seq
        self.reached_at = None
        for fell in self.fell:
            fell()
