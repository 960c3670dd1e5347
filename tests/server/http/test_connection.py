"""Connections: no request is waited for without end, and what is none is told so in one shape."""

from __future__ import annotations

import inspect
import json
import logging
import re
import socket
import tomllib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, AsyncStreamIterator, StreamReader

from asyncwb.server.http import connection
from asyncwb.server.http.connection import Connection, still
from tests.fix_server import ServerHandle

PATIENCE = 0.05
LINE = b"X: " + b"a" * 8000 + b"\r\n"


def connected(server: ServerHandle) -> socket.socket:
    """Connect to the server."""
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def say(server: ServerHandle, *pieces: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Send bytes as they are and read until the server closes; returns its answers."""
    with connected(server) as client:
        for piece in pieces:
            client.sendall(piece)
        rest = b"".join(iter(lambda: client.recv(65536), b""))
    return answers_of(rest)


def converse(server: ServerHandle, first: bytes, then: bytes) -> bytes:
    """Send more once the server has said something; returns all that it says until it closes."""
    with connected(server) as client:
        client.sendall(first)
        said = client.recv(65536).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(then)
        return said + b"".join(iter(lambda: client.recv(65536), b""))


def answers_of(rest: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Read answers that came one after another: their status, and the JSON of their body."""
    answers = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (x.split(": ", 1) for x in lines)}
        assert headers["content-type"].startswith("application/json"), head
        size = int(headers["content-length"])
        answers.append((int(status.split()[1]), json.loads(rest[:size])))
        rest = rest[size:]
    return answers


def has_ended(client: socket.socket) -> bool:
    """Tell whether the server closes a connection instead of saying more."""
    try:
        return client.recv(65536) == b""
    except ConnectionError:
        return True


def head(server: ServerHandle, line: str, *headers: str, key: str | None = None) -> bytes:
    """Write the head of a request that the server lets in, with this key or the admin's."""
    let_in = f"Authorization: Bearer {key or server.api_key}"
    return "\r\n".join((f"{line} HTTP/1.1", "Host: localhost", let_in, *headers, "", "")).encode()


def begin_a_run(server: ServerHandle, key: str | None = None) -> str:
    """Make the run p/r of the key's user; returns its entity."""
    query = 'mutation{upsertBucket(input:{name:"r",modelName:"p"}){bucket{project{entity{name}}}}}'
    body = json.dumps({"query": query}).encode()
    asked = head(
        server, "POST /graphql", f"Content-Length: {len(body)}", "Connection: close", key=key
    )
    ((_, answer),) = say(server, asked + body)
    entity: str = answer["data"]["upsertBucket"]["bucket"]["project"]["entity"]["name"]
    return entity


@pytest.fixture
def hasty(start_server: Callable[..., ServerHandle]) -> ServerHandle:
    """A server that bears no silence."""
    return start_server(patience=PATIENCE)


def test_a_body_that_never_comes_is_not_waited_for(hasty: ServerHandle) -> None:
    routes = (
        "POST /graphql",
        "POST /api/v1/ingest",
        "POST /api/v1/keys",
        "POST /api/v1/projects",
        "POST /api/v1/login",
    )
    for route in routes:
        asked = head(hasty, route, "Origin: http://localhost", "Content-Length: 100")
        ((status, said),) = say(hasty, asked + b"{}")
        assert (status, said["error"]["code"]) == (408, "too_slow"), route
        chunked = head(hasty, route, "Origin: http://localhost", "Transfer-Encoding: chunked")
        ((status, said),) = say(hasty, chunked + b"2\r\n{}\r\n")
        assert status == 408, route
        assert "Nothing was written" in said["error"]["message"]


def test_uploads_and_file_streams_are_not_waited_for_either(hasty: ServerHandle) -> None:
    entity = begin_a_run(hasty)
    for size in (100, 50_000_000):
        upload = head(hasty, f"PUT /files/{entity}/p/r/a.txt", f"Content-Length: {size}")
        ((status, _),) = say(hasty, upload + b"abc")
        assert status == 408
    stream = head(hasty, f"POST /files/{entity}/p/r/file_stream", "Content-Length: 100")
    ((status, _),) = say(hasty, stream + b"{")
    assert status == 408


def test_a_head_that_never_ends_is_not_waited_for(hasty: ServerHandle) -> None:
    ((status, said),) = say(hasty, b"GET /ready HTTP/1.1\r\nHost: localhost\r\n")
    assert (status, said["error"]["code"]) == (408, "too_slow")


def test_a_head_has_a_bound_as_a_whole(server: ServerHandle) -> None:
    begun = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    many = begun + LINE * 8
    ((status, said),) = say(server, many, b"X: " + b"a" * (connection._MAX_HEAD - len(many) - 2))
    assert (status, said["error"]["code"]) == (431, "head_too_large")
    ((status, _),) = say(server, begun, *[LINE] * 7, b"\r\n")
    assert status == 200
    # Bodies are no heads, nor is what comes after one.
    length = f"Content-Length: {2 * 10**5}"
    body = head(server, "POST /graphql", length) + bytes(10**5)
    answers = say(server, body, bytes(10**5), begun, b"\r\n")
    assert [status for status, _ in answers] == [400, 200]


def test_a_head_behind_a_request_that_is_being_answered_has_it_too(server: ServerHandle) -> None:
    entity = begin_a_run(server)
    live = head(server, f"GET /api/v1/runs/{entity}/p/r/live")
    with connected(server) as client:
        client.sendall(live)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(ConnectionError):
            client.sendall(LINE * 100)
        assert has_ended(client)


