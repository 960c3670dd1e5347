"""The pages' addresses, and what their headers have the browser ask for."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession

from asyncwb.server.http.pages import FIRST_METRICS
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("run", ["r", "a b(c)'!*~", "é&?#%2F"])
async def test_a_runs_page_has_the_first_names_of_its_metrics_asked_for(
    server: ServerHandle, run: str
) -> None:
    """Under the address that encodeURIComponent makes of them in the page's scripts."""
    encoded = {"r": "r", "a b(c)'!*~": "a%20b(c)'!*~", "é&?#%2F": "%C3%A9%26%3F%23%252F"}[run]
    async with (
        ClientSession() as client,
        client.get(f"{server.url}/root/p/runs/{encoded.replace('(', '%28')}") as answer,
    ):
        link = answer.headers["Link"]
    wanted = f"/api/v1/runs/root/p/{encoded}/metrics?first={FIRST_METRICS}"
    assert link == f"<{wanted}>; rel=preload; as=fetch; crossorigin"


async def test_other_pages_ask_for_nothing(server: ServerHandle) -> None:
    async with ClientSession() as client, client.get(f"{server.url}/root/p") as answer:
        assert answer.status == 200
        assert "Link" not in answer.headers
