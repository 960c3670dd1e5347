from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncwb.errors import CommError, Error
from asyncwb.importers import importing
from asyncwb.importers.items import Line
from asyncwb.importers.target import Target
from asyncwb.importers.wandb_log_file import LogReader
from asyncwb.importers.wandb_logs import LoggedRun, LogSource, find_runs
from tests.fix_server import ServerHandle
from tests.importers import lab as lab

pytestmark = pytest.mark.anyio

RECORDS = [
    lab.run_record(
        "abc",
        name="first",
        group="g",
        job_type="train",
        notes="n",
        host="box",
        tags=["a", "b"],
        config={"lr": 0.1, "net": {"depth": 3}},
    ),
    lab.metric_record("acc", 2),
    *[
        lab.history_record(
            step, {"loss": 1 / (step + 1), "acc": [3, 9, 4][step % 3], "val|x.y": step, "t": "é"}
        )
        for step in range(20)
    ],
    lab.history_record(50, {"nan": math.nan, "none": None, "h": {"_type": "histogram"}}),
    lab.config_record({"late": [1, 2]}),
    lab.output_record("one\ntw"),
    lab.output_record("bad\n", error=True),
    lab.output_record("o 1%\ro 9%\n"),
    lab.stats_record({"cpu": 7.5}),
    lab.summary_record(
        {"loss": 0.05, "acc": {"max": 9}, "val|x.y": 19, "t": "é", "nan": math.nan}
        | {"h": {"_type": "histogram"}, "best": {"at": 3}, "by|hand": 7}
    ),
    lab.exit_record(3),
]


def source(*folders: Path, project: str | None = None) -> LogSource:
    runs, bad = find_runs(folders, entity=None, project=project)
    assert len(runs) == 1
    assert not bad
    return runs[0]


async def test_a_log_comes_over_as_its_client_would_have_sent_it(
    server: ServerHandle, tmp_path: Path
) -> None:
    log = lab.write_log(tmp_path / "wandb" / "offline-run-1-abc", RECORDS)
    (log.parent / "files" / "media").mkdir()
    (log.parent / "files" / "media" / "a b#1.txt").write_text("content")
    async with lab.target_of(server) as target:
        (result,) = await lab.bring(target, source(tmp_path))
        assert (result.error, result.rows, result.files, result.lines) == (None, 21, 1, 4)
        assert result.path is not None
        info = await target.info(result.path)
        rows = await lab.history_of(target, result.path)
    assert info is not None
    said = {name: info[name] for name in ("id", "project", "name", "group", "job_type", "host")}
    assert said == {
        "id": "abc",
        "project": "mnist",
        "name": "first",
        "group": "g",
        "job_type": "train",
        "host": "box",
    }
    assert (info["tags"], info["notes"]) == (["a", "b"], "n")
    assert (info["state"], info["exit_code"], info["started_at"]) == ("failed", 3, lab.START)
    config = {key: value for key, value in info["config"].items() if key != "_wandb"}
    assert config == {"lr": 0.1, "net": {"depth": 3}, "late": [1, 2]}
    summary = {k: v for k, v in info["summary"].items() if not k.startswith("_")}
    assert summary == {
        "loss": 0.05,
        "acc": {"max": 9},
        "val": {"x.y": 19},
        "t": "é",
        "nan": "NaN",
        "h": {"_type": "histogram"},
        "best": {"at": 3},
        "by": {"hand": 7},
    }
    assert len(rows) == 21
    assert rows[4] == {"_step": 4, "loss": 0.2, "acc": 9, "val.x\\.y": 4, "t": "é"}
    assert rows[20].keys() == {"_step", "nan", "none", "h"}
    assert math.isnan(rows[20]["nan"])


def test_what_was_printed_becomes_lines_of_which_the_last_text_counts(tmp_path: Path) -> None:
    run = LoggedRun(lab.write_log(tmp_path, RECORDS))
    texts = [item.text for item in run.items() if isinstance(item, Line)]
    printed = [text.partition("Z ")[2] or text for text in texts[:3]]
    assert [text.split(" ", 1 if not text.startswith("ERROR") else 2)[-1] for text in printed] == [
        "one",
        "bad",
        "o 9%",
    ]
    assert printed[1].startswith("ERROR ")
    assert '"system.cpu":7.5' in texts[3]


