"""A folder that was left: all of it arrives once, and nothing goes that has not arrived."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncwb.engine.drain import Drained, drain
from asyncwb.engine.frames.pipeline import FoundSegments, Reader
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.journal.folder import RunFolder
from asyncwb.engine.journal.inbox import Inbox
from asyncwb.engine.journal.journal import Journal, find_segments
from asyncwb.engine.journal.sealed import SealedFile
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http
from asyncwb.engine.uploads.saved import Link, Saved
from asyncwb.errors import Error
from asyncwb.wire.history import StepRule
from tests.engine.conftest import Line
from tests.engine.lab import SMALL, frames_of, leave
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect

pytestmark = pytest.mark.anyio

ROWS = 300
"""rows that fill several segments"""


def _nothing(_: Progress) -> None:
    pass


async def send(
    folder: RunFolder,
    server: ServerHandle,
    line: Http,
    *,
    moved: Callable[[Progress], None] = _nothing,
    **changed: Any,
) -> Drained:
    where = Address(changed.pop("url", server.url), changed.pop("key", server.api_key))
    given = {"memory": 2**20, "patience": 30.0, **changed}
    return await drain(RunFolder(folder.path), where, line, moved=moved, **given)


async def info(server: ServerHandle, run: str = "r") -> tuple[int, int, str]:
    """What the server has of a run: rows, rows lost, state."""
    async with connect(server) as client:
        found = await client.run(run)
        return found["rows"], found["lost"], found["state"]


def seal(folder: RunFolder, part: int, parts: int) -> None:
    """Seal the first of the frames, and trim the journal behind them."""
    frames = frames_of(Reader(FoundSegments(folder.journal)))
    frames = frames[: part * len(frames) // parts]
    SealedFile(folder.sealed).append([frame.encode() for frame in frames])
    end = frames[-1].first_seq + frames[-1].count
    kept = next(iter(frames_of(Reader(FoundSegments(folder.journal), end))), None)
    for path in find_segments(folder.journal):
        segment = FoundSegments(folder.journal).after(int(path.stem) - 1)
        assert segment is not None
        if segment.first_seq + segment.count <= end:
            path.unlink()
    assert kept is None or kept.first_seq == end


@pytest.mark.parametrize("mode", ["online", "offline"])
async def test_all_of_it_arrives_and_what_is_not_needed_goes(
    server: ServerHandle, line: Line, tmp_path: Path, mode: str
) -> None:
    folder = leave(tmp_path, rows=ROWS, mode=mode)
    seen: list[int] = []
    drained = await send(folder, server, line, moved=lambda p: seen.append(p.next_seq))
    assert drained == Drained(ROWS, 0, live=False, error=None)
    assert seen == sorted({*seen})
    assert seen[-1] == ROWS + 2
    assert await info(server) == (ROWS, 0, "finished")
    assert folder.path.exists() == (mode == "offline")
    if mode == "offline":
        assert folder.read_synced() == {server.url: ROWS + 2}
        assert find_segments(folder.journal), "another server may be sent it, too"


@pytest.mark.parametrize("part", [1, 2, 4])
async def test_sealed_frames_come_first_then_the_journal(
    server: ServerHandle, line: Line, tmp_path: Path, part: int
) -> None:
    folder = leave(tmp_path, rows=ROWS, mode="offline")
    seal(folder, part, 4)
    assert await send(folder, server, line) == Drained(ROWS, 0, live=False, error=None)
    assert await info(server) == (ROWS, 0, "finished")


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_second_time_changes_nothing(
    server: ServerHandle, line: Line, tmp_path: Path, remembered: bool
) -> None:
    folder = leave(tmp_path, rows=ROWS, mode="offline")
    await send(folder, server, line)
    if not remembered:
        (folder.path / "synced.json").unlink()
    again = await send(folder, server, line)
    assert (again.lost, again.error) == (0, None)
    assert not (remembered and again.sent)
    assert await info(server) == (ROWS, 0, "finished")


@pytest.mark.parametrize("mode", ["online", "offline"])
async def test_a_run_that_is_logged_to_is_sent_and_left_alone(
    server: ServerHandle, line: Line, tmp_path: Path, mode: str
) -> None:
    folder = leave(tmp_path, rows=0, mode=mode, ends=False)
    assert folder.lock()
    for path in find_segments(folder.journal):
        path.unlink()
    inbox = Inbox(Journal(folder.journal, first_capacity=SMALL, max_capacity=SMALL), StepRule())
    inbox.event({"t": "start", "at": 1.0, "config": {}})
    inbox.log({"i": 0})
    for i in range(1, ROWS):
        inbox.log({"i": i})
        if not i % 100:
            there = [*find_segments(folder.journal)]
            drained = await send(folder, server, line)
            assert (drained.live, drained.lost, drained.error) == (True, 0, None)
            assert find_segments(folder.journal) == there
            assert (await info(server))[:2] == (i + 1, 0)
    inbox.close({"t": "finish", "exit_code": 0})
    assert not RunFolder(folder.path).lock(), "it was taken from nobody"
    folder.unlock()
    drained = await send(folder, server, line)
    assert (drained.live, drained.lost, drained.error) == (False, 0, None)
    assert await info(server) == (ROWS, 0, "finished")
    inbox._journal.close()


async def test_a_folder_that_vanishes_meanwhile_was_sent(
    server: ServerHandle, line: Line, tmp_path: Path
) -> None:
    folder = leave(tmp_path, rows=ROWS)
    drained = await send(folder, server, line, moved=lambda _: shutil.rmtree(folder.path))
    assert (drained.sent, drained.lost, drained.error) == (ROWS, 0, None)
    assert await info(server) == (ROWS, 0, "finished")
    with pytest.raises(Error, match=r"run\.json cannot be read"):
        await send(folder, server, line)


async def test_a_damaged_record_is_told_and_nothing_is_deleted(
    server: ServerHandle, line: Line, tmp_path: Path
) -> None:
    folder = leave(tmp_path, rows=ROWS)
    first, *others = find_segments(folder.journal)
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    for _ in range(2):
        drained = await send(folder, server, line)
        assert "fails its checksum" in str(drained.error)
        assert find_segments(folder.journal) == [first, *others]
        rows, lost, state = await info(server)
        assert (rows + lost, state) == (ROWS, "finished")
        assert 0 < lost < ROWS // len(others)


async def test_a_damaged_sealed_frame_is_counted_and_those_behind_it_arrive(
    server: ServerHandle, line: Line, tmp_path: Path
) -> None:
    folder = leave(tmp_path, rows=ROWS, mode="offline")
    seal(folder, 3, 4)
    path = folder.sealed / "frames.awf"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    drained = await send(folder, server, line)
    assert "missing in the middle" in str(drained.error)
    assert drained.lost > 0
    assert await info(server) == (ROWS - drained.lost, drained.lost, "finished")
    assert path.read_bytes() == data


async def test_a_start_that_is_gone_is_begun_in_its_place(
    server: ServerHandle, line: Line, tmp_path: Path
) -> None:
    folder = leave(tmp_path, rows=ROWS)
    find_segments(folder.journal)[0].unlink()
    drained = await send(folder, server, line)
    assert drained.lacks_start
    assert drained.sent < ROWS
    assert (await info(server))[0] == drained.sent


@pytest.mark.parametrize("live", [False, True])
async def test_files_follow_the_rows(
    server: ServerHandle, line: Line, tmp_path: Path, live: bool
) -> None:
    folder = leave(tmp_path, rows=ROWS)
    for name in ("now", "end"):
        (folder.files / name).write_bytes(name.encode())
    Saved(folder).add([Link("now", "now", linked=True), Link("end", "end", linked=False)])
    assert not live or folder.lock()
    drained = await send(folder, server, line)
    assert (drained.sent, drained.error, drained.files) == (ROWS, None, 1 if live else 2)
    assert line.routes.index("graphql") > line.routes.index("ingest")
    assert "ingest" not in line.routes[line.routes.index("graphql") :]
    assert (folder.files / "end").exists(), "the user's own"
    assert (folder.files / "now").exists() == live
    assert bool(find_segments(folder.journal)) == live
    if live:
        folder.unlock()
        line.asked.clear()
        drained = await send(folder, server, line)
        assert (drained.error, drained.files) == (None, 1), "what waited for the end"


@pytest.mark.parametrize(
    ("changed", "problem", "unreachable"),
    [
        ({"key": "wrong"}, "does not accept the API key", False),
        ({"url": "http://127.0.0.1:9", "patience": 0.2}, "no answer from", True),
    ],
)
async def test_what_cannot_be_sent_stays_with_its_files(
    server: ServerHandle,
    line: Line,
    tmp_path: Path,
    changed: dict[str, Any],
    problem: str,
    unreachable: bool,
) -> None:
    folder = leave(tmp_path, rows=ROWS)
    (folder.files / "f").touch()
    Saved(folder).add([Link("f", "now", linked=True)])
    before = {path: path.read_bytes() for path in find_segments(folder.journal)}
    said: list[str] = []
    drained = await send(folder, server, line, say=said.append, **changed)
    assert problem in str(drained.error)
    assert (drained.sent, drained.files, drained.unreachable) == (0, 0, unreachable)
    assert len(said) == unreachable
    assert "graphql" not in line.routes
    assert {path: path.read_bytes() for path in find_segments(folder.journal)} == before
    assert [*Saved(folder).read()] == ["f"]
    assert folder.lock(), "and is free again"
    folder.unlock()
    assert await send(folder, server, line) == Drained(ROWS, 0, False, None, files=1)
    assert not folder.path.exists()


async def test_a_run_that_must_be_there_is_made_only_if_asked_for(
    server: ServerHandle, line: Line, tmp_path: Path
) -> None:
    folder = leave(tmp_path, rows=ROWS, resume="must")
    drained = await send(folder, server, line)
    assert "asyncwb sync --create DIR" in str(drained.error)
    assert find_segments(folder.journal)
    drained = await send(folder, server, line, create=True)
    assert (drained.sent, drained.error) == (ROWS, None)
    assert not folder.path.exists()
