"""Nobody gets in without a key, by any route; a login link works once."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from asyncwb.errors import SettingsError
from asyncwb.server.auth import is_public, new_token
from asyncwb.server.config import ServerConfig
from asyncwb.server.state import STATE
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.ingest_client import connect, first_frame

pytestmark = pytest.mark.anyio

OPEN = {
    ("GET", "/ready"),
    ("GET", "/login"),
    ("POST", "/api/v1/login"),
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
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(links[0], allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
        async with browser.get(f"{server.url}/api/v1/viewer") as answer:
            assert answer.status == 200
        await cookies_do_not_work_across_sites(browser, server.url)
        headers = {"Origin": server.url}
        async with browser.post(f"{server.url}/api/v1/logout", headers=headers) as answer:
            assert answer.status == 200
    time.now += 601
    async with aiohttp.ClientSession() as other:
        for used_or_expired in links:
            async with other.get(used_or_expired, allow_redirects=False) as answer:
                assert answer.status == 200  # the page, which shows the login form
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
            ({"key": 1}, 401),
            ([], 401),
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
