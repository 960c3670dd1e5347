"""The write-ahead log of a killed server is damaged: it is named, kept, and named again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import oracle
from tests.fix_faults import Lab, ServerProcess, Tally

pytestmark = pytest.mark.timeout(120)


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of asyncwb."""
    line = [sys.executable, "-m", "asyncwb", command, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def log(lab: Lab, server_process: ServerProcess) -> Path:
    """The log of a server that was killed, with a byte in its middle that is another one."""
    for name in ("first", "second"):
        lab.train(server_process.target, name, rows=300, pace=0.001).end()
    server_process.kill()
    log = server_process.data / "asyncwb.db-wal"
    damage(log)
    return log


def damage(log: Path, at: int | None = None) -> None:
    """Change a byte of a log: that in its middle, where no other one is named."""
    data = bytearray(log.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 0x10
    log.write_bytes(data)


def copies(log: Path) -> list[Path]:
    """Return what was kept of a log."""
    return sorted(log.parent.glob("*.damaged-*"))


def test_a_server_keeps_a_damaged_log_and_says_so(
    log: Path, server_process: ServerProcess, tally: Tally
) -> None:
    damaged = log.read_bytes()
    server_process.start()
    said = server_process.log.read_text()
    (copy,) = copies(log)
    assert copy.name == "asyncwb.db-wal.damaged-1"
    assert copy.read_bytes() == damaged
    assert copy.stat().st_mode & 0o777 == 0o600
    assert f"The damaged log is kept as {copy}" in said
    assert "what was committed from there on is lost, about" in said
    for _ in range(2):
        found = run("verify", "--data", str(server_process.data))
        assert found.returncode == 1
        assert f"{copy} (SQLite's write-ahead log) is damaged at byte" in found.stderr
        assert "1 damaged." in found.stderr
    server_process.kill()
    server_process.start()  # what it lost once is not lost again
    assert server_process.log.read_text().count("is damaged") == said.count("is damaged") == 1
    assert copies(log) == [copy]
    copy.unlink()
    found = run("verify", "--data", str(server_process.data))
    assert (found.returncode, found.stderr) == (0, "")
    tally(server_kills=2, flipped_bytes=1)


def test_what_the_first_start_wrote_is_not_lost_with_the_log(
    lab: Lab, server_process: ServerProcess, tally: Tally
) -> None:
    """The schema, the store's id and the admin's key, which a log has that was never closed."""
    lab.train(server_process.target, "first", rows=300, pace=0.001).end()
    server_process.kill()
    (server_process.data / "objects" / "segments").mkdir(exist_ok=True)
    (server_process.data / "objects" / "segments" / "sealed.parquet").write_bytes(b"rows")
    damage(server_process.data / "asyncwb.db-wal", at=100)  # in the first page of the first commit
    server_process.start()
    assert not oracle.exists(server_process.target, "first")
    lab.train(server_process.target, "second", rows=300, pace=0.001).end()
    assert oracle.exists(server_process.target, "second")
    tally(server_kills=1, flipped_bytes=1)


@pytest.mark.parametrize("command", ["verify", "backup"])
def test_what_reads_the_store_first_keeps_the_log(
    log: Path, server_process: ServerProcess, command: str, tmp_path: Path, tally: Tally
) -> None:
    damaged, data = log.read_bytes(), ("--data", str(server_process.data))
    folder = [str(tmp_path / "backup")] if command == "backup" else []
    found = run(command, *folder, *data)
    assert found.returncode == 1
    assert "1 damaged." in found.stderr
    (copy,) = copies(log)
    assert copy.read_bytes() == damaged
    assert run("verify", *data).returncode == 1
    tally(server_kills=1, flipped_bytes=1)


def test_an_earlier_copy_is_not_overwritten(
    lab: Lab, log: Path, server_process: ServerProcess, tally: Tally
) -> None:
    server_process.start()
    first = copies(log)[0].read_bytes()
    lab.train(server_process.target, "third", rows=300, pace=0.001).end()
    assert oracle.exists(server_process.target, "third")
    server_process.kill()
    damage(log)
    second = log.read_bytes()
    server_process.start()
    assert [copy.read_bytes() for copy in copies(log)] == [first, second]
    tally(server_kills=2, flipped_bytes=2)


def test_a_log_that_cannot_be_kept_is_not_opened(
    log: Path, server_process: ServerProcess, tally: Tally
) -> None:
    damaged = log.read_bytes()
    (log.parent / ".asyncwb.db-wal.damaged-1").mkdir()  # in the way of the copy
    for command in ("verify", "server"):
        refused = run(command, "--data", str(server_process.data))
        assert refused.returncode == 1
        assert "cannot be copied beside it" in refused.stderr
        assert "nothing was changed" in refused.stderr
        assert log.read_bytes() == damaged
    tally(server_kills=1, flipped_bytes=1)
