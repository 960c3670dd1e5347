"""A run that is read back is edited, stopped, deleted; its files come and go."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter

import asyncwb
from asyncwb.apis.public import Api, BetaReport, File, Run
from asyncwb.engine.uploads.transfer import place_in
from asyncwb.errors import (
    ArgumentError,
    CommError,
    Error,
    LogTypeError,
    NotFoundError,
    RunNotFoundError,
    UnsupportedError,
    UsageError,
)
from tests.client.query.test_api import api_of, ingest, settings_of
from tests.fix_server import ServerHandle
from tests.server.ingest_client import event_frame, first_frame


@pytest.fixture
def api(server: ServerHandle) -> Api:
    return api_of(server)


@pytest.fixture
def run(server: ServerHandle, api: Api) -> Run:
    """A finished run with two rows."""
    start: dict[str, Any] = {"config": {"lr": 0.1, "deep": {"a": 1}}, "tags": ["x"], "notes": "n"}
    ingest(server, "r1", first_frame(2, name="first", group="g", job_type="train", **start))
    ingest(server, "r1", event_frame(3, {"t": "finish", "exit_code": 0, "at": 1.0}))
    return api.run("p/r1")


def fresh(api: Api) -> Run:
    api.flush()
    return api.run("p/r1")


def test_what_is_changed_is_sent_and_the_rest_is_not(api: Api, run: Run) -> None:
    other = fresh(api)
    run.name, run.notes, run.description = "new", "more", "what it is"
    run.group, run.job_type = "h", "eval"
    run.tags.append("y")
    run.config["lr"] = 0.2
    run.config["layers"] = (1, 2)
    del run.config["deep"]
    run.update()
    found = fresh(api)
    assert (found.name, found.display_name, found.notes) == ("new", "new", "more")
    assert (found.description, found.group, found.job_type) == ("what it is", "h", "eval")
    assert found.tags == ["x", "y"]
    assert found.config == {"lr": 0.2, "layers": [1, 2]}

    other.notes = None
    other.save()
    found = fresh(api)
    assert (found.notes or "") == ""
    assert (found.name, found.config["lr"]) == ("new", 0.2)
    found.tags = []
    found.update()
    assert fresh(api).tags == []


def test_a_summary_is_a_dict_that_can_be_sent(api: Api, run: Run) -> None:
    assert run.summary_metrics["loss"] == 1
    run.summary["best"] = 0.5
    run.summary["nested"] = {"a": 1}
    run.summary.update({"more": 2, "loss": 7}, overwrite=False)
    found = fresh(api).summary
    assert (found["best"], found["nested"], found["more"]) == (0.5, {"a": 1}, 2)
    assert found["loss"] == 1
    found["nested"]["a"] = 5
    del found["best"]
    found.update({"loss": 7})
    again = fresh(api).summary
    assert (again["nested"]["a"], again["loss"]) == (5, 7)
    assert "best" not in again
    assert again._json_dict == dict(again)
    again["odd"] = object()
    with pytest.raises(LogTypeError, match="odd"):
        again.update()


@pytest.mark.parametrize("native", [True, False], ids=["ours", "W&B's protocol"])
def test_what_others_wrote_meanwhile_stays(
    start_server: Callable[..., ServerHandle], native: bool
) -> None:
    server = start_server(native=native)
    first = api_of(server).create_run(run_id="r1", project="p")
    first.config.update({"opt": {"lr": 0.1, "eps": 1}, "old": 1, "a.b": 1})
    first.summary.update({"loss": 3.0, "val": {"acc": 0.1, "f1": 0.1}, "old": 1})
    first.tags = ["x", "y"]
    first.update()
    mine, theirs = api_of(server).run("p/r1"), api_of(server).run("p/r1")

    theirs.summary["loss"], theirs.summary["val"]["f1"] = 0.5, 0.9
    theirs.config["opt"]["eps"], theirs.config["new"] = 2, [1]
    theirs.tags.append("theirs")
    theirs.update()

    mine.summary["test_acc"] = 0.9
    mine.summary["val"]["acc"] = math.nan
    del mine.summary["old"]
    mine.summary.update()
    mine.config["e"], mine.config["opt"]["lr"], mine.config["a.b"] = 1, 0.2, 2
    del mine.config["old"]
    mine.tags = ["mine", "y"]
    mine.update()
    mine.update()

    found = fresh(api_of(server))
    assert found.config == {"opt": {"lr": 0.2, "eps": 2}, "new": [1], "e": 1, "a.b": 2}
    assert found.tags == ["y", "theirs", "mine"]
    assert math.isnan(found.summary["val"].pop("acc"))
    assert found.summary == {"loss": 0.5, "val": {"f1": 0.9}, "test_acc": 0.9}


def test_an_attribute_that_is_set_is_sent(api: Api, run: Run) -> None:
    run.summary.foo = 5
    del run.summary.loss
    with pytest.raises(AttributeError, match="no 'loss'"):
        del run.summary.loss
    run.summary.update()
    run.display_name, run.jobType = "x", "eval"
    run.mine = "of the program, not of the server"
    run.update()
    found = fresh(api)
    assert (found.summary.foo, "loss" in found.summary) == (5, False)
    assert (found.name, found.job_type) == ("x", "eval")
    for name in ("created_at", "state", "heartbeatAt"):
        with pytest.raises(AttributeError, match=name):
            setattr(run, name, "x")


def test_a_state_is_set_and_a_run_stopped_and_deleted(
    server: ServerHandle, api: Api, run: Run
) -> None:
    ingest(server, "live", first_frame(2))
    live = api.run("p/live")
    live.stop()
    assert live.update_state("failed")
    assert live.state == "failed"
    live.load(force=True)
    assert live.state == "failed"
    with pytest.raises(CommError):
        run.update_state("no such state")
    run.delete(delete_artifacts=True)
    api.flush()
    with pytest.raises(RunNotFoundError):
        api.run("p/r1")
    assert [left.id for left in api.runs("p")] == ["live"]
    with pytest.raises(RunNotFoundError):
        run.load(force=True)


def test_a_file_goes_up_and_comes_down(api: Api, run: Run, tmp_path: Path) -> None:
    content = "line\n" * 400_000  # more than one piece
    (tmp_path / "up" / "sub").mkdir(parents=True)
    source = tmp_path / "up" / "sub" / "a b#?%41.txt"
    source.write_text(content)
    sent = run.upload_file(source, root=tmp_path / "up")
    assert isinstance(sent, File)
    assert (sent.name, sent.size) == ("sub/a b#?%41.txt", len(content))
    digest = hashlib.md5(content.encode()).digest()
    assert base64.b64decode(sent.md5) == digest
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(json.dumps(number))
        run.upload_file(tmp_path / f"{number}.json", root=tmp_path)
    files = run.files(per_page=2)
    assert (len(files), len(files.objects)) == (4, 2)
    assert {file.name for file in files} == {sent.name, "0.json", "1.json", "2.json"}
    assert [file.name for file in run.files(["1.json"])] == ["1.json"]
    assert len(run.files(pattern="%.json")) == 3

    down = tmp_path / "down"
    with run.file(sent.name).download(down) as opened:
        assert opened.read() == content
        assert Path(opened.name) == down / "sub" / "a b#?%41.txt"
    with pytest.raises(ValueError, match="already exists"):
        sent.download(down)
    (down / sent.name).write_text("mine")
    with sent.download(down, exist_ok=True) as opened:
        assert opened.read() == "mine"
    with sent.download(down, replace=True) as opened:
        assert opened.read() == content
    assert [path.name for path in (down / "sub").iterdir()] == ["a b#?%41.txt"]

    sent.delete()
    assert len(run.files()) == 3
    with pytest.raises((NotFoundError, CommError)):
        sent.download(tmp_path / "gone")
    assert not list((tmp_path / "gone").rglob("*.txt"))


def test_what_cannot_be_uploaded_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run.upload_file(tmp_path / "none", root=tmp_path)
    (tmp_path / "outside").write_text("x")
    with pytest.raises(ValueError, match="below"):
        run.upload_file(tmp_path / "outside", root=tmp_path / "root")
    with pytest.raises(ValueError, match="below"):
        run.upload_file(tmp_path, root=tmp_path)


def test_metadata_is_the_file_of_that_name(run: Run, tmp_path: Path) -> None:
    known = run.metadata
    assert known is not None
    assert (known["host"], known["program"], known["python"]) == ("box", "train.py", "3.11")
    (tmp_path / "wandb-metadata.json").write_text('{"host": "other", "gpu": "H100"}')
    run.upload_file(tmp_path / "wandb-metadata.json", root=tmp_path)
    assert run.metadata == {"host": "other", "gpu": "H100"}


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "..", "", ".", "a/..", "C:\\x", "..\\x", "\\\\h\\x", "a\0b"],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads elsewhere"):
        place_in(tmp_path / "root", name)


def test_a_file_in_the_place_of_a_folder_is_said(api: Api, run: Run, tmp_path: Path) -> None:
    for name in ("x", "up/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    first = run.upload_file(tmp_path / "x", tmp_path)
    (tmp_path / "x").unlink()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").write_text("y")
    second = run.upload_file(tmp_path / "x" / "y", tmp_path)
    first.download(tmp_path / "a").close()
    with pytest.raises(ValueError, match="there is a file"):
        second.download(tmp_path / "a")
    second.download(tmp_path / "b").close()
    with pytest.raises(ValueError, match="there is a folder"):
        first.download(tmp_path / "b", replace=True)
    assert (tmp_path / "a" / "x").read_text() == "x"
    with pytest.raises(Error, match="cannot be written"):
        second.download("/proc/nothing")
    second.delete()
    with pytest.raises(NotFoundError) as caught:
        second.download(tmp_path / "c")
    assert "try again" not in str(caught.value)
    assert ".." not in str(caught.value)


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads elsewhere"):
        place_in(root, "link/x")
    assert place_in(root, "a/b") == root / "a" / "b"


def test_what_a_program_printed(server: ServerHandle, api: Api, run: Run) -> None:
    lines = [f"2026-01-02T03:04:05.{number:06} line {number}" for number in range(25)]
    lines[3] = "ERROR " + lines[3]
    stream_file(server, run, {"output.log": {"offset": 0, "content": lines}})
    found = list(run.console_logs(per_page=10))
    assert [line.content for line in found] == [f"line {number}" for number in range(25)]
    assert [line.number for line in found] == list(range(25))
    assert (found[3].level, found[4].level) == ("error", "")
    assert found[1].timestamp is not None
    assert found[1].timestamp.isoformat() == "2026-01-02T03:04:05.000001+00:00"
    assert [line.number for line in run.console_logs(last=2)] == [23, 24]


def test_the_machines_metrics(server: ServerHandle, api: Api, run: Run) -> None:
    rows = [json.dumps({"system.cpu": n, "_timestamp": n, "_runtime": n}) for n in range(20)]
    stream_file(server, run, {"wandb-events.jsonl": {"offset": 0, "content": rows}})
    assert [row["system.cpu"] for row in run.history(stream="system", pandas=False)] == list(
        range(20)
    )
    assert len(run.history(5, stream="system", pandas=False)) == 5
    assert fresh(api).system_metrics["system.cpu"] == 19


def stream_file(server: ServerHandle, run: Run, files: dict[str, Any]) -> None:
    """Log as an unmodified W&B client does."""
    request = urllib.request.Request(
        f"{server.url}/files/{run.entity}/{run.project}/{run.id}/file_stream",
        data=json.dumps({"files": files}).encode(),
        headers={**server.headers, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


@pytest.mark.anyio
async def test_the_async_face_edits_and_moves_files(server: ServerHandle, tmp_path: Path) -> None:
    ingest(server, "r1", first_frame(2))
    api = asyncwb.AsyncApi({"base_url": server.url}, api_key=server.api_key)
    run = await api.run("p/r1")
    (tmp_path / "a.txt").write_text("text")
    file = await run.upload_file(tmp_path / "a.txt", root=tmp_path)
    with await file.download(tmp_path / "down") as opened:
        assert opened.read() == "text"
    assert [found.name async for found in run.files()] == ["a.txt"]
    assert await run.console_logs().len() == 0
    await file.delete()
    with pytest.raises(NotFoundError, match=r"a\.txt"):
        await run.file("a.txt")
    await run.summary.update({"best": 1})
    await run.delete()
    assert await api.runs("p").len() == 0


def test_a_server_without_our_routes_serves_all_of_it(
    start_server: Callable[..., ServerHandle], tmp_path: Path
) -> None:
    server = start_server(native=False)
    api = api_of(server)
    run = api.create_run(run_id="r1", project="p")
    run.config["lr"] = 1
    run.summary["loss"] = 0.5
    run.update()
    (tmp_path / "a.txt").write_text("text")
    run.upload_file(tmp_path / "a.txt", root=tmp_path)
    stream_file(
        server, run, {"wandb-history.jsonl": {"offset": 0, "content": ['{"_step":0,"loss":NaN}']}}
    )
    found = fresh(api)
    assert (found.config, "loss" in found.summary) == ({"lr": 1}, True)
    assert [file.name for file in found.files()] == ["a.txt"]
    assert [row["_step"] for row in found.scan_history()] == [0]
    assert found.metadata is None
    assert found.exit_code is None
    found.delete()
    assert len(api.runs("p")) == 0
    assert settings_of(server)["base_url"] == found.url.rsplit("/", 4)[0]


def test_tensorboards_folders_become_a_run(api: Api, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "logs"), write_to_disk=True) as writer:
        for step in range(5):
            writer.add_scalar("loss", 1 / (step + 1), step)
    run = api.sync_tensorboard(tmp_path / "logs", run_id="tb", project="p")
    assert run.path[1:] == ["p", "tb"]
    assert [row["loss"] for row in run.scan_history(keys=["loss"])] == pytest.approx(
        [1 / (step + 1) for step in range(5)]
    )
    with pytest.raises(UsageError):
        api.sync_tensorboard(tmp_path / "none")
    for where in ({"run_id": "a#b"}, {"run_id": ".."}, {"project": "a?b"}, {"entity": "a b:c"}):
        with pytest.raises(UsageError, match=r"1 to 128 printable characters"):
            api.sync_tensorboard(tmp_path / "logs", **{"project": "p", **where})


def test_what_tensorboards_folders_lack_is_said(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError, match="No such folder"):
        api.sync_tensorboard(tmp_path / "none", project="p")
    with SummaryWriter(str(tmp_path / "logs"), write_to_disk=True) as writer:
        writer.add_scalar("loss", 1, 0)
    monkeypatch.setitem(sys.modules, "google_crc32c", None)  # as where the extra is not installed
    with pytest.raises(UnsupportedError, match=r"asyncwb\[tensorboard\]"):
        api.sync_tensorboard(tmp_path / "logs", project="p")


def make_report(api: Api, name: str, spec: Any) -> None:
    """Make a report as W&B's own library for reports does."""
    document = """
        mutation Make($entity: String, $project: String, $name: String, $spec: String) {
          upsertView(input: {
            entityName: $entity, projectName: $project, displayName: $name, type: "runs",
            spec: $spec
          }) { view { id } }
        }
    """
    names = {"entity": api.default_entity, "project": "p", "name": name}
    api.client.ask(document, **names, spec=json.dumps(spec)).result()


