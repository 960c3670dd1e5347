"""What a case is: a function of (rival, size, seed), its figures and what they must reach.

Nothing here measures anything. A `Target` is a sentence about figures (`60 x faster than wandb`),
kept beside the case that produces them, so that the report needs no knowledge of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.rivals.base import Rival

OURS = "asyncwb"
LIMIT = "limit"

Figures = Mapping[str, float | list[float]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much one measurement does.

    `rows` and `seconds` bound it together: a rival that is slow stops after `seconds` and is judged
    by what it managed. `runs` is the number of runs open at once.
    """

    label: str
    rivals: tuple[str, ...]
    metrics: int = 10
    rows: int = 0
    seconds: float = 0.0
    runs: int = 1
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a case as the report shows it; `unit` is written behind the number."""

    key: str
    label: str
    unit: str
    lower_is_better: bool


@dataclass(frozen=True, slots=True)
class Advantage:
    """asyncwb is at least `at_least` times as good as `over` (0.6 of a limit is 60 %)."""

    size: str
    metric: str
    over: str
    at_least: float


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A figure is at most `at_most`, in the metric's own unit; asyncwb's unless `of` another."""

    size: str
    metric: str
    at_most: float
    of: str = OURS


Target = Advantage | Ceiling


@dataclass(frozen=True, slots=True)
class Case:
    """One question to the rivals; `quick` asks it in little, to see that everything runs."""

    name: str
    question: str
    run: Callable[[Rival, Size, int], Figures]
    sizes: tuple[Size, ...]
    quick: tuple[Size, ...]
    metrics: tuple[Metric, ...]
    targets: tuple[Target, ...] = ()
    timeout: float = 180.0

    def sizes_for(self, quick: bool) -> tuple[Size, ...]:
        """Return the sizes of a quick or of a full run; both use the same labels."""
        return self.quick if quick else self.sizes

    def metric(self, key: str) -> Metric:
        """Return the metric called `key`; KeyError where the case has none of that name."""
        for metric in self.metrics:
            if metric.key == key:
                return metric
        raise KeyError(key)
