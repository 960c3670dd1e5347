"""A report is written, shows runs that are still logging, and is read by the public API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fix_web import LiveRun, WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)

_TEXT = """## What we saw

<img src=x onerror=alert(1)> and [a trap](javascript:alert(1)),
[a place](https://example.org/) and ![a picture](https://example.org/a.png)

```panel
metrics: loss, train/accuracy
title: Both
runs: {run}
---
metrics: val/score
x: relative
```

The end."""
_READ = """
import asyncwb, json, sys
report = asyncwb.Api().reports(sys.argv[1])[0]
runs = [run.id for run in report.runs(report.sections[0])]
print(json.dumps([report.display_name, [b["type"] for b in report.spec["blocks"]], runs]))
"""


def test_a_report_is_written_moves_and_goes(
    wide: Page, narrow: Page, web_server: WebServer, live_run: LiveRun, tmp_path: Path
) -> None:
    project, name = live_run.path.split("/runs/")
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}{project}/reports")
    wide.get_by_role("link", name="New report").click()
    wide.get_by_label("Title").fill("Losses of today")
    text = _TEXT.format(run=name)
    area = wide.get_by_label("Markdown")
    area.fill("```panel\nmetric: loss\n```")
    expect(wide.get_by_test_id("report-problem")).to_contain_text("no setting of a panel")
    area.fill(text)
    expect(wide.get_by_test_id("report-problem")).to_have_count(0)
    expect(wide.get_by_test_id("line-chart")).to_have_count(2)
    wide.get_by_role("button", name="Save").click()

    expect(wide.get_by_test_id("report-title")).to_have_text("Losses of today")
    report = wide.get_by_test_id("report")
    expect(report).to_contain_text("<img src=x onerror=alert(1)>")
    assert report.locator("img, a[href^=javascript]").count() == 0
    chart = report.locator('[data-title="Both"]')
    expect(chart).not_to_have_attribute("data-last-x", "-Infinity")
    over = chart.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    wide.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    wide.mouse.down()
    wide.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50, steps=4)
    wide.mouse.up()
    expect(chart.get_by_role("button", name="Reset zoom")).to_be_visible()
    over.dblclick()
    expect(chart.get_by_role("button", name="Reset zoom")).to_have_count(0)

    before = float(chart.get_attribute("data-last-x") or 0)
    expect(chart).not_to_have_attribute("data-last-x", f"{before:g}")
    assert float(chart.get_attribute("data-last-x") or 0) > before
    live_run.finish()
    final = web_server.ask("GET", live_run.api)["last_step"]
    expect(chart).to_have_attribute("data-last-x", str(final))

    web_server.sign_in(narrow)
    narrow.goto(wide.url)
    expect(narrow.locator('[data-title="Both"]')).to_have_attribute("data-last-x", str(final))
    assert fits(narrow)

    said = json.loads(web_server.run_python(_READ, tmp_path, project.lstrip("/")))
    assert said == ["Losses of today", ["markdown-block", "panel-grid", "markdown-block"], [name]]

    wide.get_by_role("button", name="Edit").click()
    expect(area).to_have_value(text)
    area.fill("Only this.")
    wide.get_by_role("button", name="Cancel").click()
    wide.get_by_role("button", name="Cancel").last.click()  # the question's: stay
    wide.get_by_role("button", name="Save").click()
    expect(report).to_have_text("Only this.")
    wide.get_by_role("button", name="Delete").click()
    wide.get_by_test_id("ask-yes").click()
    expect(wide.get_by_role("link", name="New report")).to_be_visible()
    expect(wide.get_by_role("link", name="Losses of today")).to_have_count(0)


@pytest.mark.parametrize("slug", ["nope", "Title--Vmlld", "Gone--Vmlldzo5OTk5"])
def test_a_report_that_is_not_there_says_so(wide: Page, web_server: WebServer, slug: str) -> None:
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/{web_server.entity}/vision/reports/{slug}")
    expect(wide.get_by_role("alert")).to_contain_text("There is no such report")
    expect(wide.get_by_role("link", name="All reports")).to_be_visible()


def test_a_report_of_another_tool_is_shown_and_kept(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    project = done_run.path.split("/runs/")[0]
    _, entity, name = project.split("/")
    blocks = [
        {"type": "heading", "level": 1, "children": [{"text": "Made elsewhere"}]},
        {"type": "paragraph", "children": [{"text": "1 * 2 is "}, {"text": "two", "bold": True}]},
        {"type": "video", "url": "https://example.org/v.mp4"},
    ]
    mutation = "mutation M($input: UpsertViewInput!) { upsertView(input: $input) { view { id } } }"
    sent = {"entityName": entity, "projectName": name, "displayName": "Foreign", "type": "runs"}
    spec = json.dumps({"version": 5, "blocks": blocks, "ref": {"kept": 1}})
    body = {"query": mutation, "variables": {"input": {**sent, "spec": spec}}}
    view = web_server.ask("POST", "/graphql", body)["data"]["upsertView"]["view"]["id"]

    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}{project}/reports")
    wide.get_by_role("link", name="Foreign").click()
    report = wide.get_by_test_id("report")
    expect(report.get_by_role("heading", name="Made elsewhere")).to_be_visible()
    expect(report).to_contain_text("1 * 2 is two")
    expect(report).to_contain_text("“video” is not shown here")
    wide.get_by_role("button", name="Edit").click()
    wide.get_by_label("Title").fill("Foreign, edited")
    wide.get_by_role("button", name="Save").click()
    expect(wide.get_by_test_id("report-title")).to_have_text("Foreign, edited")

    query = {"query": "query Q($id: ID!) { view(id: $id) { spec } }", "variables": {"id": view}}
    kept = json.loads(web_server.ask("POST", "/graphql", query)["data"]["view"]["spec"])
    assert kept["blocks"][-1] == blocks[-1]
    assert kept["ref"] == {"kept": 1}
