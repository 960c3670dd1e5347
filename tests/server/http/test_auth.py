"""Nobody gets in without a key, by any route; a login link works once."""

from __future__ import annotations

import asyncio
import base64
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from asyncwb.errors import SettingsError
from asyncwb.server.config import ServerConfig
from asyncwb.server.http.auth import is_public, new_token
from asyncwb.server.http.open_requests import OPEN_REQUESTS
from asyncwb.server.http.state import STATE
from asyncwb.settings import default_entity
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.graphql.asking import data
from tests.server.ingest_client import connect, first_frame

pytestmark = pytest.mark.anyio

OPEN = {
    ("GET", "/ready"),
    ("GET", "/login"),
    ("POST", "/api/v1/login"),
    ("POST", "/api/v1/login/links/show"),
    ("POST", "/api/v1/logout"),
    ("POST", "/api/v1/invitations/show"),
    ("POST", "/api/v1/invitations/accept"),
    ("GET", "/invite"),
    ("PUT", "/storage/{token}"),
    ("GET", "/storage/{token}"),
    ("GET", "/"),
    ("GET", "/assets/{name}"),
    ("GET", "/favicon.ico"),
    ("GET", "/icon.svg"),
    ("GET", "/{entity}"),
    ("GET", "/{entity}/{project}/sweeps"),
    ("GET", "/{entity}/{project}/sweeps/{name}"),
    ("GET", "/{entity}/{project}"),
    ("GET", "/{entity}/{project}/reports"),
    ("GET", "/{entity}/{project}/reports/{name}"),
    ("GET", "/{entity}/{project}/runs/{run}"),
    ("GET", "/{entity}/{project}/settings"),
}


def routes_of(app: web.Application) -> list[tuple[str, str, Any]]:
    return [
        (route.method, route.resource.canonical, route.handler)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]


async def test_every_route_but_the_declared_ones_wants_a_key(server: ServerHandle) -> None:
    routes = routes_of(server.app)
    assert {(method, path) for method, path, handler in routes if is_public(handler)} == OPEN
    wrong = [
        {},
        {"Authorization": "Bearer " + "x" * 43},
        {"Authorization": "Basic !!!"},
        {"Authorization": server.api_key},
        {"Cookie": "asyncwb_session=" + "x" * 43},
        {"Cookie": "asyncwb_session=" + server.api_key},
    ]
    private = [(method, path) for method, path, handler in routes if not is_public(handler)]
    assert len(private) >= 8
    async with aiohttp.ClientSession(server.url) as session:
        for method, path in private:
            for headers in wrong:
                address = path.replace("{id}", "1").replace("{", "").replace("}", "")
                async with session.request(method, address, headers=headers) as answer:
                    assert answer.status == 401, (method, path, headers)
                    assert (await answer.json())["error"]["code"] == "unauthorized"


async def test_both_schemes_let_the_key_in(server: ServerHandle) -> None:
    basic = base64.b64encode(f"api:{server.api_key}".encode()).decode()
    async with aiohttp.ClientSession(server.url) as session:
        for value in (f"Bearer {server.api_key}", f"Basic {basic}"):
            headers = {"Authorization": value}
            async with session.get("/api/v1/viewer", headers=headers) as answer:
                assert (await answer.json())["admin"] is True


async def test_the_first_key(start_server: Callable[..., ServerHandle], tmp_path: Any) -> None:
    server = start_server()
    path = server.data / "api_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(server.api_key) >= 40
    assert server.api_key.replace("-", "").replace("_", "").isalnum()
    given = "k" * 40
    other = start_server(data=tmp_path / "other", admin_key=given)
    async with connect(other, given) as client:
        assert (await client.get("viewer"))["admin"] is True
    with pytest.raises(SettingsError, match="ASYNCWB_API_KEY has 39 characters"):
        ServerConfig(data=tmp_path, admin_key="k" * 39)


