"""The two faces are one: same names, same arguments, and what a type checker sees of each."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, assert_type

import pytest

from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.client.query._sync.api import Api
from asyncwb.client.query._sync.files import File
from asyncwb.client.query._sync.projects import Project
from asyncwb.client.query._sync.run import PublicRun
from asyncwb.client.query._sync.runs import Runs
from asyncwb.client.query._sync.teams import Team
from asyncwb.client.query._sync.users import User
from asyncwb.client.query.api import AsyncApi
from asyncwb.client.query.files import AsyncFile
from asyncwb.client.query.projects import AsyncProject
from asyncwb.client.query.run import AsyncPublicRun
from asyncwb.client.query.runs import AsyncRuns
from asyncwb.client.query.teams import AsyncTeam
from asyncwb.client.query.users import AsyncUser

ROOT = Path(__file__).resolve().parent.parent
FACES = [
    pytest.param(AsyncRun, Run, id="Run"),
    pytest.param(AsyncApi, Api, id="Api"),
    pytest.param(AsyncFile, File, id="File"),
    pytest.param(AsyncProject, Project, id="Project"),
    pytest.param(AsyncPublicRun, PublicRun, id="PublicRun"),
    pytest.param(AsyncRuns, Runs, id="Runs"),
    pytest.param(AsyncTeam, Team, id="Team"),
    pytest.param(AsyncUser, User, id="User"),
]


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


async def what_mypy_sees_of_the_async_query(api: AsyncApi) -> None:
    assert_type(await api.viewer, AsyncUser)
    assert_type(await api.run("p/r"), AsyncPublicRun)
    assert_type(await api.runs("p").len(), int)
    assert_type(await api.runs("p").get(0), AsyncPublicRun)
    async for run in api.runs("p"):
        assert_type(run, AsyncPublicRun)


def what_mypy_sees_of_the_sync_query(api: Api) -> None:
    assert_type(api.viewer, User)
    assert_type(api.run("p/r"), PublicRun)
    assert_type(api.runs("p")[0], PublicRun)
    assert_type(api.runs("p")[:2], list[PublicRun])
    for run in api.runs("p"):
        assert_type(run, PublicRun)


def what_mypy_sees_of_the_sync_face(run: Run) -> None:
    assert_type(run.log({"loss": 0.5}), None)
    assert_type(run.log_nowait({"loss": 0.5}), bool)
    assert_type(run.flush(), bool)
    with run as entered:
        assert_type(entered, Run)
