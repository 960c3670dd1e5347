"""Which names there can be, and how long texts may be: one rule, for every door that takes them.

A run's id, a project and an entity are segments of the addresses of the server and of its page,
and parts of the paths that people write (`entity/project/run`). What an address or a path would
read as something else is no name. A run's id lacks three characters more, as with W&B.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["run", "project", "entity"]

MAX_NAME: Final = 128
"""characters of an entity, a project or a run's id"""
MAX_FILE_NAME: Final = 1_024
"""bytes of a file's name, in UTF-8"""
MAX_TAG: Final = 64
MAX_TAGS: Final = 1_000
MAX_TEXT: Final = {
    "name": 1_024,
    "group": 1_024,
    "job_type": 1_024,
    "notes": 100_000,
    "description": 100_000,
    "commit": 10_000,
    "repo": 10_000,
    "host": 10_000,
    "program": 10_000,
}
"""characters that the texts of a run have at most, by the name of the setting or field"""

_RESERVED: Final = "/\\#?%:"
_REFUSED: Final[dict[Kind, str]] = {
    "entity": _RESERVED,
    "project": _RESERVED,
    "run": _RESERVED + ";,'",
}
_WHAT: Final[dict[Kind, str]] = {
    "entity": "an entity",
    "project": "a project",
    "run": "a run's id",
}
_SHOWN: Final = 100


def rule(kind: Kind) -> str:
    """Say in words what a name of this kind has."""
    refused = " ".join(_REFUSED[kind])
    return (
        f"1 to {MAX_NAME} printable characters without {refused} and surrounding spaces, "
        "and not '.' or '..'"
    )


def fits(kind: Kind, name: object) -> bool:
    """Tell whether a run, a project or an entity can have this name.

    >>> fits("run", "my run"), fits("run", "a/b"), fits("project", "..")
    (True, False, False)
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME
        and name not in (".", "..")
        and name == name.strip()
        and name.isprintable()  # no control characters, no lone surrogates
        and set(name).isdisjoint(_REFUSED[kind])
    )


def problem(kind: Kind, name: str) -> str | None:
    """Return what is wrong with a name, a sentence without its full stop; None for a good one."""
    if fits(kind, name):
        return None
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    return f"{shown!r} cannot be {_WHAT[kind]}, which has {rule(kind)}"


def problem_of(entity: str, project: str, run: str) -> str | None:
    """Return what is wrong with the first bad name of a run's path; None where all are good."""
    return problem("entity", entity) or problem("project", project) or problem("run", run)


def file_problem(name: object) -> str | None:
    """Tell why a name cannot be a file's, None where it can.

    Names are shown to clients, which make paths below a folder of theirs: so none may lead out
    of it.
    """
    if not isinstance(name, str) or not name:
        return "a file's name is a text of at least one character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "a file's name must be text that UTF-8 can express"
    if size > MAX_FILE_NAME:
        return f"a file's name has at most {MAX_FILE_NAME} bytes, and this one {size}"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "a file's name has no control characters"
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        return "a file's name is relative and does not lead upwards"
    if name.replace("\\", "/").rpartition("/")[2] in ("", "."):
        return "a file's name ends in a name, not in a folder"
    return None
