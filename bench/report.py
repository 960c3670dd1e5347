"""The table: computed from a results file, from nothing else.

A row is one figure of one case against one rival: both medians, how many times as good asyncwb is
(the median over the rounds, with the least and the greatest), the target and whether it is met. A
target is met when the median meets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.case import LIMIT, OURS, Advantage, Case, Ceiling, Metric, Size, Target
from bench.results import Results
from bench.statistics import Spread, paired_advantage, spread

MET, MISSED, UNKNOWN = "yes", "NO", "not measured"
_HEADER = ("case", "figure", OURS, "rival", "its figure", f"{OURS} is", "target", "met")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table, as text."""

    case: str
    figure: str
    ours: str
    rival: str
    theirs: str
    comparison: str
    target: str
    met: str

    def cells(self) -> tuple[str, ...]:
        """Return the columns in the order of the header."""
        return (
            self.case, self.figure, self.ours, self.rival,
            self.theirs, self.comparison, self.target, self.met,
        )  # fmt: skip


def render(results: Results, cases: Sequence[Case]) -> str:
    """Return the report as Markdown: what it was taken on, the table, what failed."""
    parts = [preamble(results), table(results, cases), failures(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def preamble(results: Results) -> str:
    """Return the sentence that says on what and with what the figures were taken."""
    m, s = results.machine, results.settings
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    quick = " **Quick run: it shows that every case runs, and no speed.**" if s["quick"] else ""
    return (
        f"{results.created}: {m['cores']} cores of {m['cpu']}, {m['memory_gib']} GiB, "
        f"{m['system']}, Python {m['python']}; {s['repeat']} rounds, each measurement in a fresh "
        f"process, the rivals in turn; medians (least to greatest). {versions}.{quick}"
    )


def table(results: Results, cases: Sequence[Case]) -> str:
    """Return the Markdown table of every case that was run."""
    rows = [_HEADER, tuple("---" for _ in _HEADER)]
    rows += [
        line.cells() for case in cases for size in case.sizes for line in lines(results, case, size)
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def lines(results: Results, case: Case, size: Size) -> Iterator[Line]:
    """Yield the rows of one size: each figure against each rival, or alone where there is none."""
    tried = {m.rival for m in results.measurements if (m.case, m.size) == (case.name, size.label)}
    for metric in case.metrics:
        others = [rival for rival in size.rivals if rival in tried - {OURS}]
        ceiling = find_target(case, size, metric, None)
        if OURS in tried and (ceiling is not None or not others):
            yield line(results, case, size, metric, None, ceiling)
        for rival in others:
            yield line(results, case, size, metric, rival, find_target(case, size, metric, rival))


def line(
    results: Results, case: Case, size: Size, metric: Metric, rival: str | None,
    target: Target | None,
) -> Line:  # fmt: skip
    """Return one row."""
    ours = results.by_round(case.name, size.label, OURS, metric.key)
    theirs = results.by_round(case.name, size.label, rival, metric.key) if rival else {}
    ratio = compare(ours, theirs, metric)
    failed = {m.rival for m in results.failures() if (m.case, m.size) == (case.name, size.label)}
    return Line(
        f"{case.question}: {size.label}",
        metric.label,
        with_spread(list(ours.values()), metric.unit, failed=OURS in failed),
        rival or "",
        with_spread(list(theirs.values()), metric.unit, failed=rival in failed) if rival else "",
        in_words(ratio, rival) if ratio else "",
        target_in_words(target, metric) if target else "",
        verdict(target, judged(target, ours, theirs), ratio) if target else "",
    )


def compare(ours: dict[int, float], theirs: dict[int, float], metric: Metric) -> Spread | None:
    """Return the advantage over the rounds that both have, None where there are none."""
    rounds = [turn for turn in ours if turn in theirs]
    if not rounds:
        return None
    return paired_advantage(
        [ours[turn] for turn in rounds],
        [theirs[turn] for turn in rounds],
        lower_is_better=metric.lower_is_better,
    )


def find_target(case: Case, size: Size, metric: Metric, rival: str | None) -> Target | None:
    """Return the target for a figure against a rival, or (None) for the figure by itself."""
    for target in case.targets:
        over = target.over if isinstance(target, Advantage) else other_than_ours(target.of)
        if (target.size, target.metric, over) == (size.label, metric.key, rival):
            return target
    return None


def judged(target: Target, ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
    """Return the figures that a target is about by itself; a ratio has its own."""
    foreign = isinstance(target, Ceiling) and target.of != OURS
    return list((theirs if foreign else ours).values())


def other_than_ours(name: str) -> str | None:
    """Return the rival's name, None where it is asyncwb."""
    return None if name == OURS else name


def verdict(target: Target, figures: Sequence[float], ratio: Spread | None) -> str:
    """Say whether a target is met by the median."""
    if isinstance(target, Ceiling):
        met = bool(figures) and spread(figures).median <= target.at_most
        return UNKNOWN if not figures else MET if met else MISSED
    if ratio is None:
        return UNKNOWN
    return MET if ratio.median >= target.at_least else MISSED


def target_in_words(target: Target, metric: Metric) -> str:
    """Return a target as it stands in the table."""
    if isinstance(target, Ceiling):
        return f"at most {number(target.at_most)} {metric.unit}"
    if target.over == LIMIT:
        return f"{target.at_least:.0%} of {LIMIT}"
    return f"{number(target.at_least)} x"


def in_words(ratio: Spread, rival: str | None) -> str:
    """Return a ratio: a share of `limit`, times as good as anyone else."""
    if rival == LIMIT:
        return f"{ratio.median:.0%} of it ({ratio.low:.0%} to {ratio.high:.0%})"
    return f"{number(ratio.median)} x better ({number(ratio.low)} to {number(ratio.high)})"


def with_spread(values: Sequence[float], unit: str, *, failed: bool = False) -> str:
    """Return median, unit and, where there are several rounds, the spread."""
    if not values:
        return "failed" if failed else ""
    s = spread(values)
    around = f" ({number(s.low)} to {number(s.high)})" if len(values) > 1 else ""
    return f"{number(s.median)} {unit}{around}"


def number(value: float) -> str:
    """Return about three significant digits, with thousands separated."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def failures(results: Results) -> str:
    """Return what failed, one line each, or nothing."""
    return "\n".join(
        f"* failed: {m.case}, {m.size}, {m.rival}, round {m.round + 1}: "
        + (m.error or "no reason given").splitlines()[-1]
        for m in results.failures()
    )


def unmet(results: Results, cases: Sequence[Case]) -> int:
    """Return how many targets were measured and missed."""
    return sum(
        found.met == MISSED
        for case in cases
        for size in case.sizes
        for found in lines(results, case, size)
    )
