"""The order of the measurements, and what a failed one leaves."""

from __future__ import annotations

from itertools import islice

import pytest

from bench import cases
from bench.case import Advantage, Case, Metric, Size
from bench.harness import Job, Options, plan, worker_command
from bench.results import anonymous
from bench.rivals import CLASSES
from bench.rivals.base import Rival


def nothing(rival: Rival, size: Size, seed: int) -> dict[str, float]:
    return {}


CASE = Case(
    name="case",
    question="?",
    run=nothing,
    sizes=(Size("small", ("asyncwb", "limit", "wandb")), Size("large", ("asyncwb", "wandb"))),
    quick=(Size("small", ("asyncwb", "limit")),),
    metrics=(Metric("x", "x", "s", lower_is_better=True),),
)


def order(options: Options) -> list[tuple[str, int, str]]:
    return [(job.size.label, job.round, job.rival) for job in plan(options)]


def test_rivals_take_turns_within_each_round() -> None:
    assert order(Options((CASE,), frozenset({"asyncwb", "wandb"}), repeat=2)) == [
        ("small", 0, "asyncwb"),
        ("small", 0, "wandb"),
        ("small", 1, "asyncwb"),
        ("small", 1, "wandb"),
        ("large", 0, "asyncwb"),
        ("large", 0, "wandb"),
        ("large", 1, "asyncwb"),
        ("large", 1, "wandb"),
    ]


def test_a_quick_run_asks_the_quick_sizes() -> None:
    found = order(Options((CASE,), repeat=1, quick=True))
    assert found == [("small", 0, "asyncwb"), ("small", 0, "limit")]


def test_each_round_has_its_own_seed_and_all_rivals_the_same(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    jobs = islice(plan(Options((CASE,), frozenset({"asyncwb", "limit"}), repeat=2)), 4)
    seeds = [seed_of(job, tmp_path_factory) for job in jobs]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def seed_of(job: Job, folders: pytest.TempPathFactory) -> str:
    command = worker_command(job, folders.mktemp("job"))
    return command[-1].partition('"seed": ')[2].partition(",")[0]


def test_an_error_says_what_and_not_where() -> None:
    message = 'File "/home/someone/project/bench/worker.py", line 3\nValueError: http://a/b/c'
    assert anonymous(message) == 'File "worker.py", line 3\nValueError: http://a/b/c'


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_cases_agree_with_themselves(case: Case) -> None:
    """Targets name sizes, figures and rivals that exist, and quick runs have the same sizes."""
    sizes = {size.label: size for size in case.sizes}
    assert [size.label for size in case.quick] == list(sizes)
    for target in case.targets:
        assert case.metric(target.metric)
        about = target.over if isinstance(target, Advantage) else target.of
        assert about in sizes[target.size].rivals
    assert all(rival in CLASSES for size in case.sizes for rival in size.rivals)
