"""An admin invites somebody, who joins in another browser; what each may do is what each sees."""

from __future__ import annotations

from urllib.error import HTTPError

import pytest
from playwright.sync_api import Page, expect

from tests.fix_web import LiveRun, WebServer, fits

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=20_000)


def _secret(page: Page) -> str:
    return page.get_by_test_id("secret").input_value()


def test_invite_join_roles_and_keys(
    wide: Page, other: Page, narrow: Page, web_server: WebServer, live_run: LiveRun
) -> None:
    # An admin makes a team and a link into it.
    web_server.sign_in(wide)
    wide.get_by_role("link", name="settings").click()
    teams = wide.get_by_test_id("teams")
    teams.get_by_label("Name").fill("lab")
    teams.get_by_role("button", name="New team").click()
    expect(wide).to_have_url(f"{web_server.url}/teams/lab")
    wide.get_by_role("button", name="Make a link").click()
    link = _secret(wide)
    wide.get_by_role("button", name="I have sent it").click()
    expect(wide.get_by_test_id("secret")).to_have_count(0)

    # Somebody without an account takes it up, and is shown a key once.
    other.goto(link)
    expect(other.get_by_role("heading", name="Join lab")).to_be_visible()
    other.get_by_label("User name").fill("teams")
    other.get_by_role("button", name="Make my account").click()
    expect(other.get_by_role("alert")).to_be_visible()
    other.get_by_label("User name").fill("eve")
    other.get_by_role("button", name="Make my account").click()
    key = _secret(other)
    assert web_server.ask("GET", "/api/v1/viewer", key=key)["username"] == "eve"
    other.get_by_role("button", name="Go to the projects").click()
    expect(other).to_have_url(f"{web_server.url}/lab")
    narrow.goto(link)
    expect(narrow.get_by_role("alert")).to_be_visible()
    assert fits(narrow)

    # A member sees who is there, and no more.
    other.goto(f"{web_server.url}/teams/lab")
    expect(other.get_by_test_id("members")).to_contain_text("eve")
    expect(other.get_by_role("combobox")).to_have_count(0)
    expect(other.get_by_test_id("invitations")).to_have_count(0)
    wide.reload()
    wide.get_by_label("Role of eve").select_option("viewer")
    expect(wide.get_by_label("Role of eve")).to_have_value("viewer")

    # Who may only read a run is not offered to stop it.
    project = live_run.path.split("/runs/")[0]
    wide.goto(f"{web_server.url}{project}/settings")
    wide.get_by_role("button", name="Make it public").click()
    wide.get_by_test_id("ask-yes").click()
    expect(wide.get_by_test_id("visibility")).to_contain_text("Public")
    other.goto(f"{web_server.url}{live_run.path}")
    expect(other.get_by_test_id("live")).to_have_text("Live")
    expect(other.get_by_test_id("tab-logs")).to_be_visible()
    expect(other.get_by_role("button", name="Stop")).to_have_count(0)
    other.goto(f"{web_server.url}{project}/reports")
    expect(other.get_by_text("No reports yet")).to_be_visible()
    expect(other.get_by_role("link", name="New report")).to_have_count(0)

    # Keys come and go.
    other.goto(f"{web_server.url}/settings")
    expect(other.get_by_test_id("users")).to_have_count(0)
    other.get_by_label("What it is for").fill("laptop")
    other.get_by_role("button", name="New key").click()
    fresh = _secret(other)
    row = other.get_by_test_id("keys").get_by_role("row", name="laptop")
    row.get_by_role("button", name="Revoke").click()
    other.get_by_test_id("ask-yes").click()
    expect(row).to_have_count(0)
    with pytest.raises(HTTPError, match="401"):
        web_server.ask("GET", "/api/v1/viewer", key=fresh)

    # A disabled account is out.
    wide.goto(f"{web_server.url}/settings")
    eve = wide.get_by_test_id("users").get_by_role("row", name="eve")
    eve.get_by_role("button", name="Disable").click()
    wide.get_by_test_id("ask-yes").click()
    expect(eve).to_contain_text("disabled")
    other.reload()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_service_account_and_a_member_by_name(
    wide: Page, narrow: Page, web_server: WebServer
) -> None:
    web_server.ask("POST", "/api/v1/teams", {"name": "night"})
    web_server.ask("POST", "/api/v1/users", {"name": "adam"})
    web_server.sign_in(wide)
    wide.goto(f"{web_server.url}/teams/night")
    members = wide.get_by_test_id("members")
    members.get_by_label("User name").fill("nobody-here")
    members.get_by_role("button", name="Add").click()
    expect(members.get_by_role("alert")).to_contain_text("no user 'nobody-here'")
    members.get_by_label("User name").fill("adam")
    members.get_by_role("button", name="Add").click()
    expect(members).to_contain_text("adam")

    accounts = wide.get_by_test_id("service-accounts")
    accounts.get_by_label("Name").fill("cluster")
    accounts.get_by_role("button", name="New service account").click()
    assert web_server.ask("GET", "/api/v1/viewer", key=_secret(wide))["username"] == "cluster"
    expect(members).to_contain_text("cluster service account")
    members.get_by_role("button", name="Remove adam").click()
    wide.get_by_test_id("ask-yes").click()
    expect(members).not_to_contain_text("adam")

    email = "somebody-with-a-long-address@research.example.org"
    for team in ("night", None):
        invitation = {"team": team, "email": email, "role": "member"}
        web_server.ask("POST", "/api/v1/invitations", invitation)
    web_server.sign_in(narrow)
    for path in ("/teams/night", "/settings"):
        narrow.goto(web_server.url + path)
        expect(narrow.get_by_role("heading", level=1)).to_be_visible()
        expect(narrow.get_by_test_id("invitations")).to_contain_text(email)
        assert fits(narrow)
