"""A server on a full disk starts and shows what it has, or says in words why it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncwb.errors import UsageError
from asyncwb.settings import default_entity
from asyncwb.wire.ingest import encode_batch
from tests.fix_faults import SmallDisk
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, event_frame, first_frame, head

pytestmark = pytest.mark.anyio

SmallDisks = Callable[[int], SmallDisk]


def fill(folder: Path) -> Path:
    """Take all room that a file system has."""
    path = folder / "full"
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


@pytest.mark.parametrize("stopped", ["cleanly", "killed"])
async def test_a_server_on_a_full_disk_shows_what_it_has(
    start_server: Callable[..., ServerHandle],
    small_disk: SmallDisks,
    caplog: pytest.LogCaptureFixture,
    stopped: str,
) -> None:
    disk = small_disk(24)
    server = start_server(data=disk.path / "server")
    async with connect(server) as client:
        await client.send(first_frame(1000))
    if stopped == "cleanly":
        server.stop()
        fill(disk.path)
        server.start()
    else:  # a copy of what lies there while it runs is what a kill leaves
        shutil.copytree(disk.path / "server", disk.path / "killed")
        for name in (".reserve", "server.json"):  # of an older server; each would give a page
            (disk.path / "killed" / name).unlink()
        server.stop()
        fill(disk.path)
        server = start_server(data=disk.path / "killed")
        assert "server.json cannot be written: No space left on device" in caplog.text
    async with connect(server) as client:
        assert (await client.run())["rows"] == 1000
        history = f"/api/v1/runs/{default_entity()}/p/r1/history?format=jsonl"
        async with client.session.get(history) as answer:
            assert len((await answer.read()).splitlines()) == 1000
        frame = event_frame(1001, {"t": "config", "set": {"x": "x" * 2**20}})
        status, refusal = await client.post_raw(encode_batch([(head(), [frame])]))
        assert (status, refusal["error"]["code"]) == (503, "storage_unavailable")


async def test_a_server_that_cannot_start_on_a_full_disk_says_so(
    start_server: Callable[..., ServerHandle], small_disk: SmallDisks
) -> None:
    disk = small_disk(24)
    server = start_server(data=disk.path / "server")
    server.stop()
    (disk.path / "server" / ".reserve").unlink()
    full = fill(disk.path)
    with pytest.raises(UsageError, match=r"the disk of .* is full: the server cannot be started"):
        server.start()
    full.unlink()
    server.start()