@both_databases
async def test_users_see_their_own_entity_only(server: ServerHandle) -> None:
    key = new_token()

    async def create(app: web.Application) -> None:
        await app[STATE].users.create("eve", key, 0.0)

    server.call(create)
    async with connect(server) as admin, connect(server, key) as eve:
        entity = (await admin.send(first_frame()))["run"].split("/")[0]
        foreign = await eve.send(first_frame(), entity=entity)
        assert foreign["error"]["code"] == "forbidden"
        assert (await eve.send(first_frame()))["run"] == "eve/p/r1"
        assert [p["entity"] for p in (await eve.get("projects"))["projects"]] == ["eve"]
        assert len((await admin.get("projects"))["projects"]) == 2
        for path in (f"runs/{entity}/p/r1", f"projects/{entity}/p/runs"):
            async with eve.session.get(f"/api/v1/{path}") as answer:
                assert answer.status == 404


@both_databases
async def test_a_link_logs_in_once_and_not_for_ever(
    start_server: Callable[..., ServerHandle],
) -> None:
    time = FakeTime()
    server = start_server(clock=time)
    async with connect(server) as client:
        links = [await make_link(client.session) for _ in range(2)]
    assert links[0].startswith(f"{server.url}/login?token=")
    login, own = f"{server.url}/api/v1/login", {"Origin": server.url}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(links[0], allow_redirects=False) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert "Set-Cookie" not in answer.headers, "other sites make browsers open links"
        body = {"token": links[0].rpartition("=")[2]}
        async with browser.post(f"{server.url}/api/v1/login/links/show", json=body) as answer:
            assert await answer.json() == {"username": default_entity()}
        for headers, status in (({"Sec-Fetch-Site": "cross-site"}, 403), (own, 200)):
            async with browser.post(login, json=body, headers=headers) as answer:
                assert answer.status == status
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        async with browser.get(f"{server.url}/api/v1/viewer") as answer:
            assert answer.status == 200
        await cookies_do_not_work_across_sites(browser, server.url)
        async with browser.post(f"{server.url}/api/v1/logout", headers=own) as answer:
            assert answer.status == 200
    time.now += 601
    async with aiohttp.ClientSession() as other:
        for used_or_expired in links:
            body = {"token": used_or_expired.rpartition("=")[2]}
            for address in (login, f"{server.url}/api/v1/login/links/show"):
                async with other.post(address, json=body, headers=own) as answer:
                    assert answer.status == 404
                    assert "Set-Cookie" not in answer.headers


async def make_link(session: aiohttp.ClientSession) -> str:
    async with session.post("/api/v1/login/links") as answer:
        return str((await answer.json())["url"])


async def cookies_do_not_work_across_sites(browser: aiohttp.ClientSession, url: str) -> None:
    address = f"{url}/api/v1/login/links"
    for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        async with browser.post(address, headers=headers) as answer:
            assert answer.status == 403
    for headers in ({"Origin": url}, {"Sec-Fetch-Site": "same-origin"}):
        async with browser.post(address, headers=headers) as answer:
            assert answer.status == 200


async def test_the_login_form(server: ServerHandle) -> None:
    headers = {"Origin": server.url}
    async with aiohttp.ClientSession(server.url, headers=headers) as browser:
        for body, status in (
            ({"key": "wrong"}, 401),
            ({}, 401),
            ({"key": 1}, 400),
            ([], 400),
            ({"key": server.api_key}, 200),
        ):
            async with browser.post("/api/v1/login", json=body) as answer:
                assert answer.status == status
                assert ("Set-Cookie" in answer.headers) == (status == 200)
        async with browser.post("/api/v1/login", data=b"{") as answer:
            assert answer.status == 400


async def test_a_revoked_key_is_worthless(start_server: Callable[..., ServerHandle]) -> None:
    time, key = FakeTime(), new_token()
    server = start_server(clock=time)

    async def create(app: web.Application) -> None:
        await app[STATE].users.create("eve", key, 0.0)

    async def revoke(app: web.Application) -> None:
        found = await app[STATE].keys.find(key)
        assert found is not None
        assert await app[STATE].keys.revoke(found.id, time.now)

    server.call(create)
    async with connect(server, key) as client:
        await client.get("viewer")
        server.call(revoke)
        async with client.session.get("/api/v1/viewer") as answer:
            assert answer.status == 401


