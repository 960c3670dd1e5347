"""One shape for every error, headers on every answer, and what is open to see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from asyncwb.server.http import pages
from asyncwb.server.store.runs.projects import Projects
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, first_frame

pytestmark = pytest.mark.anyio


async def test_every_error_has_the_one_shape(server: ServerHandle) -> None:
    async with connect(server) as client:
        for method, path, status, code in (
            ("GET", "/api/v1/nothing", 404, "not_found"),
            ("GET", "/a/b/c/d/e", 404, "not_found"),
            ("GET", "/api/v1/ingest", 405, "method_not_allowed"),
            ("GET", "/api/v1/runs/x/y/z", 404, "run_not_found"),
            ("GET", "/assets/nothing.js", 404, "not_found"),
            ("GET", "/assets/..%2Findex.html", 404, "not_found"),
        ):
            async with client.session.request(method, path) as answer:
                assert answer.status == status, path
                error = (await answer.json())["error"]
                assert error["code"] == code
                assert error["message"].endswith(".")
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_browser_is_shown_the_page_at_an_unknown_address(server: ServerHandle) -> None:
    async with aiohttp.ClientSession(server.url) as browser:
        for path in ("/a/b/c/d/e", "/a/b/runs"):
            async with browser.get(path, headers={"Accept": "text/html,*/*;q=0.8"}) as answer:
                assert (answer.status, answer.content_type) == (404, "text/html")
                assert answer.headers["Content-Security-Policy"]
            async with browser.get(path) as answer:
                assert (answer.status, answer.content_type) == (404, "application/json")
        async with browser.get("/api/v1/ingest", headers={"Accept": "text/html"}) as answer:
            assert (answer.status, answer.content_type) == (405, "application/json")


async def test_an_unforeseen_error_says_nothing_of_the_inside(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Projects, "figures", fail)
    async with connect(server) as client, client.session.get("/api/v1/projects") as answer:
        assert answer.status == 500
        assert "secret" not in await answer.text()
    assert "secret detail" in caplog.text


async def test_ready_metrics_and_headers(server: ServerHandle) -> None:
    async with connect(server) as client:
        await client.send(first_frame())
        async with client.session.get("/ready") as answer:
            ready = await answer.json()
            assert (ready["status"], ready["ingest"]) == ("ready", 1)
        async with client.session.get("/metrics") as answer:
            text = await answer.text()
            assert "\nasyncwb_ingest_rows_total 10.0\n" in text
            assert 'asyncwb_requests_total{status="2xx"}' in text
        async with client.session.get("/") as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_an_embedded_server_shows_its_metrics(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server(embedded=True)
    async with aiohttp.ClientSession(server.url) as session, session.get("/metrics") as answer:
        assert answer.status == 200


async def test_the_page_and_its_assets(
    server: ServerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "dist"
    monkeypatch.setattr(pages, "DIST", dist)
    async with aiohttp.ClientSession(server.url) as browser:
        async with browser.get("/someone/project") as answer:
            assert "build_page.py" in await answer.text()
        (dist / "assets").mkdir(parents=True)
        (dist / "index.html").write_text("<!doctype html>page")
        (dist / "assets" / "index-abc.js").write_text("1")
        for path in ("/", "/someone", "/someone/p", "/someone/p/runs/r", "/login?token=no"):
            async with browser.get(path) as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
                assert await answer.text() == "<!doctype html>page"
                assert answer.headers["Cache-Control"] == "no-cache"
        async with browser.get("/assets/index-abc.js") as answer:
            assert answer.content_type == "text/javascript"
            assert "immutable" in answer.headers["Cache-Control"]
