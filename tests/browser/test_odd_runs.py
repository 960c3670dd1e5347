"""Runs that no training should have, and some have: the page must not stand still for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.fix_server import ServerHandle
from tests.fix_web import WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)

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
SOON = 25.0
"""seconds to the first chart on a machine that others keep busy; on one at rest it takes one"""


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
    wide.route(f"{api}/metrics", lambda route: held.append(route))
    wide.route(f"{api}?**values=short", lambda route: (values.append("run"), route.continue_()))
    wide.route(f"{api}/live", lambda route: (values.append("live"), route.continue_()))
    wide.goto(f"{web_server.url}/{web_server.entity}/odd/runs/many")
    first = wide.locator('[data-key="group0/metric0"] .plot')
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
    expect(wide.get_by_test_id("summary")).to_contain_text("group3/metric999")
    assert sorted(set(values)) == ["live", "run"]
