"""`asyncwb import`: what lies in folders of other trackers becomes runs of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.importers import lab as lab


def _write(folder: Path) -> None:
    records = [
        lab.run_record("abc", name="first"),
        *[lab.history_record(step, {"loss": step}) for step in range(7)],
        lab.message((8, lab.message((1, "an artifact")))),
        lab.exit_record(0),
    ]
    lab.write_log(folder / "wandb" / "offline-run-1-abc", records)


@pytest.mark.usefixtures("stop_server")
def test_wandb_folders_come_over_and_one_that_is_bad_does_not_stop_the_rest(
    cli: Cli, tmp_path: Path
) -> None:
    _write(tmp_path / "good")
    bad = tmp_path / "good" / "wandb" / "offline-run-2-bad"
    bad.mkdir()
    (bad / "run-bad.wandb").write_bytes(b"nothing of the kind")
    done = cli("import", "wandb-offline", str(tmp_path / "good"), "--project", "moved")
    assert done.returncode == 1, done.stderr
    assert "moved/abc" in done.stdout
    assert "1 x artifact" in done.stdout
    assert "is no W&B log" in done.stdout
    (bad / "run-bad.wandb").unlink()
    again = cli("import", "wandb-offline", str(tmp_path / "good"), "--project", "moved")
    assert again.returncode == 0, again.stderr
    row = next(line for line in again.stdout.splitlines() if "moved/abc" in line)
    assert " 0 " in row


@pytest.mark.usefixtures("stop_server")
def test_a_tensorboard_folder_comes_over(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "board"
    folder.mkdir()
    events = [lab.record_bytes(lab.event(n, lab.message((1, "t"), (3, 0.5)))) for n in range(3)]
    (folder / "x.tfevents.1").write_bytes(b"".join(events))
    done = cli("import", "tensorboard", str(folder), str(tmp_path / "absent"))
    assert done.returncode == 1
    assert "No such folder" in done.stderr
    done = cli("import", "tensorboard", str(folder), "--project", "boards")
    assert done.returncode == 0, done.stderr
    assert "boards/tb" in done.stdout
    assert "3 x value without data" in done.stdout.replace("empty ", "")


def test_a_server_to_import_from_needs_its_key(cli: Cli) -> None:
    done = cli("import", "wandb", "team/project", "--from", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "WANDB_SOURCE_API_KEY" in done.stderr
