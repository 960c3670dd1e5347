"""Servers that fail, and addresses that lead elsewhere: what is asked again, and what is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from asyncwb.apis.public import Api, File
from asyncwb.errors import AuthenticationError, CommError, Error, FilterError, NotFoundError

OK = {"data": {"viewer": {"entity": "me"}}}


@dataclass
class Scripted:
    """Answers requests from a list: (status, JSON or bytes or a target to redirect to)."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    lie: int = 0
    url: str = ""


def _handler(script: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append((self.command, self.path, self.headers.get("Authorization")))
            status, said = script.answers.pop(0)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", said)
            self.send_header("Content-Length", str(len(body) + script.lie))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    return Handler


@pytest.fixture
def start() -> Iterator[Callable[..., Scripted]]:
    """Start servers that answer as they are told."""
    with ExitStack() as stack:

        def begin(*answers: tuple[int, Any]) -> Scripted:
            script = Scripted(list(answers))
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _handler(script)))
            script.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return script

        yield begin


def api_of(script: Scripted, timeout: float = 10) -> Api:
    return Api({"base_url": script.url}, timeout=timeout, api_key="k" * 40)


def test_a_server_without_time_is_asked_again(start: Callable[..., Scripted]) -> None:
    script = start((429, {}), (503, {}), (502, {}), (504, {}), (200, OK))
    assert api_of(script).default_entity == "me"
    assert [path for _, path, _ in script.asked] == ["/graphql"] * 5
    assert script.asked[0][2] is not None
    assert script.asked[0][2].startswith("Basic ")


def test_a_change_that_may_have_happened_is_not_sent_twice(start: Callable[..., Scripted]) -> None:
    script = start((503, {}), (502, {"errors": [{"message": "half way"}]}))
    with pytest.raises(CommError, match="half way") as caught:
        api_of(script).create_project("p", "me")
    assert caught.value.status == 502
    assert len(script.asked) == 2


def test_patience_ends_with_the_timeout(start: Callable[..., Scripted]) -> None:
    script = start(*[(503, {"error": {"code": "busy", "message": "later"}})] * 50)
    with pytest.raises(CommError, match="later") as caught:
        _ = api_of(script, timeout=0.4).viewer
    assert caught.value.code == "busy"


@pytest.mark.parametrize(
    ("status", "said", "kind", "message"),
    [
        (200, {"data": None, "errors": [{"message": "no field"}]}, CommError, "no field"),
        (200, {"errors": [{"message": "a"}, {"message": "b"}], "data": {}}, CommError, "a; b"),
        (
            200,
            {"errors": [{"message": "$x", "extensions": {"code": "bad_filter"}}]},
            FilterError,
            "x",
        ),
        (
            200,
            {"errors": [{"message": "?", "extensions": {"code": "project_not_found"}}]},
            NotFoundError,
            r"\?",
        ),
        (200, {"data": {"viewer": None}}, AuthenticationError, "API key"),
        (200, {"data": 3}, CommError, "without data"),
        (200, [], CommError, "no object"),
        (200, b"<html>", CommError, "not JSON"),
        (
            401,
            {"error": {"code": "unauthenticated", "message": "who?"}},
            AuthenticationError,
            "who",
        ),
        (404, b"nothing here", CommError, "404"),
        (500, b"", CommError, "500"),
    ],
)
def test_every_bad_answer_is_one_of_our_errors(
    start: Callable[..., Scripted], status: int, said: Any, kind: type[Error], message: str
) -> None:
    with pytest.raises(kind, match=message):
        _ = api_of(start((status, said))).viewer


def file_at(api: Api, url: str) -> File:
    return File(api.client, {"name": "a.txt", "url": url})


def test_the_key_goes_to_the_server_alone(start: Callable[..., Scripted], tmp_path: Path) -> None:
    elsewhere = start((200, b"far"), (200, b"redirected"))
    script = start((200, b"near"), (200, b"whole"), (302, f"{elsewhere.url}/there"))
    api = api_of(script)
    urls = ("/files/a", f"{script.url}/files/b", f"{elsewhere.url}/c", f"{script.url}/files/d")
    for number, url in enumerate(urls):
        file_at(api, url).download(tmp_path / str(number)).close()
    found = [(tmp_path / str(number) / "a.txt").read_text() for number in range(4)]
    assert found == ["near", "whole", "far", "redirected"]
    assert all(key is not None for _, _, key in script.asked)
    assert elsewhere.asked == [("GET", "/c", None), ("GET", "/there", None)]


def test_another_api_downloads_with_its_own_key(
    start: Callable[..., Scripted], tmp_path: Path
) -> None:
    script = start((200, b"mine"), (200, b"theirs"))
    file, other = file_at(api_of(script), "/a"), Api({"base_url": script.url}, api_key="o" * 40)
    file.download(tmp_path).close()
    file.download(tmp_path, replace=True, api=other).close()
    (_, _, first), (_, _, second) = script.asked
    assert None not in (first, second)
    assert first != second


def test_a_download_that_breaks_off_leaves_nothing(
    start: Callable[..., Scripted], tmp_path: Path
) -> None:
    script = start((200, b"half"), (403, {}))
    script.lie = 10
    (tmp_path / "a.txt").write_text("before")
    for _ in range(2):
        with pytest.raises(CommError):
            file_at(api_of(script), "/a").download(tmp_path, replace=True)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


@pytest.mark.parametrize(
    ("direct", "uri"),
    [
        ("https://bucket.s3.amazonaws.com/a/b?sig=1", "s3://bucket/a/b"),
        ("https://bucket.s3.eu-west-1.amazonaws.com/a", "s3://bucket/a"),
        ("https://s3.amazonaws.com/bucket/a", "s3://bucket/a"),
        ("https://storage.example.com/a", ""),
        ("s3://bucket/referred", "s3://bucket/referred"),
        (None, ""),
    ],
)
def test_where_a_file_is_in_its_bucket(
    start: Callable[..., Scripted], direct: str | None, uri: str
) -> None:
    attrs = {"name": "a", "directUrl": direct, "url": direct if "referred" in uri else "/x"}
    assert File(api_of(start()).client, attrs).path_uri == uri
