"""`asyncwb backup`, `restore` and `verify`: beside a server that runs, and with nothing there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_a_server_is_backed_up_verified_and_restored(
    cli: Cli, served: tuple[str, str], tmp_path: Path
) -> None:
    data, folder = str(tmp_path / "served"), tmp_path / "backup"
    made = cli("backup", str(folder), "--data", data)
    assert (made.returncode, made.stderr) == (0, "")
    assert "0 objects (0 bytes) copied" in made.stdout
    read = cli("verify", "--data", data)
    assert (read.returncode, read.stderr) == (0, "")
    assert read.stdout == "Read an empty store. Nothing is damaged.\n"
    restored = cli("restore", str(folder), "--data", str(tmp_path / "new"))
    assert restored.returncode == 0, restored.stderr
    assert (tmp_path / "new" / "api_key").read_text().strip() == served[1]
    (database,) = folder.glob("database-*/*")
    database.write_bytes(b"x" + database.read_bytes()[1:])
    damaged = cli("verify", str(folder))
    assert damaged.returncode == 1
    assert "its SHA-256 does not match" in damaged.stderr
    assert "Nothing is damaged" not in damaged.stdout


@pytest.mark.usefixtures("stop_server")
def test_a_store_of_this_release_has_checksums_only(
    cli: Cli, log_offline: Callable[[str, int], Path]
) -> None:
    log_offline("one", 5)
    assert cli("sync").returncode == 0
    read = cli("verify")
    assert (read.returncode, read.stderr) == (0, "")
    assert read.stdout.startswith("Read 4 documents, 1 ")
    assert read.stdout.endswith(". Nothing is damaged.\n")
    assert "checksum" not in read.stdout


def test_where_there_is_nothing_it_is_said(cli: Cli, tmp_path: Path) -> None:
    for command in (("backup", str(tmp_path / "b")), ("verify", str(tmp_path))):
        done = cli(*command)
        assert done.returncode == 1
        assert "Nothing was done" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "b").exists()
