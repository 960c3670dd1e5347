"""The page of a sweep: its state, its configuration, and its runs and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.fix_web import WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)

_CONFIG = """\
name: learning rates & depths
method: grid
metric:
  name: val/loss
  goal: minimize
parameters:
  lr:
    values: [0.1, 0.01, 0.001]
  model.depth:
    values: [18, 34]
  note:
    value: "<img src=x onerror=alert(1)> and a line that is too long for any screen of a phone, as such lines are"
"""  # noqa: E501
_UPSERT = """
mutation ($id: ID, $config: String, $project: String, $state: String, $about: String) {
  upsertSweep(
    input: {
      id: $id, config: $config, projectName: $project, state: $state, description: $about
    }
  ) { sweep { id name } }
}
"""
_RUN = """
mutation (
  $project: String, $name: String, $sweep: String, $config: JSONString, $summary: JSONString
) {
  upsertBucket(
    input: {
      name: $name, displayName: $name, modelName: $project, sweep: $sweep, config: $config
      summaryMetrics: $summary, host: "h", state: "finished"
    }
  ) { inserted }
}
"""


def _ask(server: WebServer, query: str, **variables: Any) -> Any:
    answer = server.ask("POST", "/graphql", {"query": query, "variables": variables})
    assert "errors" not in answer, answer
    return answer["data"]


def _add_run(
    server: WebServer, name: str, sweep: str | None, lr: float, loss: float, project: str = "swept"
) -> None:
    config = json.dumps({"lr": {"value": lr}})
    summary = json.dumps({"val/loss": loss})
    _ask(server, _RUN, project=project, name=name, sweep=sweep, config=config, summary=summary)


def _names(page: Page, *names: str) -> None:
    expect(page.get_by_test_id("runs").locator("tbody .name a")).to_have_text(list(names))


def test_a_sweep_has_a_page(wide: Page, narrow: Page, web_server: WebServer) -> None:
    about = "Which rate is the best?"
    made = _ask(web_server, _UPSERT, config=_CONFIG, project="swept", about=about)["upsertSweep"]
    sweep, project = made["sweep"], f"{web_server.url}/{web_server.entity}/swept"
    web_server.sign_in(wide)
    wide.goto(project)
    wide.get_by_role("link", name="Sweeps", exact=True).click()
    row = wide.get_by_test_id("sweeps").get_by_role("row", name="learning rates")
    expect(row.get_by_test_id("state")).to_have_text("pending")
    expect(row).to_contain_text("0 of 6")
    row.get_by_role("link").click()
    expect(wide).to_have_url(f"{project}/sweeps/{sweep['name']}")
    expect(wide.get_by_test_id("sweep-name")).to_have_text("learning rates & depths")
    expect(wide.get_by_text("No run belongs to this sweep yet")).to_be_visible()
    expect(wide.get_by_text(about)).to_be_visible()

    for number, lr in enumerate((0.1, 0.01, 0.001)):
        _add_run(web_server, f"net {number}", sweep["name"], lr, 1.5 - number / 2)
    _add_run(web_server, "of no sweep", None, 1.0, 0.1)
    _names(wide, "net 2", "net 1", "net 0")
    expect(wide.get_by_test_id("state").first).to_have_text("running")
    expect(wide.locator("dl")).to_contain_text("3 of 6")
    expect(wide.locator("dl div").filter(has_text="Best")).to_contain_text("0.5")
    expect(wide.get_by_test_id("sweep-config")).to_contain_text("onerror=alert(1)")

    condition = wide.get_by_label("Condition on config")
    condition.fill("config.lr < 0.05")
    condition.press("Enter")
    _names(wide, "net 2", "net 1")
    assert "sweep+%3D" not in wide.url
    wide.get_by_text("Columns").click()
    wide.get_by_label("summary.val/loss", exact=True).check()
    wide.keyboard.press("Escape")
    wide.reload()
    _names(wide, "net 2", "net 1")

    _ask(web_server, _UPSERT, id=sweep["id"], state="CANCELED")
    expect(wide.get_by_test_id("state").first).to_have_text("canceled")
    assert fits(wide)
    web_server.sign_in(narrow)
    narrow.goto(f"{project}/sweeps/{sweep['name']}")
    _names(narrow, "net 2", "net 1", "net 0")
    assert fits(narrow)
    narrow.get_by_label("Where you are").get_by_role("link", name="sweeps").click()
    expect(narrow.get_by_test_id("sweeps")).to_contain_text("3 of 6")
    assert fits(narrow)


def test_the_list_of_sweeps_moves_and_recovers(wide: Page, web_server: WebServer) -> None:
    made = _ask(web_server, _UPSERT, config=_CONFIG, project="moving")["upsertSweep"]["sweep"]
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/{web_server.entity}/moving/sweeps")
    row = wide.get_by_test_id("sweeps").get_by_role("row", name="learning rates")
    expect(row).to_contain_text("0 of 6")
    _add_run(web_server, "one", made["name"], 0.1, 1.0, "moving")
    expect(row).to_contain_text("1 of 6")

    wide.route("**/graphql", lambda route: route.abort())
    expect(wide.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(row).to_contain_text("1 of 6")
    wide.unroute("**/graphql")
    expect(wide.get_by_role("alert")).to_have_count(0)


def test_a_sweep_shows_what_it_varies_until_columns_are_chosen(
    wide: Page, web_server: WebServer
) -> None:
    made = _ask(web_server, _UPSERT, config=_CONFIG, project="varied")["upsertSweep"]["sweep"]
    _add_run(web_server, "only", made["name"], 0.01, 0.25, "varied")
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/{web_server.entity}/varied/sweeps/{made['name']}")
    heads = wide.get_by_test_id("runs").get_by_role("columnheader")
    for name in ("config.lr", "config.model.depth", "summary.val/loss"):
        expect(heads.filter(has_text=name)).to_have_count(1)
    expect(heads.filter(has_text="config.note")).to_have_count(0)
    expect(wide.locator("dl")).to_contain_text("Best val/loss")
    expect(wide.get_by_test_id("runs").get_by_role("row", name="only")).to_contain_text("0.25")

    assert "column" not in wide.url
    wide.get_by_text("Columns").click()
    for name in ("config.lr", "config.model.depth", "summary.val/loss"):
        wide.get_by_label(name, exact=True).uncheck()
    expect(heads.filter(has_text="config.lr")).to_have_count(0)
    wide.reload()
    expect(wide.get_by_test_id("runs").get_by_role("row", name="only")).to_be_visible()
    expect(wide.get_by_test_id("sweep-config")).to_be_visible()
    expect(heads.filter(has_text="config.lr")).to_have_count(0)


def test_a_sweep_that_is_not_there_says_so(wide: Page, web_server: WebServer) -> None:
    _add_run(web_server, "any", None, 0.1, 1.0)
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/{web_server.entity}/swept/sweeps/nothing")
    expect(wide.get_by_role("alert")).to_contain_text("There is no such sweep")
    expect(wide.get_by_role("link", name="All sweeps")).to_be_visible()
