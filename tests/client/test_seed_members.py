"""The table of W&B's members under test: what it says is here is here, and its tests exist."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asyncwb.apis.public import Api, AsyncApi, AsyncRun, Run

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent.parent / "docs" / "reference" / "seed-members.md"
ROW = re.compile(r"^\| `([^`]+)` \| (here|with \w+) \| (?:`([^`]+)`)? ?\|$")
OF_SERVER = {"created_at", "heartbeat_at", "read_only", "sweep_name"}
"""fields that every run of a server has, and no class"""
FACES = {"Api": (Api, AsyncApi), "Run": (Run, AsyncRun)}


class Member(NamedTuple):
    owner: str
    signature: str
    here: bool
    test: str

    @property
    def name(self) -> str:
        return self.signature.partition("(")[0]


def members() -> list[Member]:
    found, owner = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            owner = line[3:]
        elif row := ROW.match(line):
            found.append(Member(owner, row[1], row[2] == "here", row[3] or ""))
    return found


ALL = [pytest.param(member, id=f"{member.owner}.{member.name}") for member in members()]


def documented(signature: str) -> list[tuple[str, Any, Any]]:
    """Read the parameters of a signature: (name, kind, default)."""
    (function,) = ast.parse(f"def {signature}: ...").body
    assert isinstance(function, ast.FunctionDef)
    spec, empty = function.args, inspect.Parameter.empty
    before = [empty] * (len(spec.args) - len(spec.defaults))
    defaults = [*before, *map(ast.literal_eval, spec.defaults)]
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = inspect.Parameter.KEYWORD_ONLY
    return [
        *((arg.arg, plain, value) for arg, value in zip(spec.args, defaults, strict=True)),
        *(
            (arg.arg, named, empty if value is None else ast.literal_eval(value))
            for arg, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
        ),
    ]


def test_the_table_has_every_kind_of_member() -> None:
    assert len([m for m in members() if m.owner == "Api"]) >= 41
    assert len([m for m in members() if m.owner == "Run"]) >= 44


@pytest.mark.parametrize("member", ALL)
def test_a_member_is_as_the_table_says(member: Member) -> None:
    for face in FACES[member.owner]:
        if not member.here:
            assert not hasattr(face, member.name)
        elif member.name == member.owner:
            check(member, inspect.signature(face))
        elif "(" in member.signature:
            check(member, inspect.signature(getattr(face, member.name)))
        else:
            assert hasattr(face, member.name) or member.name in OF_SERVER


def check(member: Member, signature: inspect.Signature) -> None:
    ours = [p for p in signature.parameters.values() if p.name != "self"]
    theirs = documented(member.signature)
    assert [(p.name, p.kind, p.default) for p in ours][: len(theirs)] == theirs
    assert all(p.default is not p.empty for p in ours[len(theirs) :])


@pytest.mark.parametrize("member", ALL)
def test_its_test_exists(member: Member) -> None:
    assert bool(member.test) == member.here
    if member.here:
        file, _, name = member.test.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, functions)}
