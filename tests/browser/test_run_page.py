"""What a person sees of a run while it is logging, in a real browser, from a real server."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.fix_web import LiveRun, WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)  # a page beside other tests on two cores takes its time


def _open(page: Page, server: WebServer, run: LiveRun, query: str = "") -> None:
    server.sign_in(page)
    page.goto(f"{server.url}{run.path}{query}")
    expect(_plot(page, "loss")).not_to_have_attribute("data-points", "0")


def _plot(page: Page, key: str) -> Locator:
    return page.locator(f'[data-testid="chart"][data-key="{key}"] .plot')


def _said(plot: Locator, name: str) -> int:
    return int(float(plot.get_attribute(f"data-{name}") or "0"))


def _count(locator: Locator) -> int:
    return int(locator.inner_text().replace(",", ""))


def _query(page: Page) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


_INK = """canvas => {
    const shown = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return shown.data.reduce((hash, byte) => (hash * 31 + byte) | 0, 0);
}"""


def _ink(plot: Locator) -> int:
    """Return a hash of what the chart's canvas shows."""
    drawn: int = plot.locator("canvas").evaluate(_INK)
    return drawn


def _redrawn(plot: Locator, before: int) -> int:
    """Wait until the chart shows something else, and return the hash of that."""
    canvas = plot.locator("canvas").element_handle()
    plot.page.wait_for_function(
        f"([canvas, old]) => ({_INK})(canvas) !== old", arg=[canvas, before]
    )
    return _ink(plot)


def test_a_link_signs_in_once_and_a_key_does_too(wide: Page, web_server: WebServer) -> None:
    link = web_server.login_link()
    wide.goto(link)
    sign_in = wide.get_by_role("button", name=f"Sign in as {web_server.entity}")
    expect(sign_in).to_be_visible()
    assert "token" not in wide.url
    assert not wide.context.cookies(), "to open a link signs nobody in"
    sign_in.click()
    expect(wide.get_by_role("heading", name="Projects")).to_be_visible()
    wide.get_by_role("button", name="Sign out").click()
    expect(wide.get_by_role("heading", name="Sign in")).to_be_visible()

    wide.goto(link)
    expect(wide.get_by_test_id("login-problem")).to_contain_text("already used, or has expired")
    assert "token" not in wide.url

    wide.get_by_label("API key").fill("not the key")
    wide.get_by_role("button", name="Sign in").click()
    expect(wide.get_by_test_id("login-problem")).to_contain_text("does not know this key")
    wide.get_by_label("API key").fill(web_server.key)
    wide.get_by_role("button", name="Sign in").click()
    expect(wide.get_by_role("heading", name="Projects")).to_be_visible()


def test_curves_move_while_the_run_logs_and_rest_when_it_ends(
    wide: Page, web_server: WebServer, live_run: LiveRun
) -> None:
    web_server.sign_in(wide)
    wide.get_by_role("link", name="vision").click()
    link = wide.locator(f'a[href$="{live_run.path}"]')  # its row comes by itself
    row = wide.get_by_test_id("runs").get_by_role("row").filter(has=link)
    expect(row).to_contain_text("running")
    row.get_by_role("link").click()

    expect(wide.get_by_test_id("run-name")).to_have_text("<b>first</b> run")
    expect(wide.get_by_test_id("live")).to_have_text("Live")
    expect(wide.get_by_test_id("state")).to_have_text("running")
    plot = _plot(wide, "loss")
    expect(plot).not_to_have_attribute("data-points", "0")
    rows, last_x, drawn = _count(wide.get_by_test_id("rows")), _said(plot, "last-x"), _ink(plot)

    expect(wide.get_by_test_id("rows")).not_to_have_text(f"{rows:,}")
    expect(plot).not_to_have_attribute("data-last-x", str(last_x))
    assert _count(wide.get_by_test_id("rows")) > rows
    assert _said(plot, "last-x") > last_x
    _redrawn(plot, drawn)

    live_run.finish()
    expect(wide.get_by_test_id("state")).to_have_text("finished")
    expect(wide.get_by_test_id("live")).to_have_count(0)
    final = web_server.ask("GET", f"/api/v1/runs{live_run.path.replace('/runs/', '/')}")["rows"]
    expect(wide.get_by_test_id("rows")).to_have_text(f"{final:,}")
    expect(plot).to_have_attribute("data-last-x", str(final - 1))


def test_zoom_asks_for_finer_points_on_every_chart_and_double_click_shows_all(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    _open(wide, web_server, done_run)
    plot, other = _plot(wide, "loss"), _plot(wide, "train/accuracy")
    expect(other).not_to_have_attribute("data-points", "0")
    everything = _said(other, "last-x")
    assert _said(plot, "points") < _said(plot, "rows")

    over = plot.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    wide.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    expect(wide.get_by_test_id("tip")).to_contain_text("loss")
    expect(wide.get_by_test_id("tip")).to_contain_text("mean")
    wide.mouse.down()
    wide.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50, steps=4)
    wide.mouse.up()

    expect(wide).to_have_url(re.compile(r"from=\d+&to=\d+"))
    low, high = int(_query(wide)["from"]), int(_query(wide)["to"])
    assert 0 < low < high < everything / 2
    for chart in (plot, other):
        expect(chart).not_to_have_attribute("data-last-x", str(everything))
        assert _said(chart, "last-x") < everything / 2
    # About a tenth of the rows: few enough to be shown one by one.
    assert _said(plot, "points") == _said(plot, "rows") < everything / 2

    wide.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 60)
    expect(wide).not_to_have_url(re.compile("from="))
    expect(plot).to_have_attribute("data-last-x", str(everything))


