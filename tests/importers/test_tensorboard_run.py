from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX import SummaryWriter

from asyncwb.engine.uplink.http import Http
from asyncwb.errors import CommError, UsageError
from asyncwb.importers import tensorboard_run
from asyncwb.importers.importing import ImportResult, sync_tensorboard
from asyncwb.importers.items import Row
from asyncwb.importers.target import Target
from asyncwb.importers.tensorboard_logs import EventFile, FilePart, find_event_files
from tests.fix_server import ServerHandle
from tests.importers import lab as lab
from tests.server.ingest_client import connect, first_frame

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 5, 4) + b"rest"
EDGES = np.array([[0.0, 1.0, 4.0], [1.0, 3.0, 2.0]])


def writer(folder: Path, suffix: str = "", purge_step: int | None = None) -> Any:
    """Open a real writer; its files are told apart by the suffix within one second."""
    return SummaryWriter(str(folder), filename_suffix=suffix, purge_step=purge_step)


async def bring(target: Target, folder: Path, **options: Any) -> ImportResult:
    http = Http(20.0)
    try:
        return await sync_tensorboard(folder, http=http, address=target.address, **options)
    finally:
        await http.close()


def rows_of(path: Path) -> tuple[list[Row], FilePart]:
    """Read one file: its whole rows and the last one."""
    part = FilePart(EventFile(path, ""), started_at=0.0, media=True)
    rows = [item for item in part.items() if isinstance(item, Row)]
    return [*rows, *part.found.tail], part


async def test_what_a_real_writer_logs_comes_over(server: ServerHandle, tmp_path: Path) -> None:
    with writer(tmp_path / "run") as root:
        for step in range(3):
            root.add_scalar("loss", 1 / (step + 1), step)
            root.add_scalar("acc.top1", step, step)
        root.add_histogram("weights", np.arange(100.0), 3)
        root.add_image("one", np.zeros((3, 4, 5), dtype=np.uint8), 4)
        root.add_text("words", "hello", 5)
        root.add_pr_curve("pr", np.array([0, 1, 1]), np.array([0.1, 0.8, 0.5]), 6)
    with writer(tmp_path / "run" / "validation") as nested:
        nested.add_scalar("loss", 0.75, 2)
    async with lab.target_of(server) as target:
        result = await bring(target, tmp_path / "run", run_id="tb", project="boards")
        again = await bring(target, tmp_path / "run", run_id="tb", project="boards")
        assert result.path is not None
        info = await target.info(result.path)
        rows = await lab.history_of(target, result.path)
    assert (result.error, dict(result.left), result.notes) == (None, {}, [])
    assert (result.files, again.rows, again.files) == (1, 0, 0)
    assert info is not None
    assert (info["project"], info["id"], info["name"]) == ("boards", "tb", "run")
    assert (info["state"], info["exit_code"]) == ("finished", 0)
    by_step = {row["_step"]: row for row in rows}
    assert by_step[2]["loss"] == np.float32(1 / 3)
    assert by_step[2]["validation/loss"] == 0.75
    assert by_step[1]["acc\\.top1"] == 1.0
    histogram = by_step[3]["weights"]
    assert histogram["_type"] == "histogram"
    assert len(histogram["bins"]) == len(histogram["values"]) + 1
    assert (sum(histogram["values"]), histogram["bins"][0], histogram["bins"][-1]) == (100, 0, 99)
    image = by_step[4]["one"]
    assert (image["_type"], image["width"], image["height"]) == ("image-file", 5, 4)
    words = next(value for key, value in by_step[5].items() if key.startswith("words"))
    assert words == "hello"
    curve = by_step[6]["pr"]
    assert (curve["_type"], curve["plugin"], curve["shape"][0]) == ("tensor", "pr_curves", 6)


async def test_hyperparameters_become_the_config(server: ServerHandle, tmp_path: Path) -> None:
    with writer(tmp_path) as root:
        root.add_hparams({"lr": 0.1, "opt": "adam", "flag": True, "n": 3}, {"m": 1.0})
    async with lab.target_of(server) as target:
        result = await bring(target, tmp_path)
        assert result.path is not None
        info = await target.info(result.path)
    assert info is not None
    assert info["config"] == {"lr": 0.1, "opt": "adam", "flag": True, "n": 3}


