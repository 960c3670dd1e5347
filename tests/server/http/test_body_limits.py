"""Bodies of requests: nobody fills the server's memory by sending, much or slowly."""

from __future__ import annotations

import ast
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from asyncwb.server.http import body_limits
from asyncwb.server.http.auth import is_public
from asyncwb.server.http.errors import ApiError
from tests.fix_server import ServerHandle
from tests.server.http.test_connection import answers_of, begin_a_run, connected, head, say

SERVER = Path(body_limits.__file__).parents[1]
READS = {"read", "json", "text", "post", "multipart", "content"}


@contextmanager
def sending(server: ServerHandle, *pieces: bytes) -> Iterator[socket.socket]:
    """Begin a request that does not end."""
    with connected(server) as client:
        for piece in pieces:
            client.sendall(piece)
        yield client


def held(server: ServerHandle) -> tuple[int, int]:
    """Return the bytes that bodies and uploads take."""

    async def look(app: web.Application) -> tuple[int, int]:
        return app[body_limits.MEMORY].held, app[body_limits.UPLOADS].held

    return server.call(look)


def until_held(server: ServerHandle, at_least: int) -> None:
    """Wait until bodies take so much memory."""
    while sum(held(server)) < at_least:
        pass


def test_only_one_file_reads_bodies() -> None:
    for path in SERVER.rglob("*.py"):
        if path.name == "body_limits.py" or "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in READS:
                assert ast.unparse(node.value).split(".")[-1] not in ("request", "_request"), path


def test_who_has_no_key_sends_a_few_kilobytes(server: ServerHandle) -> None:
    routes = [
        f"{route.method} {route.resource.canonical}"
        for route in server.app.router.routes()
        if is_public(route.handler) and route.method not in ("GET", "HEAD") and route.resource
    ]
    routes.remove("PUT /storage/{token}")  # whose token lets in
    assert "POST /api/v1/invitations/accept" in routes
    for route in routes:
        head = (f"{route} HTTP/1.1", "Host: localhost", "Origin: http://localhost")
        asked = "\r\n".join((*head, "Connection: close", ""))
        long = say(server, f"{asked}Content-Length: 5000\r\n\r\n".encode(), bytes(5000))
        chunk = b"1388\r\n" + bytes(5000) + b"\r\n0\r\n\r\n"
        chunked = say(server, f"{asked}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk)
        for answers in (long, chunked):
            if route == "POST /api/v1/logout":  # which reads none
                continue
            ((status, said),) = answers
            assert (status, said["error"]["code"]) == (413, "body_too_large"), route
            assert str(body_limits.PUBLIC_LIMIT) in said["error"]["message"]


def test_a_body_that_comes_slowly_ends_by_the_deadline(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server(patience=0.3)
    asked = head(server, "POST /api/v1/login", "Origin: http://localhost", "Content-Length: 4000")
    with sending(server, asked) as client:
        client.settimeout(0.05)
        answer = b""
        for _ in range(40):  # above the least rate of all, and never silent
            client.sendall(b" " * 50)
            try:
                answer = client.recv(65536)
                break
            except TimeoutError:
                pass
    ((status, said),) = answers_of(answer)
    assert (status, said["error"]["code"]) == (408, "too_slow")


def test_all_bodies_together_take_bounded_memory(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server(max_bodies=2**20)
    ingest = head(server, "POST /api/v1/ingest", "Content-Length: 400000", "Connection: close")
    with sending(server, ingest, bytes(399_000)):
        until_held(server, 399_000)
        ((status, said),) = say(server, ingest + bytes(400_000))
        assert (status, said["error"]["code"]) == (503, "unavailable")
        assert "send it again" in said["error"]["message"]
        small = json.dumps({"query": "{viewer{id}}"}).encode()
        asked = head(server, "POST /graphql", f"Content-Length: {len(small)}", "Connection: close")
        ((status, _),) = say(server, asked + small)
        assert status == 200
    while held(server) != (0, 0):
        pass
    ((status, said),) = say(server, ingest + bytes(400_000))
    assert (status, said["error"]["code"]) == (400, "bad_batch"), "there is room again"


def test_one_user_does_not_take_it_from_all() -> None:
    memory = body_limits.Memory(100)
    with memory.share() as share:
        share.take("one", 50)
        with pytest.raises(ApiError) as refused:
            share.take("one", 1)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "2"})
        with memory.share() as other:
            other.take("two", 40)
            assert memory.held == 90
    assert memory.held == 0


def upload(server: ServerHandle, entity: str, size: int, key: str | None = None) -> bytes:
    """Write the head of an upload to the run p/r."""
    length = f"Content-Length: {size}"
    line = f"PUT /files/{entity}/p/r/a.txt"
    return head(server, line, length, "Connection: close", key=key)


def test_an_upload_is_bounded_by_the_setting_and_by_memory(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server(max_upload=2_000_000, max_bodies=2**20)
    entity = begin_a_run(server)
    ((status, said),) = say(server, upload(server, entity, 2_000_001) + bytes(2_000_001))
    assert (status, said["error"]["code"]) == (413, "file_too_large")
    assert "--max-upload" in said["error"]["message"]
    with sending(server, upload(server, entity, 500_000), bytes(499_999)):
        until_held(server, 499_999)
        ((status, said),) = say(server, upload(server, entity, 200_000) + bytes(200_000))
        assert (status, said["error"]["code"]) == (503, "unavailable")
    while held(server) != (0, 0):
        pass
    ((status, _),) = say(server, upload(server, entity, 200_000) + bytes(200_000))
    assert status == 200


def test_one_users_uploads_leave_room_for_those_of_others(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server(max_bodies=2**20)
    body = json.dumps({"name": "greedy"}).encode()
    made = head(server, "POST /api/v1/users", f"Content-Length: {len(body)}", "Connection: close")
    ((_, answer),) = say(server, made + body)
    key = answer["key"]
    greedy, entity = begin_a_run(server, key), begin_a_run(server)
    with ExitStack() as stack:
        for number in range(1, 9):  # eight of an eighth
            slow = upload(server, greedy, 2**17, key)
            stack.enter_context(sending(server, slow, bytes(2**17 - 1)))
            if number <= 4:
                until_held(server, number * (2**17 - 1))
        ((status, _),) = say(server, upload(server, entity, 200_000) + bytes(200_000))
        assert status == 200
