"""`asyncwb open`: a link that signs one browser in, and the browser that is shown it."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, Request, build_opener, url2pathname

import pytest

from asyncwb.cli.native import ask
from tests.cli.conftest import Cli

NO_BROWSER = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture(autouse=True)
def no_browser(environ: dict[str, str]) -> None:
    for name in NO_BROWSER:
        environ.pop(name, None)


def sign_in(link: str) -> Any:
    """Do what the page does for who opens a link and says yes; returns whom it signed in."""
    parts = urlsplit(link)
    origin = f"{parts.scheme}://{parts.netloc}"
    token = parse_qs(parts.query)["token"][0]
    headers = {"Content-Type": "application/json", "Origin": origin}
    body = json.dumps({"token": token}).encode()
    request = Request(f"{origin}/api/v1/login", body, headers, method="POST")
    with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
        assert "asyncwb_session=" in answer.headers["Set-Cookie"]
        return json.loads(answer.read())


@pytest.mark.usefixtures("stop_server")
def test_the_server_of_this_machine_is_started(cli: Cli, tmp_path: Path) -> None:
    done = cli("open")
    assert done.returncode == 0, done.stderr
    said, link = done.stdout.splitlines()
    assert said == "This link signs a browser in, once, within 10 minutes:"
    announced = json.loads((tmp_path / "data" / "server" / "server.json").read_text())
    assert link.startswith(f"{announced['url']}/login?token=")
    assert sign_in(link)["username"] == announced["entity"]
    again = cli("open", "--print")
    assert again.stdout.startswith(f"{announced['url']}/login?token="), again.stderr
    assert again.stdout != f"{link}\n"


def test_a_browser_is_shown_the_page_and_no_command_line_the_link(
    cli: Cli, served: tuple[str, str], environ: dict[str, str], tmp_path: Path
) -> None:
    url, key = served
    made = ask(url, "/api/v1/users", key=key, method="POST", body={"name": "eve"})
    assert cli("login", "--host", url, "--key", made["key"]).returncode == 0
    shown, browser = tmp_path / "shown", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {shown}\n')
    browser.chmod(0o700)
    environ["BROWSER"] = f"{browser} %s"
    done = cli("open")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"A browser shows {url}. If none does: asyncwb open --print\n"
    address = shown.read_text()
    assert address.startswith("file://")
    assert "token" not in address
    page = Path(url2pathname(urlsplit(address).path))
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    found = re.search(r'href="([^"]+)"', page.read_text())
    assert found is not None
    assert sign_in(found[1])["username"] == "eve"
    shown.unlink()
    assert cli("open", "--print").stdout.startswith(f"{url}/login?token=")
    assert not shown.exists()


def test_without_a_key_or_a_server_it_says_what_to_do(
    cli: Cli, served: tuple[str, str], environ: dict[str, str]
) -> None:
    environ["ASYNCWB_BASE_URL"] = served[0]
    done = cli("open")
    assert done.returncode == 1
    assert f"Run: asyncwb login --host {served[0]}" in done.stderr
    environ["ASYNCWB_API_KEY"] = "n" * 40
    done = cli("open")
    assert done.returncode == 1
    assert "does not accept this API key" in done.stderr