def test_values_in_tensor_form_are_the_same_values(tmp_path: Path) -> None:
    strings = lab.message((1, 7), (8, b"4"), (8, b"5"), (8, PNG), (8, PNG + b"!"))
    clip = lab.message((1, 7), (2, lab.message((2, lab.message((1, 1))))), (8, b"RIFFdata"))
    data = [
        lab.event(0, lab.tagged("s", lab.tensor(1, [], struct.pack("<f", 0.5)), "scalars")),
        lab.event(1, lab.tagged("s", lab.tensor(1, [], struct.pack("<f", 0.25)))),
        lab.event(2, lab.tagged("h", lab.tensor(2, [2, 3], EDGES.tobytes()), "histograms")),
        lab.event(3, lab.tagged("i", strings, "images"), lab.tagged("a", clip, "audio")),
        lab.event(4, lab.tagged("t", lab.message((1, 7), (8, "hi")), "text")),
        lab.event(5, lab.tagged("n", lab.tensor(3, [2], struct.pack("<ii", 1, -2)))),
        lab.event(6, lab.tagged("big", lab.tensor(2, [5000], bytes(40000)), "mesh")),
        lab.message((1, 1.0), (4, b"graph")),
    ]
    path = tmp_path / "x.tfevents.1"
    path.write_bytes(b"".join(map(lab.record_bytes, data)))
    rows, part = rows_of(path)
    values = {row.step: dict(row.values) for row in rows}
    assert values[0] == {"s": 0.5}
    assert values[1] == {"s": 0.25}
    assert values[2] == {"h": {"_type": "histogram", "bins": [0, 1, 3], "values": [4, 2]}}
    assert values[3]["i"]["_type"] == "images/separated"
    assert (values[3]["i"]["count"], values[3]["i"]["width"]) == (2, 5)
    assert values[3]["a"]["_type"] == "audio-file"
    assert [file.data for file in rows[3].files] == [PNG, PNG + b"!", b"RIFFdata"]
    assert values[4] == {"t": "hi"}
    assert values[5] == {"n": {"_type": "tensor", "plugin": "", "shape": [2], "values": [1, -2]}}
    assert 6 not in values
    assert dict(part.found.left) == {"mesh (more than 4,096 numbers)": 1, "graph": 1}


@pytest.mark.parametrize("joined", [False, True], ids=["another file", "the same file"])
async def test_a_session_that_starts_again_replaces_what_came_after_its_step(
    server: ServerHandle, tmp_path: Path, *, joined: bool
) -> None:
    folder = tmp_path / "tb"
    with writer(folder, "a") as first:
        for step in range(6):
            first.add_scalar("loss", step, step)
    with writer(folder, "b", purge_step=3) as second:
        second.add_scalar("loss", 103, 3)
    before, after = sorted(folder.iterdir())
    if joined:
        before.write_bytes(before.read_bytes() + after.read_bytes())
        after.unlink()
    async with lab.target_of(server) as target:
        result = await bring(target, folder)
        assert result.path is not None
        rows = await lab.history_of(target, result.path)
    assert [(row["_step"], row["loss"]) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 103)]
    assert set(result.left) == {"value that a later session replaced"}


def log(folder: Path, suffix: str, steps: Sequence[int], purge_step: int | None = None) -> None:
    with writer(folder, suffix, purge_step) as session:
        for step in steps:
            session.add_scalar("loss", 100 * (purge_step is not None) + step, step)


async def state_of(target: Target, result: ImportResult) -> tuple[Any, ...]:
    assert result.path is not None
    about = await target.info(result.path) or {}
    rows = await lab.history_of(target, result.path)
    found = [(row["_step"], row["loss"]) for row in rows]
    return found, about["summary"]["loss"], about["state"], about["rows"]


