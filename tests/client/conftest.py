"""A server for the faces, and runs that log to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from asyncwb.settings import Settings
from tests.fix_server import ServerHandle

_direct = build_opener(ProxyHandler({}))

Ask = Callable[[str], Any]
"""`ask("runs/{entity}/p/r1")` gets JSON from the server; None where there is no such thing."""


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run what awaits a face under every loop that a program may have."""
    return request.param


@pytest.fixture
def to_server(server: ServerHandle) -> Settings:
    """Settings of a run that logs to the server under test, and is done with it soon."""
    return Settings(
        base_url=server.url,
        api_key=server.api_key,
        flush_interval=0.01,
        finish_timeout=60,
        detach_uploader=False,
    )


@pytest.fixture
def ask(server: ServerHandle) -> Ask:
    """Ask the server under test what it has."""

    def get(path: str) -> Any:
        if "{entity}" in path:
            path = path.replace("{entity}", get("viewer")["entity"])
        request = Request(f"{server.url}/api/v1/{path}", headers=server.headers)
        try:
            with _direct.open(request, timeout=10) as response:
                return json.loads(response.read())
        except HTTPError as error:
            if error.code != 404:
                raise
            return None

    return get


@pytest.fixture
def rows_of(server: ServerHandle, ask: Ask) -> Callable[[str], list[dict[str, Any]]]:
    """Read the history of a run in project "p", without its times."""

    def get(run: str) -> list[dict[str, Any]]:
        entity = ask("viewer")["entity"]
        url = f"{server.url}/api/v1/runs/{entity}/p/{run}/history?format=jsonl"
        with _direct.open(Request(url, headers=server.headers), timeout=10) as response:
            rows = [json.loads(line) for line in response.read().splitlines()]
        times = ("_timestamp", "_runtime")
        return [{k: v for k, v in row.items() if k not in times} for row in rows]

    return get
