"""Users, keys, teams, invitations and projects over HTTP, as the page and the CLI use them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import func, select

from asyncwb.server.http.state import STATE
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.store.schema import files, frames, metadata, runs, segments
from asyncwb.settings import default_entity
from asyncwb.wire.rows.frames import encode
from tests.fix_people import TEAM, People
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.ingest_client import Client, connect, first_frame, rows

pytestmark = [pytest.mark.anyio, both_databases]

KEY = re.compile(r"[0-9a-f]{48}")


class Asker(Client):
    """A client for any method."""

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        """Send a request below /api/v1; returns its JSON, or the code of its error."""
        async with self.session.request(method, f"/api/v1/{path}", json=body) as answer:
            said = await answer.json()
            assert answer.status == status, said
            return said["error"]["code"] if status >= 400 else said


@asynccontextmanager
async def asking(server: ServerHandle, key: str | None = None) -> AsyncIterator[Asker]:
    """Connect with the admin's key, or another."""
    async with connect(server, key) as client:
        yield Asker(client.session)


async def test_a_new_user_has_a_key_and_an_entity(server: ServerHandle) -> None:
    async with asking(server) as admin:
        made = await admin.ask("POST", "users", 201, name="eve", email=" Eve@Example.org ")
        assert KEY.fullmatch(made["key"])
        assert (made["user"]["email"], made["user"]["admin"]) == ("eve@example.org", False)
        async with asking(server, made["key"]) as eve:
            viewer = await eve.get("viewer")
            assert (viewer["entity"], viewer["teams"], viewer["service"]) == ("eve", {}, False)
            assert (await eve.send(first_frame()))["run"] == "eve/p/r1"
            assert [user["username"] for user in (await eve.get("users"))["users"]] == ["eve"]
        # Users and teams share one namespace, and addresses of the page are nobody's name.
        for body, status in (
            ({"name": "eve"}, 409),
            ({"name": "eva", "email": "EVE@example.org"}, 409),
            ({"name": "login"}, 400),
            ({"name": "a/b"}, 400),
            ({"name": ".."}, 400),
            ({"name": "x" * 65}, 400),
            ({"name": 1}, 400),
            ({"email": "nothing"}, 400),
            ({}, 400),
            ({"nmae": "eva"}, 400),
        ):
            await admin.ask("POST", "users", status, **body)
        assert await admin.ask("POST", "teams", 409, name="eve") == "taken"
        await admin.ask("POST", "teams", 201, name="lab")
        assert await admin.ask("POST", "users", 409, name="lab") == "taken"
        # Without a name there is one made of the address, again and again.
        names = {
            (await admin.ask("POST", "users", 201, email=f"eve@{n}.org"))["user"]["username"]
            for n in range(3)
        }
        assert len(names) == 3
        assert all(re.fullmatch(r"eve-[\w-]{1,6}", name) for name in names)


async def test_keys_are_many_and_revoked_at_once(people: People) -> None:
    async with asking(people.server, people.keys["member"]) as member:
        made = await member.ask("POST", "keys", 201, description="laptop")
        listed = (await member.get("keys"))["keys"]
        assert [key["description"] for key in listed] == [None, "laptop"]
        assert listed[1]["hint"] == f"...{made['key'][-4:]}"
        assert made["key"] not in str(listed)
        async with asking(people.server, made["key"]) as other:
            assert (await other.get("viewer"))["username"] == "member"
            await member.ask("DELETE", f"keys/{made['id']}")
            assert await other.ask("GET", "viewer", 401) == "unauthorized"
        assert len((await member.get("keys"))["keys"]) == 1
        assert await member.ask("DELETE", f"keys/{made['id']}", 404) == "key_not_found"
        assert await member.ask("POST", "keys", 400, description="a\0b") == "bad_request"


