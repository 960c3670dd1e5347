"""Runs that no training should have, and some have: the page must not stand still for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.fix_server import ServerHandle
from tests.fix_web import WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)

SOON = 25.0
"""seconds to the first chart on a machine that others keep busy; on one at rest it takes one"""

_EXTREMES = """
import asyncwb
with asyncwb.init(project="odd", id="extremes") as run:
    for step, sign in ((0, 1), (1, -1), (2**62, 1)):
        run.log({
            "": sign, "decades": 1 if sign > 0 else 1e-23, "tiny": 1e-310 * sign,
            "least": 5e-324, "most": 1.7e308 * sign, "flat": 1.7e308, "mixed": 1e-300 * (step + 1),
        }, step=step)
"""
_NAMES = ("", "decades", "tiny", "least", "most", "flat", "mixed")


def test_values_of_every_magnitude_are_drawn_with_axes(
    wide: Page, web_server: WebServer, tmp_path: Path
) -> None:
    web_server.run_python(_EXTREMES, tmp_path)
    web_server.sign_in(wide)
    for query in ("", "?log=1", "?x=time", "?x=relative&log=1"):
        wide.goto(f"{web_server.url}/{web_server.entity}/odd/runs/extremes{query}")
        for name in _NAMES:
            plot = wide.locator(f'[data-testid="chart"][data-key="{name}"] .plot')
            expect(plot).to_have_attribute("data-points", "3")
        # A page that stands still answers nothing.
        wide.get_by_role("button", name="Log", exact=True).click()
        expect(wide.get_by_role("alert")).to_have_count(0)


_ODD_NAMES = (
    *("", " ", "/", "a/", "a//b", "g/ ", ".", "..", "*", "a,b", "a%2Fb", "a&b=c?d#e", "charts/x"),
    *(
        "nul\0",
        "new\nline",
        "back\\slash",
        "dot.ted",
        "\"quo'ted",
        "constructor",
        "emoji\U0001f600",
    ),
    *("<img src=x onerror=alert(1)>", "<script>alert(2)</script>", "\u202ecba", "\u05d0\u05d1"),
    *("x" * 1000, "g/" + "y" * 1000, "z" * 1000 + "/leaf"),
)
_NAMED = """
import asyncwb, json, sys
with asyncwb.init(project="odd", id="named") as run:
    for step in range(3):
        row = {name: step + i for i, name in enumerate(json.loads(sys.argv[1]))}
        run.log(row | {"a": {"b": 1}, "a.b": 2})  # two metrics that read alike
"""
_DRAWN = """(seen) => {
    for (const chart of document.querySelectorAll('[data-testid="chart"]')) {
        const title = chart.querySelector("h3").textContent;
        if (chart.querySelector(".plot").dataset.points === "3" && title.trim() !== "")
            seen.push(chart.dataset.key);
    }
    return seen;
}"""


def test_a_metric_may_have_any_name(
    wide: Page, narrow: Page, web_server: WebServer, tmp_path: Path
) -> None:
    """The pages fail the test where a name becomes a script."""
    web_server.run_python(_NAMED, tmp_path, json.dumps(_ODD_NAMES))
    keys = web_server.ask("GET", f"/api/v1/runs/{web_server.entity}/odd/named/metrics")["key"]
    assert len(keys) == len(_ODD_NAMES) + 2
    for page in (wide, narrow):
        web_server.sign_in(page)
        page.goto(f"{web_server.url}/{web_server.entity}/odd/runs/named")
        expect(page.get_by_test_id("tab-charts")).to_contain_text(str(len(keys)))
        drawn: set[str] = set()
        deadline, top = time.monotonic() + SOON, 0
        while drawn != set(keys):
            assert time.monotonic() < deadline, set(keys) - drawn
            drawn |= set(page.evaluate(_DRAWN, []))
            top = (top + 400) % page.evaluate("document.documentElement.scrollHeight")
            page.evaluate("(top) => scrollTo(0, top)", top)
        expect(page.get_by_role("alert")).to_have_count(0)
        assert fits(page)
    wide.evaluate("scrollTo(0, 0)")
    wide.get_by_test_id("tab-overview").click()
    summary = wide.get_by_test_id("summary")
    expect(summary.get_by_role("rowheader", name="a.b", exact=True)).to_have_count(2)
    for name in ('""', '" "', "<img src=x onerror=alert(1)>"):
        expect(summary.get_by_role("rowheader", name=name, exact=True)).to_have_count(1)


_WIDE = """
import asyncwb, os, sys
many = int(sys.argv[1])
run = asyncwb.init(project="odd", id=f"wide{many}")
for step in range(3):
    run.log({f"group{i // 250}/metric{i}": i * step for i in range(many)})