@pytest.mark.parametrize("by", ["key", "session"])
async def test_a_key_that_is_revoked_while_a_request_is_let_in_lets_it_in_no_more(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    key, own = new_token(), {"Origin": server.url}

    async def create(app: web.Application) -> None:
        await app[STATE].users.create("eve", key, 0.0)

    async def revoke_after_the_next_look(app: web.Application) -> None:
        users, keys = app[STATE].users, app[STATE].keys
        found, name = await keys.find(key), "by_key" if by == "key" else "by_session"
        assert found is not None
        ask = getattr(users, name)

        async def look(*asked: Any) -> Any:
            monkeypatch.setattr(users, name, ask)
            user = await ask(*asked)
            assert await keys.revoke(found.id, 1.0)
            await asyncio.sleep(0)  # whoever is let in is asked about now
            return user

        users.changed()  # nobody remembers the key
        monkeypatch.setattr(users, name, look)

    server.call(create)
    browser = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
    async with connect(server, key) as client, browser:
        await client.send(first_frame())
        async with browser.post(
            f"{server.url}/api/v1/login", json={"key": key}, headers=own
        ) as said:
            assert said.status == 200
        server.call(revoke_after_the_next_look)
        session = client.session if by == "key" else browser
        async with session.get(f"{server.url}/api/v1/runs/eve/p/r1/live") as answer:
            assert answer.status == 401


@both_databases
async def test_a_revoked_key_takes_its_sessions_links_and_streams_along(
    start_server: Callable[..., ServerHandle],
) -> None:
    server, own_key, leaked = start_server(), new_token(), new_token()
    own = {"Origin": server.url}

    async def create(app: web.Application) -> None:
        await app[STATE].users.create("eve", own_key, 0.0)
        eve = await app[STATE].users.find("eve")
        assert eve is not None
        await app[STATE].keys.add(eve.id, leaked, 0.0)

    async def revoke_elsewhere(app: web.Application) -> None:
        """Revoke the key as another process does: nothing in this one is told."""
        changes = app[STATE].users.changes
        found = await app[STATE].keys.find(leaked)
        assert found is not None
        assert await app[STATE].keys.revoke(found.id, 1.0)
        app[STATE].users.changes = changes

    async def look(app: web.Application) -> None:
        for _ in range(2):  # who was there at the last look is asked about
            await app[OPEN_REQUESTS].end_revoked()

    server.call(create)
    sessions = {}
    async with AsyncExitStack() as stack:
        for name, key in (("own", own_key), ("leaked", leaked)):
            browser = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
            sessions[name] = await stack.enter_async_context(browser)
            body = {"key": key}
            async with browser.post(f"{server.url}/api/v1/login", json=body, headers=own) as answer:
                assert answer.status == 200
        client = await stack.enter_async_context(connect(server, leaked))
        await client.send(first_frame())
        link = await make_link(client.session)
        by_session = f"{server.url}/api/v1/login/links"
        async with sessions["leaked"].post(by_session, headers=own) as answer:
            links = [link, (await answer.json())["url"]]
        address = f"{server.url}/api/v1/runs/eve/p/r1/live"
        streams = [
            await stack.enter_async_context(session.get(address))
            for session in (client.session, *sessions.values())
        ]
        for stream in streams:
            assert await stream.content.readline() == b"event: run\n"
        server.call(revoke_elsewhere)
        server.call(look)
        for stream in (streams[0], streams[2]):
            with pytest.raises(aiohttp.ClientPayloadError):
                await asyncio.wait_for(stream.content.read(), 20)
        assert not streams[1].content.at_eof()
        for name, status in (("own", 200), ("leaked", 401)):
            async with sessions[name].get(f"{server.url}/api/v1/viewer") as answer:
                assert answer.status == status
        for url in links:
            body = {"token": url.rpartition("=")[2]}
            async with client.session.post("/api/v1/login", json=body, headers=own) as answer:
                assert answer.status == 404


_ANNOUNCE = """mutation {
  createRunFiles(input: {entityName: "eve", projectName: "p", runName: "r1", files: ["f"]}) {
    files { uploadUrl }
  }
}"""
_ADDRESS = """{
  project(entityName: "eve", name: "p") {
    run(name: "r1") { files(names: ["f"]) { edges { node { directUrl url(upload: true) } } } }
  }
}"""


def _announced(server: ServerHandle, key: str) -> str:
    """Return a signed address to send a new file to."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url: str = data(server, _ANNOUNCE, headers)["createRunFiles"]["files"][0]["uploadUrl"]
    return url


def _of_stored(server: ServerHandle, key: str) -> list[str]:
    """Return signed addresses of a file that is there: to get it from, and to send it to."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    run = data(server, _ADDRESS, headers)["project"]["run"]
    node = run["files"]["edges"][0]["node"]
    return [node["directUrl"], node["url"]]


@both_databases
async def test_a_revoked_key_takes_its_signed_addresses_along(server: ServerHandle) -> None:
    own_key, leaked = new_token(), new_token()

    async def create(app: web.Application) -> None:
        eve = await app[STATE].users.create("eve", own_key, 0.0)
        await app[STATE].keys.add(eve.id, leaked, 0.0)

    async def revoke(app: web.Application) -> None:
        found = await app[STATE].keys.find(leaked)
        assert found is not None
        assert await app[STATE].keys.revoke(found.id, 1.0)

    async def uploads(app: web.Application) -> list[str]:
        return [one.method for one, _ in app[OPEN_REQUESTS]._open.values() if one.method == "PUT"]

    async def look(app: web.Application) -> None:
        for _ in range(2):
            await app[OPEN_REQUESTS].end_revoked()

    server.call(create)
    async with connect(server, own_key) as client, aiohttp.ClientSession() as anybody:
        await client.send(first_frame())
        own_put = _announced(server, own_key)
        async with anybody.put(own_put, data=b"bytes") as answer:
            assert answer.status == 200
        own, bad = _of_stored(server, own_key), _of_stored(server, leaked)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"by"
            begun.set()
            await go_on.wait()
            yield b"tes"

        slow = asyncio.create_task(
            anybody.put(bad[1], data=body(), headers={"Content-Length": "5"}).__aenter__()
        )
        await begun.wait()
        async with asyncio.timeout(20):
            while not server.call(uploads):  # noqa: ASYNC110 - it tells nobody when it is let in
                await asyncio.sleep(0)
        async with anybody.get(bad[0]) as answer:
            assert (answer.status, await answer.read()) == (200, b"bytes")
        server.call(revoke)
        for method, url in (("GET", bad[0]), ("HEAD", bad[0]), ("PUT", bad[1])):
            async with anybody.request(method, url, data=b"x" if method == "PUT" else None) as said:
                assert said.status == 403
        server.call(look)
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(slow, 20)
        go_on.set()
        async with anybody.get(own[0]) as answer:
            assert (answer.status, await answer.read()) == (200, b"bytes")
        async with anybody.put(own[1], data=b"more") as answer:
            assert answer.status == 200


@both_databases
async def test_who_loses_the_right_loses_signed_addresses(server: ServerHandle) -> None:
    key = new_token()

    async def create(app: web.Application) -> None:
        await app[STATE].users.create("eve", key, 0.0)

    async def disable(app: web.Application) -> None:
        eve = await app[STATE].users.find("eve")
        assert eve is not None
        await app[STATE].users.disable(eve.id, 1.0)

    async def enable(app: web.Application) -> None:
        eve = await app[STATE].users.find("eve")
        assert eve is not None
        await app[STATE].users.enable(eve.id)

    server.call(create)
    async with connect(server, key) as client, aiohttp.ClientSession() as anybody:
        await client.send(first_frame())
        put = _announced(server, key)
        for change, status in ((disable, 403), (enable, 200)):
            server.call(change)
            async with anybody.put(put, data=b"x") as answer:
                assert answer.status == status