@pytest.mark.parametrize("purged", [5, 3, 0], ids=["the last row", "some", "all"])
@pytest.mark.parametrize("joined", [False, True], ids=["another file", "the same file"])
async def test_what_a_session_replaces_after_an_import_is_gone_with_the_next(
    server: ServerHandle, tmp_path: Path, purged: int, *, joined: bool
) -> None:
    folder = tmp_path / "tb"
    log(folder, "a", range(6))
    async with lab.target_of(server) as target:
        await bring(target, folder)
        (before,) = folder.iterdir()
        log(folder, "b", [purged, purged + 1], purge_step=purged)
        if joined:
            (after,) = set(folder.iterdir()) - {before}
            before.write_bytes(before.read_bytes() + after.read_bytes())
            after.unlink()
        for _ in range(2):
            result = await bring(target, folder)
            assert result.error is None
        fresh = await bring(target, folder, run_id="fresh")
        assert await state_of(target, result) == await state_of(target, fresh)
        log(folder, "c", [purged], purge_step=purged)
        again = await bring(target, folder)
        fresh = await bring(target, folder, run_id="fresh2")
        assert await state_of(target, again) == await state_of(target, fresh)
    assert any("dropped and imported anew" in note for note in again.notes)
    assert not any("anew" in note for note in result.notes)


