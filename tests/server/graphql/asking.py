"""Sends GraphQL requests to a server under test, as a plain HTTP client does."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.fix_server import ServerHandle


def post(server: ServerHandle, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Send a body to /graphql; returns the status and the answer's JSON."""
    request = urllib.request.Request(f"{server.url}/graphql", body, dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ask(
    server: ServerHandle, query: str, headers: Mapping[str, str] | None = None, /, **variables: Any
) -> dict[str, Any]:
    """Return the whole answer to a query; as the admin, where no headers are given."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    status, answer = post(server, body, server.headers if headers is None else headers)
    assert status == 200, answer
    assert isinstance(answer, dict)
    return answer


def data(
    server: ServerHandle, query: str, headers: Mapping[str, str] | None = None, /, **variables: Any
) -> dict[str, Any]:
    """Return the data of an answer without errors."""
    answer = ask(server, query, headers, **variables)
    assert "errors" not in answer, answer["errors"]
    found: dict[str, Any] = answer["data"]
    return found


def codes(answer: Mapping[str, Any]) -> list[str]:
    """Return the codes of an answer's errors."""
    return [error.get("extensions", {}).get("code", "") for error in answer.get("errors", [])]
