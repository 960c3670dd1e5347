"""What the query API says of projects and of the key's owner: plain records."""

from __future__ import annotations

from dataclasses import dataclass

from asyncwb.client.paths import route
from asyncwb.typing import JsonObject


@dataclass(frozen=True, slots=True)
class Project:
    """A project: how many runs it has, and its last sign of life (unix seconds)."""

    entity: str
    name: str
    url: str
    run_count: int
    running: int
    updated_at: float

    @classmethod
    def from_entry(cls, entry: JsonObject) -> Project:
        """Read an entry of the server's list; its key `server` is the server's address."""
        entity, name = entry["entity"], entry["name"]
        url = f"{entry['server']}/{route(entity, name)}"
        return cls(entity, name, url, entry["runs"], entry["running"], entry["updated_at"])

    @property
    def path(self) -> list[str]:
        """`[entity, project]`."""
        return [self.entity, self.name]


@dataclass(frozen=True, slots=True)
class User:
    """Who an API key belongs to; `entity` is who owns the runs that name no other owner."""

    username: str
    entity: str
    admin: bool
