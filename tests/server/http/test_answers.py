"""What a server really answers is what `answers` says, and so what the page's types say.

`misfits` knows the few kinds of hints that `answers` is made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest

from asyncwb.server.http import answers
from tests.fix_server import ServerHandle
from tests.server.ingest_client import Client, connect, first_frame

pytestmark = pytest.mark.anyio


def misfits(value: object, hint: Any, place: str = "") -> list[str]:
    """Return what of a decoded JSON value is not as a hint says, each with its place."""
    if is_typeddict(hint):
        return _misfits_of_object(value, hint, place)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        fits = any(not misfits(value, one, place) for one in inner)
    elif origin is Literal:
        fits = value in inner
    elif origin is list and isinstance(value, list):
        return _all(misfits(one, inner[0], f"{place}[{at}]") for at, one in enumerate(value))
    elif origin is dict and isinstance(value, dict):
        return _all(misfits(one, inner[1], f"{place}.{key}") for key, one in value.items())
    elif isinstance(hint, type) and issubclass(hint, Enum):
        fits = value in [one.value for one in hint]
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = hint is object or (hint in (str, bool, NoneType) and isinstance(value, hint))
    return [] if fits else [f"{place}: {value!r} is no {hint}"]


def _all(found: Iterable[list[str]]) -> list[str]:
    return [wrong for some in found for wrong in some]


def _misfits_of_object(value: object, hint: Any, place: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place}: {value!r} is no {hint.__name__}"]
    hints = get_type_hints(hint, include_extras=True)
    may_lack = {key for key, said in hints.items() if get_origin(said) is NotRequired}
    wrong = [f"{place}.{key} is not told of" for key in value.keys() - hints.keys()]
    wrong += [f"{place}.{key} is missing" for key in hints.keys() - may_lack - value.keys()]
    for key in hints.keys() & value.keys():
        said = get_args(hints[key])[0] if key in may_lack else hints[key]
        wrong += misfits(value[key], said, f"{place}.{key}")
    return wrong


async def _ask(client: Client, method: str, path: str, **body: Any) -> Any:
    async with client.session.request(method, f"/api/v1/{path}", json=body) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def _begin(client: Client) -> str:
    """Make a run whose texts and lists are long; return where it is."""
    tags = [f"{number:060}" for number in range(200)]
    start = {"tags": tags, "notes": "n" * 5000, "host": "h" * 5000}
    await client.send(first_frame(20, config={"lr": 0.1, "long": "x" * 5000}, **start))
    entity: str = (await client.run())["entity"]
    return entity


async def test_answers_of_runs_and_projects(server: ServerHandle) -> None:
    async with connect(server) as client:
        entity = await _begin(client)
        project = f"projects/{entity}/p"
        assert (
            misfits((await client.get("projects"))["projects"], list[answers.ListedProject]) == []
        )
        assert misfits((await client.get(project))["project"], answers.Project) == []
        (row,) = (await client.get(f"{project}/runs"))["runs"]
        assert misfits(row, answers.RunRow) == []
        for name in ("tags", "notes", "host"):
            assert misfits(row[name], answers.Cut) == []
        for values in ("none", "short", "whole"):
            info = await client.get(f"runs/{entity}/p/r1", values=values, fold="true")
            assert misfits(info, answers.RunInfo) == []
            there = info.keys() & {"config", "summary", "fold", "metrics"}
            assert there == {"fold", "metrics"} | (
                set() if values == "none" else {"config", "summary"}
            )


async def test_answers_of_what_was_logged(server: ServerHandle) -> None:
    async with connect(server) as client:
        run = f"runs/{await _begin(client)}/p/r1"
        assert misfits(await client.get(f"{run}/metrics"), answers.WireMetrics) == []
        series = (await client.get(f"{run}/series", key="loss", buckets=5))["series"]
        assert len(series) == 1
        assert misfits(series, list[answers.WireSeries]) == []


async def test_events_of_a_live_run(server: ServerHandle) -> None:
    async with connect(server) as client:
        run = f"runs/{await _begin(client)}/p/r1"
        async with client.session.get(f"/api/v1/{run}/live") as response:
            async for line in response.content:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    break
        assert misfits(event, answers.LiveState) == []
        assert event["whole"]


async def test_answers_of_people(server: ServerHandle) -> None:
    async with connect(server) as client:
        assert misfits(await client.get("viewer"), answers.Viewer) == []
        made = await _ask(client, "POST", "users", name="eve", email="eve@example.org")
        assert misfits(made, answers.Account) == []
        assert misfits(await _ask(client, "POST", "keys", description="d"), answers.NewKey) == []
        team = (await _ask(client, "POST", "teams", name="crew"))["team"]
        assert misfits(team, answers.Team) == []
        added = await _ask(client, "POST", "teams/crew/members", user="eve", role="viewer")
        assert misfits(added["member"], answers.Member) == []
        service = await _ask(client, "POST", "teams/crew/service-accounts", description="ci")
        assert misfits(service, answers.Account) == []
        assert misfits((await client.get("keys"))["keys"], list[answers.Key]) == []
        assert misfits((await client.get("teams"))["teams"], list[answers.Team]) == []
        assert misfits((await client.get("users"))["users"], list[answers.User]) == []
        members = (await client.get("teams/crew/members"))["members"]
        assert misfits(members, list[answers.Member]) == []


async def test_answers_of_invitations(server: ServerHandle) -> None:
    async with connect(server) as client:
        await _ask(client, "POST", "teams", name="crew")
        made = await _ask(client, "POST", "invitations", team="crew", role="member")
        assert misfits(made["invitation"], answers.Invitation) == []
        listed = (await client.get("invitations", team="crew"))["invitations"]
        assert misfits(listed, list[answers.Invitation]) == []
        token = made["url"].rpartition("token=")[2]
        offer = await _ask(client, "POST", "invitations/show", token=token)
        assert misfits(offer, answers.Offer) == []
        eve = (await _ask(client, "POST", "users", name="eve", email="eve@example.org"))["key"]
    async with connect(server, eve) as client:
        joined = await _ask(client, "POST", "invitations/join", token=token)
        assert misfits(joined, answers.Joined) == []


def test_a_misfit_is_found() -> None:
    team = {"name": "crew", "created_at": 1.0, "role": "admin"}
    assert misfits(team, answers.Team) == []
    for wrong in ({"role": "king"}, {"name": None}, {"created_at": True}, {"more": 1}):
        assert len(misfits(team | wrong, answers.Team)) == 1
    assert misfits({"name": "crew", "created_at": 1.0}, answers.Team) == [".role is missing"]
