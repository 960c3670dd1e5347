"""`asyncwb server`: one a folder, and clear about why it does not start."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert not (tmp_path / "other").exists()
    assert "Traceback" not in second.stderr + taken.stderr
    quiet = cli("server", "--port", "0", "--data", str(tmp_path / "served"), "--embedded")
    assert quiet.returncode == 0, "an embedded server gives way"


def test_it_tells_the_address_that_users_reach_it_at(
    environ: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "asyncwb", "server", "--port", "0"]
    command += ["--data", str(tmp_path / "served"), "--public-url", "https://tracker.example.org/a"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert said[0].startswith("Serving at http://127.0.0.1:")
    login = "asyncwb login --host https://tracker.example.org/a"
    assert said[1] == f"To send runs here: {login}\n"


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ("nonsense", "'nonsense' is no database"),
        ("mysql://me:secret@h/x", "'mysql' is no database"),
        ("postgresql://me:secret@h:port/x", "is no URL"),
        ("sqlite:////nonexistent/dir/x.db", "sqlite:////nonexistent/dir/x.db"),
        ("sqlite:///{folder}/text.txt", "file is not a database"),
        ("postgresql://me:secret@127.0.0.1:9/x", "postgresql://me:***@127.0.0.1:9/x"),
    ],
)
def test_a_database_that_is_none(database: str, says: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no database " * 1000)
    url = database.format(folder=tmp_path)
    done = cli("server", "--port", "0", "--data", str(tmp_path / "served"), "--database", url)
    assert done.returncode == 1
    assert says in done.stderr
    assert "othing was started" in done.stderr
    assert "--database" in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "served").exists(), "it is no data folder, then"


def test_a_start_that_is_refused_leaves_a_folder_as_it_was(
    cli: Cli, served: tuple[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    (folder / "notes.txt").write_text("mine")
    taken = served[0].rpartition(":")[2]
    assert cli("server", "--port", taken, "--data", str(folder)).returncode == 1
    none = ["--database", "postgresql://me@127.0.0.1:9/x"]
    assert cli("server", "--port", "0", "--data", str(folder), *none).returncode == 1
    others = ["--database", f"sqlite:///{tmp_path}/served/asyncwb.db"]
    done = cli("server", "--port", "0", "--data", str(folder), *others)
    assert "are not those of this database" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    names = {path.name for path in (tmp_path / "served").iterdir()}
    assert cli("server", "--port", "0", "--data", str(tmp_path / "served")).returncode == 1
    assert {path.name for path in (tmp_path / "served").iterdir()} == names


@pytest.mark.parametrize("command", ["demo", "server"])
def test_a_data_folder_that_cannot_be_one(command: str, cli: Cli, environ: dict[str, str]) -> None:
    environ["ASYNCWB_DATA_DIR"] = "/proc/nothing"
    done = cli(command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "/proc/nothing" in line
    assert "to a place with room" in line


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
