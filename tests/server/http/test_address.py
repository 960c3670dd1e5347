"""Under which names the server takes requests, and what its links say behind a proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from asyncwb.errors import SettingsError
from asyncwb.server import ServerConfig
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect

pytestmark = pytest.mark.anyio

StartServer = Callable[..., ServerHandle]


async def _status(server: ServerHandle, host: str, path: str = "/ready") -> int:
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.get(path, headers={"Host": host}) as answer,
    ):
        if answer.status == 421:
            said = (await answer.json())["error"]
            assert said["code"] == "unknown_host"
            assert repr(host) in said["message"]
            assert "--allow-host" in said["message"]
        return answer.status


async def test_a_server_takes_requests_to_itself_only(start_server: StartServer) -> None:
    server = start_server(public_url="https://Tracker.example.org/asyncwb/", hosts=("inner",))
    for host in (
        "localhost",
        "LOCALHOST:80",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:8080",
        socket.gethostname(),
        "tracker.example.org",
        "tracker.example.org.:443",
        "Inner:9",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:0:0:1]:1",
    ):
        assert await _status(server, host) == 200, host
    for host in (
        *("evil.example", "192.0.2.1", "127.0.0.1.evil.example", "2130706433", "[", ""),
        *("a@localhost", "evil.example\\@localhost", "localhost/evil", "localhost?x", "localhost#"),
        *("localhost:abc", "localhost:999999", "[::1]evil", "localhost evil"),
    ):
        assert await _status(server, host) == 421, host


async def test_the_target_of_a_request_names_the_host_too(server: ServerHandle) -> None:
    """As proxies ask: "POST http://evil.example/..." beside a Host that is known."""
    said = []
    ours = f"http://localhost:{server.url.rpartition(':')[2]}"
    for target in ("http://evil.example", ours):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        head = f"POST {target}/api/v1/login/links HTTP/1.1\r\nHost: localhost\r\n"
        key = f"Authorization: Bearer {server.api_key}\r\nContent-Length: 0\r\n"
        writer.write(f"{head}{key}Connection: close\r\n\r\n".encode())
        said.append((await reader.read()).decode())
        writer.close()
        await writer.wait_closed()
    assert said[0].startswith("HTTP/1.1 421")
    assert "evil.example/login" not in said[0]
    assert said[1].startswith("HTTP/1.1 200")
    assert f'"{ours}/login?token=' in said[1], "with the port"


async def test_any_name_where_it_is_said(start_server: StartServer) -> None:
    assert await _status(start_server(hosts=("*",)), "whatever.example") == 200


async def test_an_embedded_server_shows_nothing_to_another_name(start_server: StartServer) -> None:
    server = start_server(embedded=True)
    assert await _status(server, "127.0.0.1", "/metrics") == 200
    assert await _status(server, "rebound.example", "/metrics") == 421


async def test_a_request_without_a_host(server: ServerHandle) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(b"GET /ready HTTP/1.0\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.0 200 OK\r\n"
    writer.close()
    await writer.wait_closed()


async def test_links_and_cookies_behind_a_proxy(start_server: StartServer) -> None:
    server = start_server(public_url="https://tracker.example.org/asyncwb/")
    async with connect(server) as client:
        async with client.session.post("/api/v1/login/links") as answer:
            link = (await answer.json())["url"]
        assert link.startswith("https://tracker.example.org/asyncwb/login?token=")
        headers = {"Origin": "https://tracker.example.org"}
        body = {"key": server.api_key}
        async with client.session.post("/api/v1/login", json=body, headers=headers) as answer:
            assert answer.status == 200
            cookie = answer.headers["Set-Cookie"]
            assert "Secure" in cookie
            assert "Path=/asyncwb;" in cookie


async def test_a_proxy_that_nobody_told_of_is_warned_of_once(
    server: ServerHandle, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        for _ in range(3):
            async with session.get("/ready", headers={"X-Forwarded-Proto": "https"}) as answer:
                assert answer.status == 200
    assert caplog.text.count("a proxy sends requests here") == 1


@pytest.mark.parametrize(
    "url",
    [
        *("tracker.example.org", "ftp://a", "https://", "https://a/b?c=1", "https://a:99999"),
        *("https://a:b", "https://u:p@a", "https://a/b c", "https://a\\@evil", "https://a//b"),
        *('https://a/"><x', "https://a\n", "https://[::1", "https://a/../b", ""),
    ],
)
def test_a_public_url_is_one(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"https://tracker\.example\.org"):
        ServerConfig(data=tmp_path, public_url=url)
