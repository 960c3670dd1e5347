"""Names: what an address or a path can hold, and nothing that either would read otherwise."""

from __future__ import annotations

import pytest

from asyncwb.wire import names
from asyncwb.wire.names import Kind

KINDS: tuple[Kind, ...] = ("run", "project", "entity")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["a", "my run", "..a", "ü-ö_1.2", "日本", "x" * 128, "(a)=b+c,d"[:7]]
)
def test_a_name_that_can_be_one_segment(kind: Kind, name: str) -> None:
    assert names.fits(kind, name)
    assert names.problem(kind, name) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", " a", "a ", "x" * 129),
        *(f"a{char}b" for char in "/\\#?%:\0\n\x7f\u200b\ud800"),
    ],
    ids=ascii,
)
def test_what_is_no_name_is_told_the_rule(kind: Kind, name: str) -> None:
    problem = names.problem(kind, name)
    assert problem is not None
    assert names.rule(kind) in problem
    assert problem.isprintable()
    assert len(problem) < 400


def test_a_runs_id_lacks_three_characters_more() -> None:
    for char in ";,'":
        assert [names.fits(kind, f"a{char}b") for kind in KINDS] == [False, True, True]


def test_the_first_bad_name_of_a_path_is_told() -> None:
    assert names.problem_of("e", "p", "r") is None
    assert "a run's id" in str(names.problem_of("e", "p", ".."))
    assert "a project" in str(names.problem_of("e", "a#b", ".."))
