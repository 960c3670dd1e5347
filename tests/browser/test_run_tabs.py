"""What a run has beside its charts: a way to stop it, its files, console and system metrics."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from playwright.sync_api import Page, expect

from tests.fix_web import DEADLINE, LiveRun, WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)  # a page beside other tests on two cores takes its time


def _png(width: int, height: int) -> bytes:
    rows = b"".join(b"\0" + bytes(3 * width) for _ in range(height))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_stop_asks_once_and_ends_the_program(
    wide: Page, web_server: WebServer, live_run: LiveRun
) -> None:
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}{live_run.path}")
    stop = wide.get_by_role("button", name="Stop", exact=True)
    stop.click()
    expect(wide.get_by_role("dialog")).to_contain_text("Stop <b>first</b> run?")
    wide.keyboard.press("Escape")
    expect(wide.get_by_role("dialog")).to_have_count(0)
    assert web_server.ask("GET", live_run.api)["state"] == "running"

    stop.click()
    wide.get_by_test_id("ask-yes").click()
    expect(wide.get_by_test_id("state")).to_have_text("killed")
    expect(stop).to_have_count(0)
    expect(wide.get_by_test_id("stopping")).to_have_count(0)
    live_run.process.wait(DEADLINE)


def test_an_alert_is_shown_as_text(
    wide: Page, narrow: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    _, entity, project, _, run = done_run.path.split("/")
    mutation = "mutation A($input: NotifyScriptableRunAlertInput!) " + (
        "{ notifyScriptableRunAlert(input: $input) { success } }"
    )
    place = {"entityName": entity, "projectName": project, "runName": run}
    for title, level in (("first", "INFO"), ("<b>loss is NaN</b>", "ERROR")):
        alert = {"title": title, "text": f"about {title}", "severity": level}
        variables = {"input": {**place, **alert}}
        answer = web_server.ask("POST", "/graphql", {"query": mutation, "variables": variables})
        assert "errors" not in answer
    for page in (wide, narrow):
        web_server.sign_in(page)
        page.goto(f"{web_server.url}{done_run.path}")
        alerts = page.get_by_test_id("alerts")
        expect(alerts.locator("summary")).to_contain_text("error <b>loss is NaN</b>")
        expect(alerts.locator("summary")).to_contain_text("and 1 more")
        alerts.locator("summary").click()
        expect(alerts.get_by_text("about first")).to_be_visible()
        assert fits(page)


def test_files_are_looked_at_in_place_and_downloaded(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    at = f"/files{done_run.path.replace('/runs/', '/')}"
    hostile = b"<script>alert(1)</script>"
    contents = {
        "media/%23%20a%20picture.png": _png(8, 5),
        "page.html": hostile,
        "weights.bin": b"\0" * 2048,
    }
    for name, content in contents.items():
        web_server.ask("PUT", f"{at}/{name}", content)

    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}{done_run.path}?tab=files")
    files = wide.get_by_test_id("files")
    expect(files.get_by_role("listitem")).to_have_count(3)
    expect(files).to_contain_text("2.00 KiB")

    files.get_by_role("button", name="page.html").click()
    expect(files.get_by_test_id("preview")).to_have_text(hostile.decode())
    files.get_by_role("button", name="media/# a picture.png").click()
    picture = files.get_by_role("img", name="media/# a picture.png")
    expect(picture).to_have_js_property("naturalWidth", 8)
    expect(files.get_by_role("button", name="weights.bin")).to_have_count(0)
    with wide.expect_download() as download:
        files.get_by_role("link", name="Download weights.bin").click()
    assert download.value.suggested_filename == "weights.bin"
    assert download.value.path().read_bytes() == contents["weights.bin"]

    files.get_by_label("Find a file").fill("html")
    expect(files.get_by_role("listitem")).to_have_count(1)


def test_the_console_is_followed_and_goes_back(
    wide: Page, narrow: Page, web_server: WebServer, live_run: LiveRun
) -> None:
    stream = f"/files{live_run.path.replace('/runs/', '/')}/file_stream"
    lines = [f"2026-01-02T03:04:05.000000 line {n}" for n in range(1200)]
    said = ["ERROR 2026-01-02T03:04:05.000000 \x1b[31m10%\r<b>oh</b>\x1b[0m"]
    system = [
        json.dumps({"_timestamp": 1e9 + n, "_runtime": n, "system.cpu": n, "system.gpu.0.temp": 9})
        for n in range(20)
    ]
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}{live_run.path}?tab=logs")
    expect(wide.get_by_test_id("state")).to_have_text("running")
    web_server.ask(
        "POST",
        stream,
        {
            "files": {
                "output.log": {"offset": 0, "content": lines + said},
                "wandb-events.jsonl": {"offset": 0, "content": system},
            }
        },
    )
    log = wide.get_by_role("log")
    expect(log.get_by_text("<b>oh</b>", exact=True)).to_be_in_viewport()
    expect(log.get_by_text("line 100", exact=True)).to_have_count(0)
    wide.get_by_role("button", name="Earlier lines").click()
    expect(log.get_by_text("line 0", exact=True)).to_have_count(1)
    expect(wide.get_by_role("button", name="Earlier lines")).to_have_count(0)

    added = {"files": {"output.log": {"offset": len(lines) + 1, "content": ["and more"]}}}
    web_server.ask("POST", stream, added)
    expect(log.get_by_text("and more")).to_have_count(1)

    wide.get_by_test_id("tab-system").click()
    charts = wide.get_by_test_id("system").get_by_test_id("line-chart")
    expect(charts).to_have_count(2)
    expect(charts.first).to_have_attribute("data-title", "cpu")
    expect(charts.first).to_have_attribute("data-last-x", "19")

    web_server.sign_in(narrow)
    for tab, found in (("files", "no files"), ("logs", "and more"), ("system", "cpu")):
        narrow.goto(f"{web_server.url}{live_run.path}?tab={tab}")
        expect(narrow.get_by_role("main")).to_contain_text(found)
        assert fits(narrow)
