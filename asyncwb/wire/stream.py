"""Whose rows these are: the name under which a writer's frames travel and are stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamHead:
    """Whose frames these are. `entity` None is the entity of the key's own user."""

    entity: str | None
    project: str
    run: str
    writer: str
