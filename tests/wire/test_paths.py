from __future__ import annotations

import pytest

from asyncwb.wire.paths import (
    ProjectPath,
    RunPath,
    SweepPath,
    parse_project,
    parse_run,
    parse_sweep,
    route,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e/p/id", RunPath("e", "p", "id")),
        ("/e/p/id", RunPath("e", "p", "id")),
        ("e/p/runs/id", RunPath("e", "p", "id")),
        ("e/runs/runs/id", RunPath("e", "runs", "id")),
        ("p/runs/id", RunPath("E", "p", "id")),
        ("p/id", RunPath("E", "p", "id")),
        ("e/p:id", RunPath("e", "p", "id")),
        ("p:id", RunPath("E", "p", "id")),
        ("id", RunPath("E", "P", "id")),
        ("", RunPath("E", "P", "R")),
    ],
)
def test_every_form_of_a_run_path(text: str, expected: RunPath) -> None:
    assert parse_run(text, "E", "P", "R") == expected


@pytest.mark.parametrize(
    "text", ["e/p/sweeps/id", "a/b/c/d/e", "e//id", "e/../id", ".", "", "e/a\0b/id"]
)
def test_what_is_no_run_path_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="entity/project/id"):
        parse_run(text, None, "P", None)


def test_projects_and_what_stays_open() -> None:
    assert parse_project("e/p", None, "P") == ProjectPath("e", "p")
    assert parse_project("p", "E", "P") == ProjectPath("E", "p")
    assert parse_project(None, None, "P") == ProjectPath(None, "P")
    assert str(parse_run("id", None, "P", None)) == "P/id"
    with pytest.raises(ValueError, match="entity/project"):
        parse_project("a/b/c", None, "P")


def test_a_name_is_one_segment_of_a_url() -> None:
    assert route("e", "a b/c", "50%?") == "e/a%20b%2Fc/50%25%3F"


@pytest.mark.parametrize("text", ["s", "P/s", "E/P/s", "E/P/sweeps/s", "/P/sweeps/s", " E/P/s/ "])
def test_the_short_forms_of_a_sweep(text: str) -> None:
    assert parse_sweep(text, "E", "P") == SweepPath("E", "P", "s")


@pytest.mark.parametrize("text", ["", "/", "e/p/runs/s", "a/b/c/d/e", "e//s", "e/../s"])
def test_what_is_no_path_of_a_sweep(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_sweep(text, None, "P")