async def test_an_import_that_is_cut_off_while_it_begins_anew_says_so_until_it_is_through(
    server: ServerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tb"
    log(folder, "a", range(6))
    async with lab.target_of(server) as target:
        first = await bring(target, folder)
        log(folder, "b", [3, 4], purge_step=3)
        send = Target.send
        for last in range(100):  # one request more each time, from where the last one came to
            monkeypatch.setattr(Target, "send", _cut_off_at(send, last))
            result = await bring(target, folder)
            if result.error is None:
                break
            assert first.path is not None
            about = await target.info(first.path) or {}
            rows = await lab.history_of(target, first.path)
            whole = [row["loss"] for row in rows] == list(range(6))
            assert whole or about["state"] == "running"
        assert last > 3
        monkeypatch.undo()
        fresh = await bring(target, folder, run_id="fresh")
        assert await state_of(target, result) == await state_of(target, fresh)


def _cut_off_at(send: Any, last: int) -> Any:
    left = iter(range(1 if last else 0))

    async def cut_off(self: Target, head: Any, frame: bytes) -> int:
        if next(left, None) is None:
            raise CommError("cut off")
        return int(await send(self, head, frame))

    return cut_off


async def test_a_run_with_rows_of_another_origin_loses_none(
    server: ServerHandle, tmp_path: Path
) -> None:
    folder = tmp_path / "tb"
    log(folder, "a", range(6))
    async with lab.target_of(server) as target:
        await bring(target, folder, run_id="r1", project="p")
        async with connect(server) as client:
            await client.send(first_frame(1))
        log(folder, "b", [3], purge_step=3)
        result = await bring(target, folder, run_id="r1", project="p")
        assert result.path is not None
        rows = await lab.history_of(target, result.path)
    assert [row["_step"] for row in rows] == list(range(6))
    assert rows[3]["loss"] == 103
    assert [note for note in result.notes if "rows of another origin" in note]


async def test_of_two_files_that_repeat_a_step_the_later_is_the_last(
    server: ServerHandle, tmp_path: Path
) -> None:
    folder = tmp_path / "tb"
    for number, steps in enumerate((range(5), range(3, 7), [5])):
        with writer(folder, "abc"[number]) as session:
            for step in steps:
                session.add_scalar("loss", 100 * number + step, step)
    async with lab.target_of(server) as target:
        for _ in range(2):
            result = await bring(target, folder)
            assert result.path is not None
            rows = await lab.history_of(target, result.path)
            shown = (await target.info(result.path) or {})["summary"]
            found = [(row["_step"], row["loss"]) for row in rows]
            assert found == [(0, 0), (1, 1), (2, 2), (3, 103), (4, 104), (5, 205), (6, 106)]
            assert (shown["loss"], shown["_step"]) == (106, 6)


async def test_tags_that_rows_have_of_their_own_are_renamed(
    server: ServerHandle, tmp_path: Path
) -> None:
    names = ("_runtime", "_step", "_timestamp", "_open")
    with writer(tmp_path) as session:
        for step in range(2):
            for name in names:
                session.add_scalar(name, step + 7, step)
    async with lab.target_of(server) as target:
        result = await bring(target, tmp_path)
        assert result.path is not None
        rows = await lab.history_of(target, result.path)
    assert rows == [{"_step": n, **{f"{name}_": n + 7 for name in names}} for n in range(2)]
    assert len(result.notes) == len(names)


async def test_a_file_that_grew_goes_on_and_doubles_nothing(
    server: ServerHandle, tmp_path: Path
) -> None:
    whole = b"".join(
        lab.record_bytes(lab.event(step // 2, _scalar("ab"[step % 2], step))) for step in range(20)
    )
    path = tmp_path / "x.tfevents.1"
    async with lab.target_of(server) as target:
        for size in (0, 10, len(whole) // 3, len(whole) // 2 + 5, len(whole)):
            path.write_bytes(whole[:size])
            result = await bring(target, tmp_path, run_id="grows")
            assert result.error is None
        assert result.path is not None
        info = await target.info(result.path)
        rows = await lab.history_of(target, result.path)
    assert rows == [{"_step": n, "a": 2 * n, "b": 2 * n + 1} for n in range(10)]
    assert info is not None
    assert info["state"] == "finished"


async def test_files_are_followed_until_nothing_is_added(
    server: ServerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_run, "_POLL", 0.01)
    waiting = [_scalar("loss", step) for step in range(1, 5)]
    path = tmp_path / "x.tfevents.1"
    path.write_bytes(lab.record_bytes(lab.event(0, _scalar("loss", 0))))

    def grow(_progress: object) -> None:
        step = 5 - len(waiting)
        if waiting and step == 3:  # a file that nobody has seen
            other = tmp_path / "late" / "y.tfevents.2"
            other.parent.mkdir()
            other.write_bytes(lab.record_bytes(lab.event(step, waiting.pop(0))))
        elif waiting:
            with path.open("ab") as file:
                file.write(lab.record_bytes(lab.event(step, waiting.pop(0))))

    async with lab.target_of(server) as target:
        result = await bring(target, tmp_path, quiet=0.5, report=grow)
        assert result.path is not None
        info = await target.info(result.path)
        rows = await lab.history_of(target, result.path)
    assert result.error is None
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[3]["late/loss"] == 3
    assert info is not None
    assert info["state"] == "finished"


def test_files_of_one_second_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["b.tfevents.999.h.7.3", *(f"a.tfevents.1000.h.{n}.0" for n in (8, 9, 10, 100))]
    names.append("events.out.tfevents.1001.h.1.0")
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [file.path.name for file in find_event_files(tmp_path)] == names


def test_a_flipped_bit_is_reported_and_what_stands_before_it_is_kept(tmp_path: Path) -> None:
    records = [lab.record_bytes(lab.event(step, _scalar("a", step))) for step in range(4)]
    data = bytearray(b"".join(records))
    data[len(records[0]) + len(records[1]) + 20] ^= 1
    path = tmp_path / "x.tfevents.1"
    path.write_bytes(data)
    rows, part = rows_of(path)
    assert [row.step for row in rows] == [0, 1]
    assert "fails its checksum" in part.found.notes[0]


async def test_a_folder_without_event_files_is_an_error_that_says_so(
    server: ServerHandle, tmp_path: Path
) -> None:
    async with lab.target_of(server) as target:
        with pytest.raises(UsageError, match="no TensorBoard event file"):
            await bring(target, tmp_path)
        with pytest.raises(UsageError, match="No such folder"):
            await bring(target, tmp_path / "absent")


def _scalar(tag: str, value: float) -> bytes:
    simple = struct.pack("<f", value)
    return lab.message((1, tag)) + b"\x15" + simple
