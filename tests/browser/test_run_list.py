"""A project's list of runs: filtered, sorted, with chosen columns, and shorter by one."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.error import HTTPError

import pytest
from playwright.sync_api import Page, Route, expect

from tests.fix_web import WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)

_RUNS = """
import asyncwb
for name, lr, loss in (("a", 0.1, 3.0), ("b", 0.01, 1.0), ("c", 0.001, 2.0)):
    config = {"lr": lr, "model": {"depth": 18}}
    with asyncwb.init(project="listed", id=name, name=f"net {name}", config=config,
                      tags=["v2"] if name != "a" else ["v1"]) as run:
        run.log({"val/loss": loss})
"""


@pytest.fixture(scope="module")
def listed(web_server: WebServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three runs of one project; returns the address of its page."""
    folder: Path = tmp_path_factory.mktemp("listed")
    web_server.run_python(_RUNS, folder)
    return f"{web_server.url}/{web_server.entity}/listed"


def _names(page: Page, *names: str) -> None:
    expect(page.get_by_test_id("runs").locator("tbody .name a")).to_have_text(list(names))


def test_conditions_columns_and_order_live_in_the_address(
    wide: Page, narrow: Page, web_server: WebServer, listed: str
) -> None:
    web_server.sign_in(wide)
    wide.goto(listed)
    _names(wide, "net c", "net b", "net a")

    condition = wide.get_by_label("Condition on config")
    condition.fill("colour = red")
    condition.press("Enter")
    expect(wide.get_by_role("alert")).to_contain_text("no field “colour”")
    condition.fill("tag = v2, summary.val/loss < 2.5")
    condition.press("Enter")
    expect(wide.get_by_role("alert")).to_have_count(0)
    _names(wide, "net c", "net b")

    wide.get_by_text("Columns").click()
    wide.get_by_label("config.lr", exact=True).check()
    wide.get_by_label("summary.val/loss", exact=True).check()
    wide.keyboard.press("Escape")
    wide.get_by_role("button", name="summary.val/loss", exact=True).click()
    _names(wide, "net c", "net b")
    wide.get_by_role("button", name="summary.val/loss", exact=True).click()
    _names(wide, "net b", "net c")
    header = wide.get_by_role("columnheader", name="summary.val/loss")
    expect(header).to_have_attribute("aria-sort", "ascending")
    row = wide.get_by_test_id("runs").get_by_role("row", name="net b")
    expect(row.locator('[data-label="config.lr"]')).to_have_text("0.01")

    wide.reload()
    _names(wide, "net b", "net c")
    web_server.sign_in(narrow)
    narrow.goto(wide.url)
    _names(narrow, "net b", "net c")
    assert fits(narrow)

    wide.get_by_role("button", name="Remove tag = v2").click()
    wide.get_by_role("button", name=re.compile("^Remove summary")).click()
    _names(wide, "net b", "net c", "net a")
    wide.get_by_role("button", name="v1").click()
    _names(wide, "net a")


def test_a_run_is_deleted_after_a_question(
    wide: Page, web_server: WebServer, listed: str, tmp_path: Path
) -> None:
    project = listed.rsplit("/", 1)[0].removeprefix(web_server.url) + "/doomed"
    code = _RUNS.replace('"listed"', '"doomed"')
    web_server.run_python(code, tmp_path)
    web_server.sign_in(wide)
    wide.goto(web_server.url + project)
    _names(wide, "net c", "net b", "net a")
    delete = wide.get_by_role("button", name="Delete net b")
    delete.click()
    wide.get_by_role("button", name="Cancel").click()
    delete.click()
    wide.get_by_test_id("ask-yes").click()
    _names(wide, "net c", "net a")
    with pytest.raises(HTTPError, match="404"):
        web_server.ask("GET", f"/api/v1/runs{project}/b")

    wide.get_by_role("link", name="Settings", exact=True).click()
    wide.get_by_role("button", name="Delete the project").click()
    wide.get_by_test_id("ask-yes").click()
    expect(wide.get_by_role("heading", name="Projects")).to_be_visible()
    with pytest.raises(HTTPError, match="404"):
        web_server.ask("GET", f"/api/v1/projects{project}")


def test_a_link_to_the_same_list_starts_it_afresh(
    wide: Page, web_server: WebServer, listed: str
) -> None:
    web_server.sign_in(wide)
    wide.goto(f"{listed}?state=failed&where=tag+%3D+v1")
    expect(wide.get_by_text("No run matches.")).to_be_visible()
    wide.get_by_label("Project").get_by_role("link", name="Runs").click()
    expect(wide.get_by_test_id("runs")).to_be_visible()
    expect(wide.get_by_label("State")).to_have_value("")
    wide.go_back()
    expect(wide.get_by_label("State")).to_have_value("failed")


def test_what_was_refused_stays_said_while_the_list_is_read_again(
    wide: Page, web_server: WebServer, listed: str
) -> None:
    refusal = {"errors": [{"message": "This run is not yours to delete."}], "data": None}

    def refuse(route: Route) -> None:
        if "deleteRun" in (route.request.post_data or ""):
            route.fulfill(json=refusal)
        else:
            route.continue_()

    web_server.sign_in(wide)
    wide.route("**/graphql", refuse)
    wide.goto(f"{listed}?where=nonsense")
    expect(wide.get_by_role("alert")).to_contain_text("nonsense")
    wide.get_by_role("button", name=re.compile("^Delete net")).first.click()
    wide.get_by_test_id("ask-yes").click()
    expect(wide.get_by_role("alert")).to_contain_text("not yours to delete")
    for _ in range(2):
        with wide.expect_response(re.compile("/listed/runs")):
            pass
    expect(wide.get_by_role("alert")).to_contain_text("not yours to delete")
