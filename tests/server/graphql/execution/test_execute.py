"""What a GraphQL request may cost, and what it is told when it fails: never a 5xx."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ariadne import QueryType, make_executable_schema
from graphql import get_introspection_query
from sqlalchemy.exc import OperationalError

from asyncwb.server.graphql import MAX_BODY
from asyncwb.server.graphql.execution.context import Context
from asyncwb.server.graphql.execution.execute import Executor, Request
from asyncwb.server.http.errors import ApiError
from tests.fix_server import ServerHandle
from tests.server.graphql.asking import ask, codes, data, post

BAD_BODIES = {
    "no JSON": b"{",
    "a list": b"[]",
    "a batch": b'[{"query": "{viewer{id}}"}]',
    "no query": b"{}",
    "a query that is no text": b'{"query": 1}',
    "bytes that are no text": b'{"query": "\xff"}',
    "deep": b'{"query": "{viewer{id}}", "variables": ' + b"[" * 5000 + b"]" * 5000 + b"}",
}


def test_the_viewer_by_any_way_to_write_it(server: ServerHandle) -> None:
    for extra in ({}, {"operationName": ""}, {"operationName": None}, {"variables": None}):
        body = json.dumps({"query": "query Who { viewer { username } }", **extra}).encode()
        status, answer = post(server, body, server.headers)
        assert status == 200
        assert list(answer["data"]["viewer"]) == ["username"]


def test_of_several_operations_the_named_one_runs(server: ServerHandle) -> None:
    both = "query A { viewer { id } } query B { viewer { name } }"
    for name, field in (("A", "id"), ("B", "name")):
        body = json.dumps({"query": both, "operationName": name}).encode()
        assert list(post(server, body, server.headers)[1]["data"]["viewer"]) == [field]
    assert "Must provide operation name" in ask(server, both)["errors"][0]["message"]


def test_what_is_no_request_is_a_400(server: ServerHandle) -> None:
    for what, body in BAD_BODIES.items():
        status, answer = post(server, body, server.headers)
        assert (status, answer["error"]["code"]) == (400, "bad_request"), what


def test_a_body_is_bounded(server: ServerHandle) -> None:
    status, answer = post(server, b" " * (MAX_BODY + 1), server.headers)
    assert (status, answer["error"]["code"]) == (413, "body_too_large")


def test_without_a_key_nothing_is_told(server: ServerHandle) -> None:
    for headers in ({}, {"Authorization": "Bearer " + "x" * 43}):
        status, answer = post(server, b'{"query": "{viewer{id}}"}', headers)
        assert (status, answer["error"]["code"]) == (401, "unauthorized")


def test_unknown_names_are_told_in_the_words_that_clients_look_for(server: ServerHandle) -> None:
    errors = ask(server, "{ serverInfo { nothing } }")["errors"]
    assert errors[0]["message"] == 'Cannot query field "nothing" on type "ServerInfo".'
    assert errors[0]["locations"] == [{"line": 1, "column": 16}]
    wrong = ask(server, "query ($n: Int) { project(name: $n) { id } }", n=1)
    assert 'Variable "$n" of type "Int" used in position' in wrong["errors"][0]["message"]


WRONG_VARIABLES: list[tuple[Any, str]] = [
    ([1], "`variables` must be a JSON object."),
    ("x", "`variables` must be a JSON object."),
    ({"n": 1}, "String cannot represent a non string value"),
    ({"n": ["a"]}, "String cannot represent a non string value"),
    ({"n": {}}, "String cannot represent a non string value"),
    ({"n": "a\0b"}, "NUL"),
]

BOUNDED = {
    "deep": "{a" + "{a" * 60 + "}" * 60 + "}",
    "deeper than the parser": "{a" + "{a" * 3000 + "}" * 3000 + "}",
    "deep values": '{project(name: "", filters: ' + "[" * 3000 + "]" * 3000 + ") {id}}",
    "wide": "{viewer{" + "id " * 2000 + "}}",
    "aliases": "{" + " ".join(f"a{i}: viewer {{id}}" for i in range(1000)) + "}",
    "fragments of fragments": "{viewer{...f0}}"
    + "".join(f" fragment f{i} on User {{id ...f{i + 1} ...f{i + 1}}}" for i in range(60))
    + " fragment f60 on User {id}",
    "a cycle of fragments": "{viewer{...a}} fragment a on User {...b} fragment b on User {...a}",
    "a fragment in itself": "{viewer{...a}} fragment a on User {id ...a}",
    "tokens": "{viewer{" + "id,\n" * 20_000 + "}}",
    "text": '{project(name: "' + "x" * 1_000_000 + '") {id}}',
    "a NUL": '{project(name: "\\u0000") {id}}',
    "nothing": "",
    "no GraphQL": "SELECT 1",
    "a subscription": "subscription { viewer { id } }",
}


def test_absurd_queries_are_refused_at_once(server: ServerHandle) -> None:
    for what, query in BOUNDED.items():
        began = time.monotonic()
        answer = ask(server, query)
        assert answer["data"] is None, what
        assert answer["errors"], what
        assert time.monotonic() - began < 10, what


def test_introspection_fits_and_does_not_nest_without_end(server: ServerHandle) -> None:
    found = data(server, get_introspection_query())
    assert found["__schema"]["queryType"]["name"] == "Query"
    nested = "ofType{" * 40 + "name" + "}" * 40
    assert codes(ask(server, "{__schema{types{" + nested + "}}}")) == ["too_deep"]


def test_variables_of_a_wrong_type(server: ServerHandle) -> None:
    query = "query ($n: String) { project(name: $n) { id } }"
    for variables, said in WRONG_VARIABLES:
        body = json.dumps({"query": query, "variables": variables}).encode()
        status, answer = post(server, body, server.headers)
        assert status == 200
        assert answer["data"] is None
        assert said in answer["errors"][0]["message"], variables
    query = "query ($first: Int) { users(first: $first) { edges { cursor } } }"
    for first in (2**31, -1, "1", 1.5, 10**30):
        assert len(ask(server, query, first=first)["errors"]) == 1, first


async def _executor(resolve: Any, max_seconds: float = 30.0) -> AsyncIterator[dict[str, Any]]:
    query = QueryType()
    query.set_field("it", resolve)
    executor = Executor(make_executable_schema("type Query { it: Int }", query), max_seconds)
    nobody: Any = None
    yield await executor.answer(Request("{it}"), Context(nobody, nobody, nobody, ""))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ApiError(403, "forbidden", "No."), "forbidden", "No."),
        (RuntimeError("secret"), "internal", "internal error"),
        (OperationalError("secret", {}, Exception()), "storage_unavailable", "storage"),
        (RecursionError("secret"), "internal", "internal error"),
    ],
)
async def test_what_a_resolver_raises(
    error: Exception, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> int:
        raise error

    async for answer in _executor(fail):
        assert answer["data"] == {"it": None}
        assert codes(answer) == [code]
        assert message in answer["errors"][0]["message"]
        assert "secret" not in json.dumps(answer)
    assert bool(caplog.records) == (code != "forbidden")


@pytest.mark.anyio
async def test_time_is_bounded() -> None:
    async def wait(*_: object) -> int:
        await asyncio.Event().wait()
        raise AssertionError

    async for answer in _executor(wait, max_seconds=0.05):
        assert codes(answer) == ["timeout"]
