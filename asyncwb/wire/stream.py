"""Whose rows these are: the name under which a writer's frames travel, and whether it lives."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Presence(Enum):
    """Where the writer is while its frames travel.

    HERE: its process sends them, and lives. GONE: its process has ended, and somebody who found
    the frames sends them; that they come says nothing of the run's life. DONE: likewise, and these
    are the last.
    """

    HERE = "here"
    GONE = "gone"
    DONE = "done"


class StreamHead(NamedTuple):
    """Whose frames these are. `entity` None is the entity of the key's own user."""

    entity: str | None
    project: str
    run: str
    writer: str
    presence: Presence = Presence.HERE
