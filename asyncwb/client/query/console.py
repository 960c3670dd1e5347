"""Lines that a run's program printed, as the server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from asyncwb.typing import JsonObject


@dataclass(frozen=True, slots=True)
class ConsoleLogLine:
    """A line of a run's console.

    `number` counts from 0; `timestamp` is in UTC, None where nobody noted it; `level` is "error"
    for what went to stderr, else ""; `label` names the process where several write to one run.
    """

    number: int
    timestamp: datetime | None
    level: str
    label: str
    content: str

    @classmethod
    def from_entry(cls, entry: JsonObject) -> ConsoleLogLine:
        """Read a line as the server sends it."""
        return cls(
            int(entry["number"]),
            _moment(entry.get("timestamp")),
            entry.get("level") or "",
            entry.get("label") or "",
            entry.get("line") or "",
        )


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    # Servers write UTC, and some leave that out.
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
