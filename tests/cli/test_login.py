"""`asyncwb login`: a key is stored once its server has accepted it, and runs go there."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from asyncwb.cli.native import ask
from asyncwb.settings import Settings
from tests.cli.conftest import Cli


def test_login_and_back(
    cli: Cli, served: tuple[str, str], environ: dict[str, str], tmp_path: Path
) -> None:
    url, key = served
    credentials = tmp_path / "data" / "credentials.json"

    refused = cli("login", "--host", url, "--key", "x" * 40)
    assert refused.returncode == 1
    assert "does not accept this API key" in refused.stderr
    assert not credentials.exists()

    done = cli("login", "--host", url + "/", stdin=key + "\n")
    assert done.returncode == 0, done.stderr
    assert key not in done.stdout + done.stderr
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert json.loads(credentials.read_text()) == {url: {"key": key, "default": True}}
    made = Settings.resolve(None, environ, tmp_path)
    assert (made.base_url, made.api_key) == (url, key)

    again = cli("login")
    assert again.returncode == 0, "the stored key is checked again, without asking"
    assert "To replace it: --relogin" in again.stdout
    assert cli("login", "--relogin").returncode == 1, "no key on standard input"
    assert cli("login", "--host", "embedded").returncode == 0
    assert Settings.resolve(None, environ, tmp_path).base_url is None
    assert json.loads(credentials.read_text()) == {url: {"key": key}}


def test_a_stored_key_that_is_refused_is_asked_for_again(
    cli: Cli, served: tuple[str, str], tmp_path: Path
) -> None:
    url, key = served
    credentials = tmp_path / "data" / "credentials.json"
    credentials.parent.mkdir()
    credentials.write_text(json.dumps({url: {"key": "old" * 14}}))
    done = cli("login", "--host", url, stdin=key)
    assert done.returncode == 0
    assert "no longer accepted" in done.stderr
    assert json.loads(credentials.read_text())[url]["key"] == key


def test_a_good_key_stays_unless_it_is_to_be_replaced(
    cli: Cli, served: tuple[str, str], tmp_path: Path
) -> None:
    url, key = served
    other = ask(url, "/api/v1/keys", key=key, method="POST", body={"description": "x"})["key"]
    credentials = tmp_path / "data" / "credentials.json"
    assert cli("login", "--host", url, "--key", key).returncode == 0
    kept = cli("login", "--host", url, stdin=f"{other}\n")
    assert kept.returncode == 0
    assert "It was stored already" in kept.stdout
    assert json.loads(credentials.read_text())[url]["key"] == key
    assert cli("login", "--host", url, "--relogin", stdin=f"{other}\n").returncode == 0
    assert json.loads(credentials.read_text())[url]["key"] == other
    assert cli("login", "--host", url, "--key", key).returncode == 0
    assert json.loads(credentials.read_text())[url]["key"] == key
