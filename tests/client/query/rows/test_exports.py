"""A run's history as Parquet files on disk: from our server, and from one that exported it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

import asyncwb
from asyncwb.apis.public import Api, DownloadHistoryResult, IncompleteRunHistoryError, Run
from asyncwb.errors import CommError, Error, RunNotFoundError
from asyncwb.server.graphql import executable_schema
from asyncwb.settings import default_entity
from tests.client.query.test_api import api_of, ingest, settings_of
from tests.fix_server import ServerHandle
from tests.server.ingest_client import first_frame

NAME = f"{default_entity()}_p_r1_0.runhistory.parquet"
Given = Callable[..., Run]
"""`given(*names, live=None)`: the run at a server that exported these files of it"""


@pytest.fixture
def run(server: ServerHandle) -> Run:
    """A finished run of ten rows."""
    with asyncwb.init(project="p", id="r1", settings=settings_of(server)) as logging:
        for step in range(10):
            row: dict[str, Any] = {"loss": 0.5 * step, "n": step, "deep": {"ok": step > 4}}
            if step % 2:
                row |= {"val": math.nan if step == 3 else 1.5, "lr.base": "x"}
            logging.log(row)
    return api_of(server).run("p/r1")


@pytest.fixture
def given(
    run: Run,
    server: ServerHandle,
    start_server: Callable[..., ServerHandle],
    monkeypatch: pytest.MonkeyPatch,
) -> Given:
    """The run at a server that has only W&B's interface, and files of the history."""

    def make(*files: Path, live: Any = None) -> Run:
        server.stop()
        api: Api = api_of(start_server(data=server.data, native=False))
        found = api.run("p/r1")
        addresses = [found.upload_file(file, file.parent).direct_url for file in files]
        field = executable_schema().type_map["Run"].fields["parquetHistory"]  # type: ignore[attr-defined]
        answer = {"parquet_urls": addresses, "live_data": live}
        monkeypatch.setattr(field, "resolve", lambda *_, **__: answer)
        return found

    return make


def plain(rows: Any) -> list[list[tuple[str, str]]]:
    """Rows without what they lack, so that NaN equals NaN, and 1, 1.0 and True differ."""
    present = ({key: value for key, value in row.items() if value is not None} for row in rows)
    return [sorted((key, repr(value)) for key, value in row.items()) for row in present]