async def test_a_disabled_user_is_out_at_once_and_may_come_back(people: People) -> None:
    server = people.server
    async with asking(server) as admin, asking(server, people.keys["member"]) as member:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            link = (await member.ask("POST", "login/links"))["url"]
            unused = (await member.ask("POST", "login/links"))["url"]
            own = {"Origin": server.url}
            body = {"token": link.rpartition("=")[2]}
            async with browser.post(f"{server.url}/api/v1/login", json=body, headers=own) as answer:
                assert answer.status == 200
            assert await _status(browser, f"{server.url}/api/v1/viewer") == 200
            changed = await admin.ask("PATCH", "users/member", disabled=True)
            assert changed["user"]["disabled"] is True
            assert await _status(browser, f"{server.url}/api/v1/viewer") == 401
            await member.ask("GET", "viewer", 401)
            body = {"token": unused.rpartition("=")[2]}
            async with browser.post(f"{server.url}/api/v1/login", json=body, headers=own) as answer:
                assert answer.status == 404
        await admin.ask("PATCH", "users/member", disabled=False)
        assert (await member.get("viewer"))["username"] == "member"
        name = (await admin.get("viewer"))["username"]
        assert await admin.ask("PATCH", f"users/{name}", 409, disabled=True) == "own_account"
        assert await admin.ask("PATCH", f"users/{name}", 409, admin=False) == "own_account"
        await admin.ask("PATCH", "users/member", admin=True)
        assert (await member.get("viewer"))["admin"] is True


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return answer.status


async def test_a_role_holds_at_once(people: People) -> None:
    server, project = people.server, people.project()
    async with (
        asking(server, people.keys["manager"]) as manager,
        asking(server, people.keys["stranger"]) as stranger,
    ):
        run = f"runs/{TEAM}/{project}/r1"
        for role, may_read, may_write in (
            (None, False, False),
            ("viewer", True, False),
            ("member", True, True),
        ):
            if role is not None:
                await manager.ask("POST", f"teams/{TEAM}/members", user="stranger", role=role)
            await stranger.ask("GET", run, 200 if may_read else 404)
            names = {"entity": TEAM, "project": project, "writer": str(role)}
            said = await stranger.send(first_frame(), **names)
            assert ("error" not in said) is may_write
        assert (await stranger.get("viewer"))["teams"] == {TEAM: "member"}
        members = (await stranger.get(f"teams/{TEAM}/members"))["members"]
        assert {one["username"]: one["role"] for one in members} == {
            "manager": "admin",
            "viewer": "viewer",
            "member": "member",
            "service": "member",
            "stranger": "member",
        }
        await stranger.ask("DELETE", f"teams/{TEAM}/members/stranger")  # anybody may leave
        await stranger.ask("GET", run, 404)
        for body, status in (
            ({"user": "no-such-user"}, 404),
            ({"user": "member", "role": "king"}, 400),
            ({"user": "service", "role": "admin"}, 400),
            ({"role": "member"}, 400),
        ):
            await manager.ask("POST", f"teams/{TEAM}/members", status, **body)
        assert await manager.ask("GET", "teams/manager/members", 404) == "team_not_found"


async def test_who_loses_the_right_loses_the_live_answer(people: People) -> None:
    server, project = people.server, people.project()
    async with (
        asking(server, people.keys["manager"]) as manager,
        asking(server, people.keys["viewer"]) as viewer,
        viewer.session.get(f"/api/v1/runs/{TEAM}/{project}/r1/live") as live,
    ):
        assert await live.content.readline() == b"event: run\n"
        await manager.ask("DELETE", f"teams/{TEAM}/members/viewer")
        await manager.send(first_frame(), entity=TEAM, project=project)
        rest = await asyncio.wait_for(live.content.read(), 20)
        assert b'"rows":10' not in rest