def test_silent_strangers_keep_nobody_out(
    start_server: Callable[..., ServerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_STRANGERS", 3)
    server = start_server()
    asked = head(server, "GET /api/v1/viewer")
    with connected(server) as known, ExitStack() as silent:
        known.sendall(asked)
        assert known.recv(65536).startswith(b"HTTP/1.1 200")
        oldest = silent.enter_context(connected(server))
        others = [silent.enter_context(connected(server)) for _ in range(6)]
        assert has_ended(oldest)
        others[-1].sendall(asked)
        assert others[-1].recv(65536).startswith(b"HTTP/1.1 200")
        known.sendall(asked)
        assert known.recv(65536).startswith(b"HTTP/1.1 200"), "who was let in is no stranger"


def test_a_connection_takes_one_request_after_another(hasty: ServerHandle) -> None:
    one = head(hasty, "GET /api/v1/viewer")
    last = head(hasty, "GET /api/v1/viewer", "Connection: close")
    assert [status for status, _ in say(hasty, one + one, last)] == [200, 200, 200]


def test_only_silence_and_a_trickle_end_a_body() -> None:
    assert still(30, 0, 0) == 30
    assert still(30, 3600, 10 * 2**20) == 30, "an hour of steady upload goes on"
    assert still(30, 29, 0) == 1
    assert still(30, 300, 300) <= 0, "a byte a second does not"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", "bad_request"),
        (
            b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "bad_request",
        ),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "bad_request"),
    ],
    ids=["negative length", "both lengths", "long address", "long header", "no HTTP"],
)
def test_what_is_no_request_is_refused_in_the_one_shape(
    server: ServerHandle, caplog: pytest.LogCaptureFixture, asked: bytes, code: str
) -> None:
    with caplog.at_level(logging.INFO):
        ((status, said),) = say(server, asked)
    assert (status, said["error"]["code"]) == (400, code)
    assert "Nothing was written" in said["error"]["message"]
    (record,) = [one for one in caplog.records if one.levelno >= logging.INFO]
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


def test_a_broken_chunk_has_one_answer(
    hasty: ServerHandle, caplog: pytest.LogCaptureFixture
) -> None:
    asked = head(hasty, "POST /graphql", "Transfer-Encoding: chunked")
    more = head(hasty, "POST /graphql", "Transfer-Encoding: chunked", "Expect: 100-continue")
    stranger = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with caplog.at_level(logging.INFO):
        ((status, said),) = say(hasty, asked + b"zz\r\n{}\r\n0\r\n\r\n")
        # aiohttp's parser in C does not tell a handler that waits already: its patience ends.
        ((late, _),) = answers_of(converse(hasty, more, b"2\r\n{}\r\nzz\r\n"))
        refused, *_ = answers_of(converse(hasty, stranger, b"zz\r\n"))
    assert (status, said["error"]["code"]) == (400, "bad_request")
    assert late in (400, 408)
    assert refused[0] == 401
    assert all(one.levelno <= logging.INFO for one in caplog.records)


def test_more_than_the_length_says_is_no_request(server: ServerHandle) -> None:
    asked = head(server, "POST /graphql", "Content-Length: 2")
    ((status, said),) = say(server, asked + b'{"query": "{viewer{id}}"}')
    assert (status, said["error"]["code"]) == (400, "bad_request")


UNDOCUMENTED = {
    "connection_lost": ["exc"],
    "connection_made": ["transport"],
    "data_received": ["data"],
    "finish_response": ["request", "resp", "start_time"],
    "force_close": [],
    "handle_error": ["request", "status", "exc", "message"],
    "log_exception": ["args", "kw"],
}
"""what `Connection` overrides or calls of aiohttp's `RequestHandler`"""


@pytest.mark.parametrize("name", sorted(UNDOCUMENTED))
def test_what_is_overridden_of_aiohttp_is_as_it_was(name: str) -> None:
    _, *parameters = inspect.signature(getattr(web.RequestHandler, name)).parameters
    assert parameters == UNDOCUMENTED[name]


def test_all_that_is_overridden_of_aiohttp_is_named() -> None:
    taken = vars(Connection).keys() & set(dir(web.RequestHandler)) - set(dir(object))
    assert taken - {"__module__"} <= UNDOCUMENTED.keys()


async def _refuse(_: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError


@pytest.mark.anyio
async def test_what_else_is_used_of_aiohttp_is_there() -> None:
    settings = inspect.signature(web.RequestHandler).parameters
    asked = {"loop", "access_log", "auto_decompress", "keepalive_timeout", "lingering_time"}
    assert asked <= settings.keys()
    assert callable(web.Server(_refuse).request_factory)
    assert "_messages" in web.RequestHandler.__slots__
    assert issubclass(LineTooLong, HttpProcessingError)
    assert isinstance(EMPTY_PAYLOAD, StreamReader)
    assert EMPTY_PAYLOAD.is_eof()
    assert "total_bytes" in dir(StreamReader)
    assert list(inspect.signature(AsyncStreamIterator).parameters) == ["read_func"]


def test_the_server_admits_only_the_release_of_aiohttp_that_this_was_run_with() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    (said,) = (one for one in project["optional-dependencies"]["server"] if "aiohttp" in one)
    bounds = re.fullmatch(r"aiohttp>=(\d+)\.(\d+),<(\d+)\.(\d+)", said)
    assert bounds is not None
    major, minor, before_major, before_minor = map(int, bounds.groups())
    assert (before_major, before_minor) == (major, minor + 1)
    assert aiohttp.__version__.startswith(f"{major}.{minor}.")
