"""Paths of projects, runs and sweeps as users write them: `entity/project/id` and its short forms.

Pure: what a path leaves out comes from the defaults that the caller passes in; an entity that
nobody names stays None, which is the API key's own user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from asyncwb.errors import ArgumentError

_RUN_FORMS: Final = "'entity/project/id', 'entity/project/runs/id', 'project/id' or 'id'"
_SWEEP_FORMS: Final = "'entity/project/id', 'entity/project/sweeps/id', 'project/id' or 'id'"
_PROJECT_FORMS: Final = "'entity/project' or 'project'"


@dataclass(frozen=True, slots=True)
class ProjectPath:
    """A project; `entity` None is the key's own user."""

    entity: str | None
    project: str

    def __str__(self) -> str:
        return "/".join(filter(None, (self.entity, self.project)))


@dataclass(frozen=True, slots=True)
class RunPath:
    """A run; `entity` None is the key's own user."""

    entity: str | None
    project: str
    run: str

    def __str__(self) -> str:
        return "/".join(filter(None, (self.entity, self.project, self.run)))


@dataclass(frozen=True, slots=True)
class SweepPath:
    """A sweep; `entity` None is the key's own user."""

    entity: str | None
    project: str
    sweep: str


def parse_run(text: str, entity: str | None, project: str, run: str | None) -> RunPath:
    """Read a run's path: `e/p/id`, `e/p/runs/id`, `p/id`, `id`, `e/p:id`; a "/" may lead.

    The rest of the arguments are what stands where the path says nothing.

    Raises:
        ValueError: it has another form, or names no run.

    >>> parse_run("/mnist/runs/abc", None, "other", None)
    RunPath(entity=None, project='mnist', run='abc')
    """
    parts = _parts(text, _RUN_FORMS)
    head, colon, tail = parts[-1].rpartition(":") if parts else ("", "", "")
    if colon and head and tail and len(parts) < 3:
        parts = [*parts[:-1], head, tail]
    elif len(parts) > 2 and parts[-2] == "runs":
        parts = [*parts[:-2], parts[-1]]
    if not parts and run is not None:
        parts = [run]
    if not 1 <= len(parts) <= 3:
        raise ArgumentError(f"{text!r} is not the path of a run: write {_RUN_FORMS}")
    *names, run = parts
    where = _fill(names, entity, project)
    return RunPath(where.entity, where.project, run)


def parse_sweep(text: str, entity: str | None, project: str) -> SweepPath:
    """Read a sweep's path: `e/p/id`, `e/p/sweeps/id`, `p/id`, `id`; a "/" may lead.

    The rest of the arguments are what stands where the path says nothing.

    Raises:
        ValueError: it has another form.
    """
    parts = _parts(text, _SWEEP_FORMS)
    if len(parts) > 2 and parts[-2] == "sweeps":
        parts = [*parts[:-2], parts[-1]]
    if not 1 <= len(parts) <= 3:
        raise ArgumentError(f"{text!r} is not the path of a sweep: write {_SWEEP_FORMS}")
    where = _fill(parts[:-1], entity, project)
    return SweepPath(where.entity, where.project, parts[-1])


def parse_project(text: str | None, entity: str | None, project: str) -> ProjectPath:
    """Read a project's path: `e/p` or `p`; nothing is the default project.

    Raises:
        ValueError: it has another form.
    """
    parts = _parts("" if text is None else text, _PROJECT_FORMS)
    if len(parts) > 2:
        raise ArgumentError(f"{text!r} is not the path of a project: write {_PROJECT_FORMS}")
    return _fill(parts, entity, project)


def parts_of(text: str) -> list[str]:
    """Cut a path of any kind into its parts; spaces and slashes around it do not count.

    Raises ValueError where one of them is empty, or it is no text.
    """
    return _parts(text, "the names of things with '/' between them")


def route(*parts: str) -> str:
    """Write names as the path of a URL, each as one segment."""
    return "/".join(quote(part, safe="") for part in parts)


def _fill(names: list[str], entity: str | None, project: str) -> ProjectPath:
    """Complete `[entity, project]`, of which the first or both may be missing."""
    return ProjectPath(names[0] if len(names) == 2 else entity, names[-1] if names else project)


def _parts(text: str, forms: str) -> list[str]:
    if not isinstance(text, str):
        raise ArgumentError(f"a path is a text, not {text!r}: write {forms}")
    stripped = text.strip().strip("/")
    parts = stripped.split("/") if stripped else []
    if "" in parts:
        raise ArgumentError(f"{text!r} has an empty part: write {forms}")
    if "." in parts or ".." in parts:  # they would climb in the URL that is made of them
        raise ArgumentError(f"{text!r} has a part of dots alone, which is no name: write {forms}")
    if not all(map(str.isprintable, parts)):
        raise ArgumentError(f"{text!r} has a character that no name has: write {forms}")
    return parts
