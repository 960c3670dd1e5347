"""`asyncwb users`, `teams`, `invite`, `join`, `keys`: from the first admin to a colleague's run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asyncwb.cli.native import ask
from tests.cli.conftest import Cli


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_others_are_called_is_no_order_to_a_terminal(
    cli: Cli, served: tuple[str, str], environ: dict[str, str]
) -> None:
    url, key = served
    said(cli("login", "--host", url, "--key", key))
    odd = "\x1b]0;mine\x07\x1b[2J \u202eevil [/b][red]"
    ask(url, "/api/v1/users", key=key, method="POST", body={"name": "eve", "email": "[/b]a@x.org"})
    said(cli("keys", "--create", odd))
    listed = said(cli("users")) + said(cli("keys"))
    assert "[/b]a@x.org" in listed
    assert r"\x1b]0;mine\x07\x1b[2J \u202eevil [/b][red]" in listed
    assert not set("\x1b\x07\u202e") & set(listed)
    said(cli("keys", "--create", "é漢字🙂"))
    environ["PYTHONIOENCODING"] = "ascii"
    assert r"\xe9\u6f22\u5b57\U0001f642" in said(cli("keys"))


def test_an_admin_lets_a_colleague_in(
    cli: Cli, served: tuple[str, str], environ: dict[str, str], tmp_path: Path
) -> None:
    url, key = served
    nowhere = cli("users").stderr
    assert "No server runs on this machine" in nowhere
    assert "asyncwb server" in nowhere
    assert "asyncwb login --host URL" in nowhere
    said(cli("login", "--host", url, "--key", key))
    assert "the team lab is there" in said(cli("teams", "lab", "--create")).lower()
    link = said(cli("invite", "--team", "lab", "--role", "viewer")).splitlines()[1]
    assert link.startswith(f"{url}/invite?token=")

    colleague = environ | {"ASYNCWB_DATA_DIR": str(tmp_path / "other")}

    def theirs(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "asyncwb", *arguments], env=colleague, cwd=tmp_path,
            capture_output=True, text=True, timeout=50,
        )  # fmt: skip

    said(theirs("join", link, "--name", "eve"))
    assert json.loads((tmp_path / "other" / "credentials.json").read_text())[url]["default"]
    assert "was used" in theirs("join", link, "--name", "adam").stderr
    assert "viewer" in said(theirs("teams"))
    refused = theirs("users", "--add", "adam")
    assert refused.returncode == 1
    assert "Only an admin of this server" in refused.stderr

    members = said(cli("teams", "lab", "--add", "eve", "--role", "member"))
    assert any("eve" in line and "member" in line for line in members.splitlines())
    made = said(theirs("keys", "--create", "laptop")).strip()
    assert len(made) == 48
    listed = said(theirs("keys"))
    assert f"...{made[-4:]}" in listed
    assert made not in listed
    number = next(line.split()[0] for line in listed.splitlines() if "laptop" in line)
    revoked = said(theirs("keys", "--revoke", number))
    assert revoked == f"Your key {number} (ends in {made[-4:]}) is worthless now.\n"
    assert "laptop" not in said(theirs("keys"))
    made = said(theirs("keys", "--create", "desk")).strip()
    listed = said(theirs("keys"))
    number = next(line.split()[0] for line in listed.splitlines() if "desk" in line)
    revoked = said(cli("keys", "--revoke", number))
    assert revoked == f"The key {number} of eve (ends in {made[-4:]}) is worthless now.\n"

    said(cli("users", "--disable", "eve"))
    assert "does not accept this API key" in theirs("keys").stderr
    assert "disabled" in said(cli("users"))
    service = said(cli("teams", "lab", "--service", "nightly")).splitlines()[1]
    nightly = colleague | {"ASYNCWB_BASE_URL": url, "ASYNCWB_API_KEY": service}
    done = subprocess.run(
        [sys.executable, "-m", "asyncwb", "teams"], env=nightly, cwd=tmp_path,
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    assert "member" in done.stdout


@pytest.mark.parametrize("variable", ["ASYNCWB_API_KEY", "WANDB_API_KEY"])
def test_a_wrong_key_of_the_environment_is_not_to_be_replaced_by_login(
    cli: Cli, served: tuple[str, str], environ: dict[str, str], variable: str
) -> None:
    environ |= {"ASYNCWB_BASE_URL": served[0], variable: "k" * 40}
    said = cli("keys").stderr
    assert f"the environment variable {variable}, which wins" in said
    assert "--relogin" not in said
    assert "--relogin" in cli("login", "--key", "j" * 40).stderr