assert run.flush(timeout=60)
os._exit(0)  # sealing this many would be the longest part of the test
"""
_FIRST_CHART = """() => {
    const plot = document.querySelector('[data-testid="chart"] .plot');
    return plot !== null && plot.dataset.points === "3";
}"""


@pytest.mark.parametrize("many", [10_000, 100_000])
def test_of_many_metrics_only_what_is_in_sight_exists(
    wide: Page,
    narrow: Page,
    built_page: None,
    start_server: Callable[..., ServerHandle],
    tmp_path: Path,
    many: int,
) -> None:
    handle = start_server(crash_after=600.0)  # the run goes on, for all that the server knows
    web_server = WebServer(handle.url, handle.api_key)
    web_server.run_python(_WIDE, tmp_path, str(many))
    for page in (wide, narrow):
        web_server.sign_in(page)
        page.goto(f"{web_server.url}/{web_server.entity}/odd/runs/wide{many}")
        page.wait_for_function(_FIRST_CHART, timeout=1000 * SOON)
        assert page.evaluate("document.querySelectorAll('*').length") < 2000
        assert fits(page)

    tab = wide.get_by_test_id("tab-charts")
    expect(tab).to_contain_text(f"{many:,}")
    wide.get_by_label("Filter metrics").fill(f"metric{many - 1}")
    last = wide.locator(f'[data-key="group{(many - 1) // 250}/metric{many - 1}"]')
    expect(last.locator(".plot")).to_have_attribute("data-points", "3")
    expect(wide.get_by_test_id("chart")).to_have_count(1)
    wide.get_by_label("Filter metrics").fill("")
    expect(last).to_have_count(0)

    # To the end and back: charts come where they are looked at, and go.
    wide.keyboard.press("Escape")
    wide.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(last.locator(".plot")).to_have_attribute("data-points", "3")
    assert wide.evaluate("document.querySelectorAll('*').length") < 2000
    wide.evaluate("scrollTo(0, 0)")
    expect(wide.locator('[data-key="group0/metric0"] .plot')).to_have_attribute("data-points", "3")
    expect(last).to_have_count(0)


_FEW = """
import asyncwb
with asyncwb.init(project="odd", id="many", config={"lr": 0.1}) as run:
    for step in range(3):
        run.log({f"group{i // 250}/metric{i}": i * step for i in range(1000)})
"""


def test_the_first_chart_waits_for_its_own_name_only(
    wide: Page, web_server: WebServer, tmp_path: Path
) -> None:
    """Not for the names of all metrics, nor for config and summary, which may be as large."""
    web_server.run_python(_FEW, tmp_path)
    web_server.sign_in(wide)
    api = f"{web_server.url}/api/v1/runs/{web_server.entity}/odd/many"
    held: list[Route] = []
    values: list[str] = []

    def note(route: Route) -> None:
        values.append(route.request.url.removeprefix(api).partition("?")[0])
        route.continue_()

    wide.route(f"{api}/metrics", lambda route: held.append(route))
    wide.route(f"{api}?**values=short", note)
    wide.route(f"{api}/live", note)
    first = wide.locator('[data-key="group0/metric0"] .plot')
    with wide.expect_request(f"{api}/metrics"):
        wide.goto(f"{web_server.url}/{web_server.entity}/odd/runs/many")
        expect(first).to_have_attribute("data-points", "3")
    expect(wide.get_by_test_id("tab-charts")).to_contain_text("1,000")
    assert values == [], "nobody looks at them"

    # What is not known yet is not said to be missing.
    last = wide.locator('[data-key="group3/metric999"] .plot')
    wide.get_by_label("Filter metrics").fill("metric999")
    expect(wide.get_by_role("tabpanel")).to_contain_text("Loading")
    assert len(held) == 1
    held.pop().continue_()
    expect(last).to_have_attribute("data-points", "3")
    wide.get_by_label("Filter metrics").fill("")
    expect(first).to_have_attribute("data-points", "3")

    wide.get_by_test_id("tab-overview").click()
    expect(wide.get_by_test_id("config")).to_contain_text("lr")
    summary = wide.get_by_test_id("summary")
    expect(summary).to_contain_text("500 more")
    expect(summary.get_by_role("row")).to_have_count(500)
    wide.get_by_label("Search summary").fill("metric999")
    expect(summary.get_by_role("row")).to_have_count(1)
    expect(summary).to_contain_text("group3/metric999")
    assert set(values) == {"", "/live"}


_TAGGED = """
import asyncwb
with asyncwb.init(project="odd", id="tagged", name="tagged",
                  tags=[f"tag-{number:04}" for number in range(1000)]) as run:
    run.log({"loss": 1.0})
"""


def test_a_run_with_very_many_tags_is_listed_and_shown(
    wide: Page, web_server: WebServer, tmp_path: Path
) -> None:
    web_server.run_python(_TAGGED, tmp_path)
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/{web_server.entity}/odd")
    row = wide.get_by_test_id("runs").get_by_role("row", name="tagged")
    expect(row).to_contain_text("tag-0000")
    row.get_by_role("link").click()
    wide.get_by_role("tab", name="Overview").click()
    expect(wide.get_by_text("tag-0003")).to_be_visible()
