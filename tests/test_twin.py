"""The two faces are one: same names, same arguments, and what a type checker sees of each."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, assert_type

import pytest

from asyncwb.client.api import Api
from asyncwb.client.api_async import AsyncApi
from asyncwb.client.run import Run
from asyncwb.client.run_async import AsyncRun

ROOT = Path(__file__).resolve().parent.parent
FACES = [pytest.param(AsyncRun, Run, id="Run"), pytest.param(AsyncApi, Api, id="Api")]


def _public(face: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in vars(face).items() if not name.startswith("_")}


def _parameters(method: Any) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(method).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize(("async_face", "sync_face"), FACES)
def test_faces_have_the_same_methods_and_arguments(
    async_face: type[Any], sync_face: type[Any]
) -> None:
    ours, theirs = _public(async_face), _public(sync_face)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        if inspect.isfunction(method) and inspect.isfunction(theirs[name]):
            assert _parameters(method) == _parameters(theirs[name]), name


@pytest.mark.parametrize(("async_face", "sync_face"), FACES)
def test_only_the_async_face_has_coroutines(async_face: type[Any], sync_face: type[Any]) -> None:
    assert any(map(inspect.iscoroutinefunction, _public(async_face).values()))
    assert not any(map(inspect.iscoroutinefunction, _public(sync_face).values()))


def test_the_committed_files_are_what_the_generator_writes() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "unasync.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# The rest is for mypy alone: `assert_type` does nothing when it is called.


async def what_mypy_sees_of_the_async_face(run: AsyncRun) -> None:
    assert_type(await run.log({"loss": 0.5}), None)
    assert_type(run.log_nowait({"loss": 0.5}), bool)
    assert_type(await run.flush(), bool)
    async with run as entered:
        assert_type(entered, AsyncRun)


def what_mypy_sees_of_the_sync_face(run: Run) -> None:
    assert_type(run.log({"loss": 0.5}), None)
    assert_type(run.log_nowait({"loss": 0.5}), bool)
    assert_type(run.flush(), bool)
    with run as entered:
        assert_type(entered, Run)
