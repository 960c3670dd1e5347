"""The page under a path of its host, where a proxy serves it beside other things."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from playwright.sync_api import Page, expect

from tests.fix_server import ServerHandle
from tests.fix_web import WebServer

pytestmark = pytest.mark.timeout(180)

T = TypeVar("T")

BASE = "/tracker"
_LOG = """
import asyncwb, pathlib, sys
with asyncwb.init(project="vision", id="seen") as run:
    for step in range(50):
        run.log({"loss": 1 / (step + 1)})
    pathlib.Path("notes.txt").write_text("what was seen")
    run.save("notes.txt")
"""
_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c626001000000050001a5f645400000000049454e44ae426082"
)


class PathProxy:
    """Passes on what is under BASE, without BASE; notes what was asked for beside it."""

    def __init__(self) -> None:
        self.target = ""
        self.strays: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._runner = self._call(self._start())
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def stop(self) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=2**25)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        if not path.startswith(f"{BASE}/"):
            self.strays.append(path)
            raise web.HTTPNotFound
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.target + path.removeprefix(BASE), headers=headers,
                data=await request.read() or None, allow_redirects=False,
            ) as answer,
        ):  # fmt: skip
            dropped = ("transfer-encoding", "content-length", "connection")
            kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in dropped]
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response


@pytest.fixture
def proxy() -> Iterator[PathProxy]:
    made = PathProxy()
    yield made
    made.stop()


def test_every_address_stays_under_the_path(
    wide: Page,
    built_page: None,
    proxy: PathProxy,
    start_server: Callable[..., ServerHandle],
    tmp_path: Path,
) -> None:
    handle = start_server(public_url=f"{proxy.url}{BASE}")
    proxy.target = handle.url
    direct = WebServer(handle.url, handle.api_key)
    direct.run_python(_LOG, tmp_path)
    entity = direct.entity
    picture = f"/files/{entity}/vision/seen/media/seen.png"
    direct.ask("PUT", picture, _PICTURE)

    wide.goto(f"{proxy.url}{BASE}/")
    wide.get_by_label("API key").fill(handle.api_key)
    wide.get_by_role("button", name="Sign in").click()
    wide.get_by_role("link", name="vision").click()
    expect(wide).to_have_url(f"{proxy.url}{BASE}/{entity}/vision")
    wide.get_by_test_id("runs").get_by_role("link", name="seen").click()
    expect(wide).to_have_url(f"{proxy.url}{BASE}/{entity}/vision/runs/seen")
    plot = wide.locator('[data-testid="chart"][data-key="loss"] .plot')
    expect(plot).to_have_attribute("data-points", "50")

    wide.get_by_test_id("tab-files").click()
    wide.get_by_role("button", name="notes.txt").click()
    expect(wide.get_by_test_id("preview")).to_contain_text("what was seen")
    with wide.expect_download() as download:
        wide.get_by_role("link", name="Download notes.txt").click()
    assert Path(download.value.path()).read_text() == "what was seen"

    wide.get_by_role("navigation").get_by_role("link", name="vision").click()
    wide.get_by_role("link", name="Reports").click()
    wide.get_by_role("link", name="New report").click()
    wide.get_by_label("Title").fill("What was seen")
    wide.get_by_label("Markdown").fill(
        f"![a picture]({picture}) ![another]({BASE}{picture}) ![a trap](/login?token=abc)\n\n"
        f"[its run](/{entity}/vision/runs/seen)"
    )
    wide.get_by_role("button", name="Save").click()
    expect(wide.get_by_test_id("report-title")).to_have_text("What was seen")
    images = wide.get_by_test_id("report").locator("img")
    expect(images).to_have_count(2)
    for image in images.all():
        assert image.get_attribute("src") == BASE + picture
        expect(image).to_have_js_property("naturalWidth", 1)

    wide.get_by_test_id("report").get_by_role("link", name="its run").click()
    expect(plot).to_have_attribute("data-points", "50")
    wide.go_back()
    expect(wide.get_by_test_id("report-title")).to_have_text("What was seen")
    wide.reload()
    expect(wide.get_by_test_id("report-title")).to_have_text("What was seen")
    wide.get_by_role("link", name="asyncwb: all projects").click()
    expect(wide).to_have_url(f"{proxy.url}{BASE}/")
    expect(wide.get_by_role("heading", name="Projects")).to_be_visible()

    # Browsers look for an icon by themselves, at the root of the host; nothing else goes there.
    assert [path for path in proxy.strays if urlsplit(path).path != "/favicon.ico"] == []
