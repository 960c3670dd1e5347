"""The table is computed from the figures alone, and its verdicts from the medians."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, results
from bench.case import LIMIT, OURS, Advantage, Case, Ceiling, Metric, Size
from bench.results import Measurement, Results
from bench.rivals.base import Rival


def nothing(rival: Rival, size: Size, seed: int) -> dict[str, float]:
    return {}


CASE = Case(
    name="acked",
    question="end to end",
    run=nothing,
    sizes=(Size("10 floats", (OURS, LIMIT, "wandb")),),
    quick=(),
    metrics=(
        Metric("rows_per_s", "rows", "/s", lower_is_better=False),
        Metric("late_ms", "lateness", "ms", lower_is_better=True),
    ),
    targets=(
        Advantage("10 floats", "rows_per_s", LIMIT, 0.6),
        Advantage("10 floats", "rows_per_s", "wandb", 30),
        Ceiling("10 floats", "late_ms", 1.0),
    ),
)


def measured(rival: str, rates: list[float], late: list[float] | None = None) -> list[Measurement]:
    return [
        Measurement(
            "acked",
            "10 floats",
            rival,
            turn,
            {"rows_per_s": rate, **({"late_ms": late[turn]} if late else {})},
        )
        for turn, rate in enumerate(rates)
    ]


def run_of(*measurements: list[Measurement]) -> Results:
    machine = {"cores": 2, "cpu": "X", "memory_gib": 4, "system": "Linux", "python": "3.11"}
    settings = {"repeat": 3, "quick": False}
    flat = tuple(m for some in measurements for m in some)
    return Results("2026-01-01T00:00:00+00:00", settings, machine, {OURS: "1"}, flat)


def verdicts(found: Results) -> dict[tuple[str, str], tuple[str, str]]:
    lines = report.lines(found, CASE, CASE.sizes[0])
    return {(line.figure, line.rival): (line.comparison, line.met) for line in lines}


def test_verdicts_follow_the_median_of_the_paired_ratios() -> None:
    found = run_of(
        measured(OURS, [300.0, 330.0, 150.0], [0.5, 2.0, 0.9]),
        measured(LIMIT, [500.0, 500.0, 500.0]),
        measured("wandb", [10.0, 12.0, 10.0]),
    )
    assert verdicts(found) == {
        ("rows", LIMIT): ("60% of it (30% to 66%)", "yes"),
        ("rows", "wandb"): ("27.5 x better (15 to 30)", "NO"),
        ("lateness", ""): ("", "yes"),
    } | {("lateness", rival): ("", "") for rival in (LIMIT, "wandb")}
    assert report.unmet(found, [CASE]) == 1


def test_a_failed_round_leaves_the_others_paired() -> None:
    failed = Measurement("acked", "10 floats", "wandb", 0, error="deep inside\nit broke")
    found = run_of(
        measured(OURS, [999.0, 300.0, 300.0], [3.0, 3.0, 3.0]),
        [failed, *measured("wandb", [1.0, 10.0, 10.0])[1:]],
    )
    assert verdicts(found)["rows", "wandb"] == ("30 x better (30 to 30)", "yes")
    assert ("rows", LIMIT) not in verdicts(found)  # nobody asked it
    assert verdicts(found)["lateness", ""] == ("", "NO")
    assert "failed: acked, 10 floats, wandb, round 1: it broke" in report.render(found, [CASE])


def test_a_target_without_figures_is_not_met() -> None:
    failed = Measurement("acked", "10 floats", OURS, 0, error="it broke")
    found = run_of([failed], measured(LIMIT, [500.0]))
    assert verdicts(found)["rows", LIMIT] == ("", "not measured")
    assert verdicts(found)["lateness", ""] == ("", "not measured")


def test_results_survive_the_file(tmp_path: Path) -> None:
    found = run_of(measured(OURS, [1.0], [1.0]))
    path = tmp_path / "some" / "results.json"
    results.save(found, path)
    assert results.load(path) == found
    path.write_text('{"format": 0}')
    with pytest.raises(ValueError, match="no results"):
        results.load(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(474_009.3, "474,009"), (60, "60"), (27.54, "27.5"), (0.924, "0.92"), (100, "100"), (0, "0")],
)
def test_numbers_have_about_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text
