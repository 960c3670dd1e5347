"""`asyncwb server`: one a folder, and clear about why it does not start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from asyncwb.cli.native import ask
from tests.cli.conftest import Cli


def test_it_serves_and_keeps_its_folder_to_itself(
    cli: Cli, served: tuple[str, str], tmp_path: Path
) -> None:
    url, key = served
    assert ask(url, "/ready", key=key)["status"] == "ready"
    link = ask(url, "/api/v1/login/links", key=key, method="POST")["url"]
    assert link.startswith(f"{url}/login?token=")

    second = cli("server", "--port", "0", "--data", str(tmp_path / "served"))
    assert second.returncode == 1
    assert "asyncwb: a server runs already on" in second.stderr
    port = url.rpartition(":")[2]
    taken = cli("server", "--port", port, "--data", str(tmp_path / "other"))
    assert taken.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in taken.stderr
    assert "Traceback" not in second.stderr + taken.stderr
    quiet = cli("server", "--port", "0", "--data", str(tmp_path / "served"), "--embedded")
    assert quiet.returncode == 0, "an embedded server gives way"


def test_what_is_not_installed_is_named(environ: dict[str, str]) -> None:
    code = """
import sys
sys.modules["sqlalchemy"] = None
sys.argv = ["asyncwb", "server"]
from asyncwb.cli import main
main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "asyncwb: The server needs sqlalchemy, which is not installed" in done.stderr
    assert "pip install 'asyncwb[server]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
