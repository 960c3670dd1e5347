"""A benchmark run as a file: every figure of every round, and what it was taken on and with.

The file is the only thing that the report reads, so a table can be made again from it years later.
It names no machine and no path: messages of failures are shortened to say what, not where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"

_PATH = re.compile(r"(?<![\w.:/])(?:/[\w.@+-]+)+/")
_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class Measurement:
    """One process's answer: figures, or the reason why there are none."""

    case: str
    size: str
    rival: str
    round: int
    figures: Mapping[str, float | list[float]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """Everything one `python -m bench run` found; `created` is UTC in ISO 8601."""

    created: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    measurements: tuple[Measurement, ...]

    def by_round(self, case: str, size: str, rival: str, metric: str) -> dict[int, float]:
        """Return round -> figure for the rounds that succeeded."""
        found = {}
        for m in sorted(self.measurements, key=lambda m: m.round):
            value = m.figures.get(metric)
            if (m.case, m.size, m.rival) == (case, size, rival) and isinstance(value, (int, float)):
                found[m.round] = float(value)
        return found

    def failures(self) -> Iterable[Measurement]:
        """Return the measurements without figures."""
        return (m for m in self.measurements if m.error is not None)


def save(results: Results, path: Path) -> None:
    """Write the results as JSON, readable by people too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"format": FORMAT, **asdict(results)}
    path.write_text(json.dumps(document, indent=1) + "\n")


def load(path: Path) -> Results:
    """Read results that `save` wrote; ValueError for a file of another format."""
    document = json.loads(path.read_text())
    if document.pop("format", None) != FORMAT:
        raise ValueError(f"{path} holds no results that this version can read")
    measurements = tuple(Measurement(**m) for m in document.pop("measurements"))
    return Results(measurements=measurements, **document)


def anonymous(message: str) -> str:
    """Return the end of an error message with every absolute path cut down to its last part."""
    return _PATH.sub("", message.strip())[-_LONGEST_ERROR:]