def test_a_finished_runs_history_is_one_file(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "exports"
    found = run.download_history_exports(folder)
    assert found == DownloadHistoryResult([folder / NAME], contains_live_data=False, errors=None)
    table = parquet.read_table(found.paths[0])
    assert [str(table.schema.field(name).type) for name in ("n", "loss", "deep.ok")] == [
        *("int64", "double", "bool")
    ]
    rows = [dict(row) for row in run.scan_history()]
    for row in rows:
        row |= {"lr.base": '"x"'} if "lr.base" in row else {}
    assert plain(table.to_pylist()) == plain(rows)

    before = found.paths[0].read_bytes()
    found.paths[0].write_bytes(b"old")
    assert run.download_history_exports(str(folder)).paths == found.paths
    assert found.paths[0].read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.anyio
async def test_the_async_face_exports_too(server: ServerHandle, run: Run, tmp_path: Path) -> None:
    api = asyncwb.AsyncApi({"base_url": server.url}, api_key=server.api_key)
    found = await (await api.run("p/r1")).download_history_exports(tmp_path)
    assert parquet.read_metadata(found.paths[0]).num_rows == 10


def test_a_run_that_goes_on_is_not_complete(server: ServerHandle, tmp_path: Path) -> None:
    ingest(server, "live", first_frame(3))
    live = api_of(server).run("p/live")
    with pytest.raises(IncompleteRunHistoryError, match="Nothing was written"):
        live.download_history_exports(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    found = live.download_history_exports(tmp_path, require_complete_history=False)
    assert found.contains_live_data
    assert parquet.read_metadata(found.paths[0]).num_rows == 3


def test_no_name_is_too_long_for_a_disk(server: ServerHandle, tmp_path: Path) -> None:
    names = []
    for last in "ab":
        run_id = "ü" * 127 + last
        ingest(server, run_id, first_frame(1))
        run = api_of(server).run(f"p/{run_id}")
        found = run.download_history_exports(tmp_path / "d", require_complete_history=False)
        names += [path.name for path in found.paths]
    assert len(set(names)) == len(os.listdir(tmp_path / "d")) == 2


def test_a_server_names_the_files_that_it_exported(run: Run, given: Given, tmp_path: Path) -> None:
    (whole,) = run.download_history_exports(tmp_path / "ours").paths
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is how it begins")
    theirs = given(whole, tmp_path / "bad.parquet", whole)
    found = theirs.download_history_exports(tmp_path / "down")
    names = [f"{default_entity()}_p_r1_{number}.runhistory.parquet" for number in range(3)]
    first, second, third = (tmp_path / "down" / name for name in names)
    assert (found.paths, found.contains_live_data) == ([first, third], False)
    assert "no whole Parquet file" in (found.errors or {})[second]
    assert first.read_bytes() == third.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in (tmp_path / "down").iterdir()) == [names[0], names[2]]


def test_rows_that_a_server_did_not_export_are_said(run: Run, given: Given, tmp_path: Path) -> None:
    (whole,) = run.download_history_exports(tmp_path / "ours").paths
    theirs = given(whole, live=[{"_step": 9}])
    with pytest.raises(IncompleteRunHistoryError, match="has not exported"):
        theirs.download_history_exports(tmp_path / "down")
    found = theirs.download_history_exports(tmp_path / "down", require_complete_history=False)
    assert (len(found.paths), found.contains_live_data) == (1, True)


def test_where_no_file_comes_the_reason_is_raised(given: Given, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"<html>signed out</html>")
    theirs = given(tmp_path / "bad.parquet")
    with pytest.raises(CommError, match="no whole Parquet file"):
        theirs.download_history_exports(tmp_path / "down")
    assert list((tmp_path / "down").iterdir()) == []


def test_a_cut_connection_leaves_what_was_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> bytes:
        raise OSError("the disk went away")

    monkeypatch.setattr("asyncwb.server.history.parquet.ParquetStream.end", fail)
    (tmp_path / NAME).write_bytes(b"old")
    with pytest.raises(CommError, match="Nothing was written"):
        run.download_history_exports(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.glob("*parquet*")] == [
        (NAME, b"old")
    ]
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_exported_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        with pytest.raises(Error, match="cannot be made"):
            run.download_history_exports(folder)
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "taken" / NAME).mkdir(parents=True)
    with pytest.raises(ValueError, match="there is a folder"):
        run.download_history_exports(tmp_path / "taken")
    assert os.listdir(tmp_path / "taken") == [NAME]
    run.delete()
    with pytest.raises(RunNotFoundError):
        run.download_history_exports(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_a_run_by_itself_is_loaded_when_it_is_made(
    server: ServerHandle, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = api_of(server)
    own = Run(api.client, run.entity, "p", "r1")
    asked: list[str] = []
    request = type(api.client)._request

    async def count(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments[3])
        return await request(*arguments, **options)

    monkeypatch.setattr(type(api.client), "_request", count)
    assert (own.state, own.lastHistoryStep, own.load()["state"]) == ("finished", 9, "finished")
    assert asked == []
    assert api.run(f"{run.entity}/p/r1").state == "finished"
    assert asked == ["/graphql", f"/api/v1/runs/{run.entity}/p/r1"]
    listed = Run(api.client, run.entity, "p", "r1", attrs={"state": "running"})
    assert (listed.state, len(asked)) == ("running", 2)
    with pytest.raises(RunNotFoundError):
        Run(api.client, run.entity, "p", "none")