def test_reports_are_listed_and_say_which_runs_they_show(
    server: ServerHandle, api: Api, run: Run
) -> None:
    ingest(server, "r2", first_frame(1))
    finished = {
        "key": {"section": "run", "name": "state"},
        "op": "=",
        "value": "finished",
        "disabled": False,
    }
    shown = {
        "filters": {"op": "OR", "filters": [{"op": "AND", "filters": [finished]}]},
        "sort": {"key": {"section": "run", "name": "createdAt"}, "ascending": True},
        "selections": {"tree": ["r1"]},
    }
    make_report(api, "My Report", {"panelGroups": [{"openRunSet": 0, "runSets": [shown]}]})
    make_report(api, "Other", {})
    reports = api.reports("p", per_page=1)
    assert {report.display_name for report in reports} == {"My Report", "Other"}
    assert len(reports) == 2
    assert [found.display_name for found in api.reports("p", "My Report")] == ["My Report"]
    assert [found.display_name for found in api.reports("p", reports[0].name)] == ["Other"]
    (report,) = (report for report in reports if report.display_name == "My Report")
    (section,) = report.sections
    assert [found.id for found in report.runs(section)] == ["r1"]
    assert [found.id for found in report.runs(section, only_selected=False)] == ["r1"]
    assert report.user["username"] == api.default_entity
    own = report.id.rstrip("=")
    assert report.url.endswith(f"/p/reports/My-Report--{own}")
    for text in (f"My-Report--{own}", f"My-Report-{own}"):
        found = api.from_path(f"{api.default_entity}/p/reports/{text}")
        assert isinstance(found, BetaReport)
        assert found.id == report.id
    with pytest.raises(ValueError, match="sections"):
        report.runs(0)  # type: ignore[arg-type]
    assert "height:1024px" in report.to_html()
    assert [found.name for found in api.reports("p", name=report.name)] == [report.name]