def test_axis_log_and_smoothing_change_what_is_drawn_and_live_in_the_address(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    _open(wide, web_server, done_run)
    plot = _plot(wide, "loss")
    linear = _ink(plot)

    wide.get_by_role("button", name="Log", exact=True).click()
    log = _redrawn(plot, linear)
    signed = wide.locator('[data-key="train/signed"]')
    expect(signed.get_by_text("≤ 0 hidden")).to_be_visible()

    wide.get_by_label("Smoothing").fill("0.9")
    _redrawn(plot, log)

    wide.get_by_role("button", name="Relative").click()
    expect(plot).not_to_have_attribute("data-points", "0")
    expect(plot).not_to_have_attribute("data-last-x", re.compile(r"^\d{4,}$"))
    assert _query(wide) == {"x": "relative", "log": "1", "smooth": "0.9"}
    wide.get_by_role("button", name="Time").click()
    expect(plot).to_have_attribute("data-last-x", re.compile(r"^1\d{9}"))

    wide.reload()
    expect(wide.get_by_role("button", name="Time")).to_have_attribute("aria-pressed", "true")
    expect(wide.get_by_role("button", name="Log", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(wide.get_by_label("Smoothing")).to_have_value("0.9")


def test_sections_filter_and_tables_show_what_was_logged_as_text(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    _open(wide, web_server, done_run)
    sections = wide.get_by_test_id("section")
    expect(sections).to_have_count(3)
    names = [sections.nth(i).get_by_role("heading", level=2).inner_text() for i in range(3)]
    assert names == ["charts", "train", "val"]

    sections.nth(1).get_by_role("button", name="train").first.click()
    expect(wide.locator('[data-key="train/accuracy"]')).to_have_count(0)
    wide.get_by_label("Filter metrics").fill("val")
    expect(wide.get_by_test_id("chart")).to_have_count(1)

    wide.get_by_test_id("tab-overview").click()
    config = wide.get_by_test_id("config")
    expect(config).to_contain_text("model.depth")
    expect(config).to_contain_text("<img src=x onerror=alert(1)>")
    assert wide.locator("img").count() == 0
    wide.get_by_label("Search config").fill("lr")
    expect(config.get_by_role("row")).to_have_count(1)
    expect(wide.get_by_test_id("summary")).to_contain_text("train/accuracy")


def test_nan_is_a_marked_gap_and_an_address_shows_its_zoom(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    _open(wide, web_server, done_run, "?from=790&to=810&large=val%2Fscore")
    score = wide.locator('[data-key="val/score"]')
    expect(score.get_by_text("not finite")).to_be_visible()
    expect(wide.locator('[data-key="loss"]').get_by_text("not finite")).to_have_count(0)

    # The row with the NaN is the eleventh of the zoom; the crosshair says what it was.
    over = score.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    wide.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    expect(wide.get_by_test_id("tip")).to_contain_text("NaN")
    expect(wide.get_by_test_id("tip")).to_contain_text("800")


def test_narrow_page_needs_no_sideways_scrolling(
    narrow: Page, web_server: WebServer, live_run: LiveRun
) -> None:
    web_server.sign_in(narrow)
    assert fits(narrow)
    for path in (live_run.path.split("/runs/")[0], live_run.path):
        narrow.goto(f"{web_server.url}{path}")
        expect(narrow.get_by_test_id("state").first).to_have_text("running")
        assert fits(narrow)
    expect(_plot(narrow, "loss")).not_to_have_attribute("data-points", "0")
    assert fits(narrow)
    narrow.get_by_test_id("tab-overview").click()
    expect(narrow.get_by_test_id("config")).to_be_visible()
    assert fits(narrow)


def test_arrow_keys_go_from_tab_to_tab(
    wide: Page, web_server: WebServer, done_run: LiveRun
) -> None:
    _open(wide, web_server, done_run)
    charts, overview = wide.get_by_test_id("tab-charts"), wide.get_by_test_id("tab-overview")
    system = wide.get_by_test_id("tab-system")
    charts.focus()
    wide.keyboard.press("ArrowRight")
    expect(overview).to_be_focused()
    expect(overview).to_have_attribute("aria-selected", "true")
    expect(wide.get_by_role("tabpanel", name="Overview")).to_contain_text("model.depth")
    wide.keyboard.press("ArrowLeft")
    wide.keyboard.press("ArrowLeft")
    expect(system).to_be_focused()
    wide.keyboard.press("ArrowRight")
    expect(charts).to_be_focused()
    expect(_plot(wide, "loss")).to_be_visible()


def test_the_run_page_recovers_from_a_server_that_did_not_answer(
    wide: Page, web_server: WebServer, live_run: LiveRun
) -> None:
    _open(wide, web_server, live_run)
    wide.route("**/graphql", lambda route: route.abort())
    expect(wide.get_by_role("alert")).to_contain_text("cannot be reached")
    wide.unroute("**/graphql")
    expect(wide.get_by_role("alert")).to_have_count(0)


def test_unknown_addresses_are_said_to_be_unknown(wide: Page, web_server: WebServer) -> None:
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/nobody/nothing/runs/none")
    expect(wide.get_by_text("There is no run at this address")).to_be_visible()


def test_the_icon_is_there_under_both_names(wide: Page, web_server: WebServer) -> None:
    for name in ("icon.svg", "favicon.ico"):
        answer = wide.request.get(f"{web_server.url}/{name}")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert answer.text().startswith("<svg")
        wide.goto(f"{web_server.url}/{name}")
        expect(wide.locator("svg")).to_be_visible()