@pytest.mark.parametrize("fails_at", range(1, 7))
async def test_an_import_that_was_interrupted_goes_on_where_it_stood(
    server: ServerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    lab.write_log(tmp_path, RECORDS)
    monkeypatch.setattr(importing, "_AT_ONCE", 5)
    async with lab.target_of(server) as target:
        with monkeypatch.context() as patch:
            patch.setattr(Target, "send", _cut(Target.send, fails_at))
            (cut,) = await lab.bring(target, source(tmp_path))
        assert cut.error == "cut"
        (result,) = await lab.bring(target, source(tmp_path))
        (again,) = await lab.bring(target, source(tmp_path))
        assert result.path is not None
        info = await target.info(result.path)
        rows = await lab.history_of(target, result.path)
    assert result.error is None
    # The frame at which it was cut did arrive: only its answer was lost.
    assert again.rows == 0
    assert info is not None
    assert (info["rows"], info["state"]) == (21, "failed")
    assert info["summary"]["acc"] == {"max": 9}
    assert [row["_step"] for row in rows] == [*range(20), 50]


def _cut(send: Callable[..., Awaitable[int]], fails_at: int) -> Callable[..., Awaitable[int]]:
    calls = 0

    async def cut(*args: Any) -> int:
        nonlocal calls
        calls += 1
        answer = await send(*args)
        if calls >= fails_at:
            raise CommError("cut")
        return answer

    return cut


async def test_a_log_without_an_end_goes_on_when_it_has_grown(
    server: ServerHandle, tmp_path: Path
) -> None:
    log = lab.write_log(tmp_path, RECORDS)
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    async with lab.target_of(server) as target:
        (torn,) = await lab.bring(target, source(tmp_path))
        assert torn.error is None
        assert "is cut short" in torn.notes[0]
        assert "no end" in torn.notes[1]
        log.write_bytes(whole)
        (rest,) = await lab.bring(target, source(tmp_path))
        assert rest.path is not None
        info = await target.info(rest.path)
    assert rest.error is None
    assert 0 < torn.rows < 21
    assert torn.rows + rest.rows == 21
    assert info is not None
    assert (info["rows"], info["state"], info["exit_code"]) == (21, "failed", 3)


async def test_a_resumed_run_is_one_run_of_several_logs(
    server: ServerHandle, tmp_path: Path
) -> None:
    first = [lab.run_record("abc"), lab.history_record(0, {"a": 1}), lab.exit_record(1)]
    second = [
        lab.run_record("abc", at=lab.START + 60),
        lab.history_record(1, {"b": 2}),
        lab.summary_record({"b": 2}),
        lab.exit_record(0),
    ]
    lab.write_log(tmp_path / "run-2-abc", second)
    lab.write_log(tmp_path / "run-1-abc", first)
    async with lab.target_of(server) as target:
        (result,) = await lab.bring(target, source(tmp_path))
        assert result.path is not None
        info = await target.info(result.path)
    assert info is not None
    assert (info["rows"], info["state"], info["started_at"]) == (2, "finished", lab.START)
    assert info["summary"]["b"] == 2


async def test_a_run_of_another_origin_is_not_added_to_unless_asked(
    server: ServerHandle, tmp_path: Path
) -> None:
    other = [lab.run_record("abc"), lab.history_record(0, {"a": 1}), lab.exit_record(0)]
    lab.write_log(tmp_path / "a", other)
    lab.write_log(tmp_path / "b", RECORDS)
    async with lab.target_of(server) as target:
        await lab.bring(target, source(tmp_path / "a"))
        (refused,) = await lab.bring(target, source(tmp_path / "b"))
        (added,) = await lab.bring(target, source(tmp_path / "b"), into_existing=True)
    assert refused.error is not None
    assert "another origin" in refused.error
    assert (added.error, added.rows) == (None, 21)


def test_every_truncation_gives_a_prefix_and_says_what_is_missing(tmp_path: Path) -> None:
    records = [b"a" * 10, b"b" * (lab.BLOCK + 5), b"", b"c" * (3 * lab.BLOCK), b"d"]
    whole = lab.log_bytes(records)
    path = tmp_path / "cut.wandb"
    clean = 0
    for size in [*range(7, 60), *range(60, len(whole), 997), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:size])
        reader = LogReader(path)
        found = [*reader]
        assert found == records[: len(found)]
        clean += reader.damage is None
        assert (lab.log_bytes(found) == whole[:size]) or reader.damage is not None
    assert clean
    path.write_bytes(whole)
    assert [*LogReader(path)] == records


@pytest.mark.parametrize("at", [8, 20, lab.BLOCK + 10, 2 * lab.BLOCK + 3])
def test_a_flipped_bit_ends_the_reading_and_is_reported(tmp_path: Path, at: int) -> None:
    records = [b"a" * 10, b"b" * lab.BLOCK, b"c" * (2 * lab.BLOCK)]
    data = bytearray(lab.log_bytes(records))
    data[at] ^= 0x10
    path = tmp_path / "bad.wandb"
    path.write_bytes(data)
    reader = LogReader(path)
    found = [*reader]
    assert found == records[: len(found)]
    assert len(found) < len(records)
    assert reader.damage is not None
    assert "bytes were not read" in reader.damage


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.wandb").write_bytes(b"not a log at all")
    (tmp_path / "y.wandb").write_bytes(lab.log_bytes([lab.exit_record(0)]))
    runs, bad = find_runs([tmp_path], entity=None, project=None)
    assert not runs
    assert [path.name for path, _ in bad] == ["x.wandb", "y.wandb"]
    assert "is no W&B log" in bad[0][1]
    with pytest.raises(Error, match="does not say which run"):
        LoggedRun(tmp_path / "y.wandb")