async def test_a_service_account_logs_for_its_team(people: People) -> None:
    server = people.server
    async with asking(server, people.keys["manager"]) as manager:
        made = await manager.ask(
            "POST", f"teams/{TEAM}/service-accounts", 201, description="nightly"
        )
        name = made["user"]["username"]
        assert name.startswith(f"service-{TEAM}-")
        async with asking(server, made["key"]) as service:
            assert (await service.get("viewer"))["entity"] == TEAM
            assert (await service.send(first_frame()))["run"] == f"{TEAM}/p/r1"
            said = await service.send(first_frame(), entity=name)
            assert said["error"]["code"] == "forbidden"
            await service.ask("POST", "login/links", 403)
            assert await manager.get(f"runs/{TEAM}/p/r1")
            assert (await manager.get(f"users/{name}/keys"))["keys"][0]["description"] == "nightly"
            await manager.ask("DELETE", f"teams/{TEAM}/members/{name}")
            await service.ask("GET", "viewer", 401)


async def test_an_invitation_makes_an_account_once(
    start_server: Callable[..., ServerHandle],
) -> None:
    time = FakeTime()
    people = People(start_server(clock=time))
    people.server.call(people.add)
    server = people.server
    async with (
        asking(server, people.keys["manager"]) as manager,
        aiohttp.ClientSession(server.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        browser = Asker(session)
        session.headers["Origin"] = server.url
        made = await manager.ask(
            "POST", "invitations", 201, team=TEAM, role="viewer", email="new@example.org"
        )
        link, token = made["url"].split("?token=")
        assert link == f"{server.url}/invite"
        shown = await browser.ask("POST", "invitations/show", token=token)
        assert (shown["team"], shown["role"], shown["invited_by"]) == (TEAM, "viewer", "manager")
        taken = {"token": token, "name": "member"}
        assert await browser.ask("POST", "invitations/accept", 409, **taken) == "taken"
        session.headers["Origin"] = "http://evil.example"
        await browser.ask("POST", "invitations/accept", 403, token=token, name="new")
        session.headers["Origin"] = server.url
        said = await browser.ask("POST", "invitations/accept", 201, token=token, name="new")
        viewer = await browser.get("viewer")  # by the page's session
        assert (viewer["username"], viewer["email"]) == ("new", "new@example.org")
        assert viewer["teams"] == {TEAM: "viewer"}
        async with asking(server, said["key"]) as new:
            assert (await new.get("viewer"))["username"] == "new"
            for path, more in (("accept", {"name": "other"}), ("show", {}), ("join", {})):
                code = await new.ask("POST", f"invitations/{path}", 404, token=token, **more)
                assert code == "invitation_not_found"
        assert (await manager.get("invitations"))["invitations"] == []
        await _expires_and_is_renewed(manager, browser, time)


async def _expires_and_is_renewed(manager: Asker, browser: Asker, time: FakeTime) -> None:
    old = await manager.ask("POST", "invitations", 201, team=TEAM)
    number, token = old["invitation"]["id"], old["url"].split("?token=")[1]
    time.now += 6 * 86400
    fresh = (await manager.ask("POST", f"invitations/{number}/link", 201))["url"]
    await browser.ask("POST", "invitations/show", 404, token=token)
    await browser.ask("POST", "invitations/show", token=fresh.split("?token=")[1])
    time.now += 7 * 86400 + 1
    await browser.ask("POST", "invitations/show", 404, token=fresh.split("?token=")[1])
    other = await manager.ask("POST", "invitations", 201, team=TEAM)
    await manager.ask("DELETE", f"invitations/{other['invitation']['id']}")
    await browser.ask("POST", "invitations/show", 404, token=other["url"].split("?token=")[1])


async def test_who_has_an_account_just_joins_and_keeps_the_better_role(people: People) -> None:
    server = people.server
    async with asking(server, people.keys["manager"]) as manager:
        for who, role, becomes in (
            ("stranger", "member", "member"),
            ("manager", "viewer", "admin"),
            ("viewer", "admin", "admin"),
        ):
            made = await manager.ask("POST", "invitations", 201, team=TEAM, role=role)
            async with asking(server, people.keys[who]) as one:
                token = made["url"].split("?token=")[1]
                await one.ask("POST", "invitations/join", token=token)
                assert (await one.get("viewer"))["teams"][TEAM] == becomes


async def test_projects_are_described_renamed_and_shown(people: People) -> None:
    server = people.server
    async with (
        asking(server, people.keys["manager"]) as manager,
        asking(server, people.keys["stranger"]) as stranger,
    ):
        made = await manager.ask("POST", "projects", 201, entity=TEAM, name="a", description="x")
        assert made["project"]["visibility"] == "private"
        await manager.ask("POST", "projects", 200, entity=TEAM, name="a", description="y")
        assert (await manager.get(f"projects/{TEAM}/a"))["project"]["description"] == "x"
        await manager.send(first_frame(), entity=TEAM, project="a")
        await manager.ask("POST", "projects", 201, entity=TEAM, name="b")
        assert await manager.ask("PATCH", f"projects/{TEAM}/a", 409, name="b") == "taken"
        for bad in ({"name": ".."}, {"name": "a/b"}, {"visibility": "open"}, {"description": 1}):
            await manager.ask("PATCH", f"projects/{TEAM}/a", 400, **bad)
        await stranger.ask("GET", f"projects/{TEAM}/a", 404)
        await manager.ask("PATCH", f"projects/{TEAM}/a", name="c", visibility="public")
        assert (await stranger.get(f"runs/{TEAM}/c/r1"))["rows"] == 10
        assert [one["name"] for one in (await stranger.get("projects"))["projects"]] == ["c"]
        # What is logged and read under the old name is the renamed project's.
        assert (await manager.get(f"runs/{TEAM}/a/r1"))["project"] == "c"
        assert (await stranger.get(f"projects/{TEAM}/a"))["project"]["name"] == "c"
        more = encode(11, rows(10, 5))
        assert (await manager.send(more, entity=TEAM, project="a"))["next"] == 16
        await manager.send(first_frame(5), entity=TEAM, project="a", run="r2")
        assert (await manager.get(f"runs/{TEAM}/c/r1"))["rows"] == 15
        await manager.ask("PATCH", f"projects/{TEAM}/a", name="d")
        listed = (await manager.get(f"projects/{TEAM}/a/runs"))["runs"]
        assert [(one["project"], one["id"]) for one in listed] == [("d", "r2"), ("d", "r1")]
        await manager.ask("DELETE", f"projects/{TEAM}/c", 409)
        await manager.ask("PATCH", f"projects/{TEAM}/d", name="c")
        # A project that is made under a former name takes it.
        await manager.ask("POST", "projects", 201, entity=TEAM, name="a")
        assert (await manager.get(f"projects/{TEAM}/a"))["project"]["name"] == "a"
        await manager.send(first_frame(), entity=TEAM, project="a", run="r3")
        names = {one["name"]: one["runs"] for one in (await manager.get("projects"))["projects"]}
        assert names == {"a": 1, "b": 0, "c": 2}
        await manager.ask("DELETE", f"projects/{TEAM}/a")
        await manager.ask("GET", f"runs/{TEAM}/a/r1")
        assert await stranger.ask("POST", "projects", 403, entity=TEAM, name="d") == "forbidden"
        assert (
            await stranger.ask("POST", "projects", 403, entity="no-such-user", name="d")
            == "forbidden"
        )


async def test_a_deleted_project_leaves_nothing(people: People) -> None:
    server, kept, gone = people.server, people.project(), people.project()
    async with asking(server, people.keys["manager"]) as manager:
        for project in (kept, gone):
            await manager.send(first_frame(), entity=TEAM, project=project, run="logged")
            url = f"/files/{TEAM}/{project}/logged/notes.txt"
            async with manager.session.put(url, data=b"text") as answer:
                assert answer.status < 300
        before = await _rows(server)
        await manager.ask("DELETE", f"projects/{TEAM}/{gone}")
        assert await manager.ask("GET", f"projects/{TEAM}/{gone}", 404) == "project_not_found"
        after = await _rows(server)
        assert after == {name: (count + 1) // 2 for name, count in before.items()}
        # And its name is free: a client that goes on starts anew.
        said = await manager.send(first_frame(), entity=TEAM, project=gone, run="logged")
        assert said["next"] == 11
        assert (await manager.get(f"runs/{TEAM}/{gone}/logged"))["rows"] == 10


async def _rows(server: ServerHandle) -> dict[str, int]:
    server.collect()

    async def work(app: web.Application) -> dict[str, int]:
        counts = {}
        async with app[STATE].database.connect() as connection:
            for table in (runs, frames, segments, files, metadata.tables["writers"]):
                asked = select(func.count()).select_from(table)
                counts[table.name] = (await connection.execute(asked)).scalar_one()
        counts["objects"] = len(list(app[OBJECTS].list("files")))
        return counts

    return server.call(work)


async def test_an_admin_makes_a_team_by_logging_to_it(server: ServerHandle) -> None:
    async with asking(server) as admin:
        assert (await admin.send(first_frame(), entity="fresh"))["run"] == "fresh/p/r1"
        assert (await admin.get("viewer"))["teams"] == {"fresh": "admin"}
        made = await admin.ask("POST", "users", 201, name="eve")
        await admin.send(first_frame(), entity="eve")
        async with asking(server, made["key"]) as eve:
            for entity in ("fresh", "unheard"):
                said = await eve.send(first_frame(), entity=entity)
                assert said["error"]["code"] == "forbidden"
            assert [one["entity"] for one in (await eve.get("projects"))["projects"]] == ["eve"]
        assert [team["name"] for team in (await admin.get("teams"))["teams"]] == ["fresh"]


async def test_a_team_keeps_its_last_admin(people: People) -> None:
    server, members = people.server, f"teams/{TEAM}/members"
    async with (
        asking(server) as admin,
        asking(server, people.keys["manager"]) as manager,
        asking(server, people.keys["member"]) as member,
    ):
        for method, body in (("DELETE", {}), ("PATCH", {"role": "member"})):
            code = await manager.ask(method, f"{members}/manager", 409, **body)
            assert code == "last_admin"
        await manager.ask("PATCH", f"{members}/manager", role="admin")
        await manager.ask("PATCH", f"{members}/member", role="admin")
        await admin.ask("PATCH", "users/member", disabled=True)
        await manager.ask("DELETE", f"{members}/manager", 409)
        await admin.ask("PATCH", "users/member", disabled=False)
        await manager.ask("DELETE", f"{members}/manager")
        await member.ask("PATCH", f"{members}/member", 409, role="viewer")
        await admin.ask("DELETE", f"{members}/member")  # an admin of the server manages all teams


@pytest.mark.parametrize("name", ["..", " ", "a#b", "a?b", "%2e", "x" * 129])
async def test_there_is_one_rule_for_names(server: ServerHandle, name: str) -> None:
    async with asking(server) as admin:
        await admin.ask("POST", "projects", 400, name=name)
        await admin.ask("POST", "projects", 400, name="p", entity=name)
        await admin.ask("POST", "projects", 201, name="p")
        await admin.ask("PATCH", f"projects/{default_entity()}/p", 400, name=name)
        for entity in ("login", "a b c"):
            await admin.ask("POST", "projects", 400, name="p", entity=entity)
        assert [one["name"] for one in (await admin.get("projects"))["projects"]] == ["p"]
        assert (await admin.get("teams"))["teams"] == []


async def test_words_that_no_database_can_hold(server: ServerHandle) -> None:
    async with asking(server) as admin:
        for path in (
            *("users/a%00b", "users?q=a%00b", "runs/a/b%00/c", "projects/a%00/b/runs?q=%00"),
            *(
                "teams/%00/members",
                "users?cursor=x",
                "users?limit=-1",
                "users?limit=0",
                "invitations?team=%00",
            ),
        ):
            async with admin.session.get(f"/api/v1/{path}") as answer:
                assert answer.status in (400, 404), path
        long = "x" * 10_000
        await admin.ask("GET", f"users/{long[:5000]}", 404)
        await admin.ask("POST", "keys", 400, description=long)
