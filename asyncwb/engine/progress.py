"""How far a writer's data has come: written by the engine, read by the faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """How far a writer's data has come; written by the engine, read by anyone.

    `next_seq`: everything below it is acknowledged. `rows`: how many rows that is. `lost`: rows
    that were in the journal and could not be sent. `error`: the last thing that went wrong.
    `refused`: the server will not take this writer's data; it stays on disk.
    """

    next_seq: int = 0
    rows: int = 0
    lost: int = 0
    error: str | None = None
    refused: str | None = None
    connected: bool = False
    run_path: str | None = None
    base_url: str | None = None
    stop_requested: bool = False
    moved: list[Callable[[int], None]] = field(default_factory=list)
    """called on the engine's thread whenever `next_seq` grows, with its value."""
