"""The engine before a W&B server: everything arrives, once, whatever fails and whoever dies."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.journal.folder import RunFolder
from asyncwb.engine.uplink.dialect import Dialect, Dialects
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Reply
from asyncwb.engine.uplink.speaker import Undelivered
from asyncwb.wire.rows.values import loads
from tests.engine.wandb_lab import (
    LOSE,
    PASS,
    URL,
    Cloud,
    Plan,
    StoredRun,
    Writer,
    says,
    settle,
    uplink,
    writer,
)

pytestmark = pytest.mark.anyio

FINISH = {"t": "finish", "exit_code": 0, "at": 2000.0}


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def log(w: Writer) -> Iterator[None]:
    """Log steps of all sorts: several rows a step, nested keys, late rows, what is no number.

    Stops now and then, in the middle of a step.
    """
    for step in range(300):
        w.inbox.log({"loss": 1 / (1 + step), "val": {"acc": step}}, step)
        if step % 3 == 0:
            w.inbox.log({"extra": "text" if step % 2 else math.nan}, step)
        if step % 50 == 49:
            w.inbox.log({"late": True}, step - 20)
        if step % 60 == 59:
            yield
    w.inbox.event({"t": "config", "set": {"lr": 0.1}, "delete": ["old"]})
    w.inbox.close(FINISH)


async def sent_whole(cloud: Cloud, runs: Path) -> StoredRun:
    """What the server has if nothing fails."""
    with writer(runs, "whole", config={"old": 1, "a": {"b": 2}}) as w:
        list(log(w))
        async with uplink(cloud) as up:
            box = w.outbox()
            box.close()
            up.add(box)
            await settle(box)
            assert box.progress.run_path == "team/p/whole"
            assert box.progress.base_url == URL
            assert (box.progress.next_seq, box.progress.error) == (w.inbox.next_seq, None)
            assert box.progress.rows == w.inbox.accepted
    return cloud.runs["whole"]


async def test_what_is_logged_arrives(cloud: Cloud, tmp_path: Path) -> None:
    run = await sent_whole(cloud, tmp_path)
    assert (run.exit_code, run.completions) == (0, 1)
    assert run.config == {"a": {"b": 2}, "lr": 0.1}
    rows = run.rows
    assert len(rows) == 300 + 6, "one line a step, and each late row its own"
    on_time = [row for row in rows if "late" not in row]
    assert [row["_step"] for row in on_time] == list(range(300))
    assert [row["_step"] for row in rows if "late" in row] == [s - 20 for s in range(49, 300, 50)]
    assert on_time[4]["val"] == {"acc": 4}
    assert on_time[9]["extra"] == "text"
    assert math.isnan(on_time[6]["extra"])
    first = rows[0]
    assert first["_runtime"] == first["_timestamp"] - 1000.0
    assert run.summary["loss"] == 1 / 300
    assert run.summary["_step"] == 299


NONSENSE = Reply(200, {}, b"<html>")


@pytest.mark.parametrize(
    "plan",
    [
        lambda n, path: says(429) if n < 5 else PASS,
        lambda n, path: says(503) if n % 2 else PASS,
        lambda n, path: LOSE if n % 2 == 0 else PASS,
        lambda n, path: NONSENSE if n % 3 else PASS,
        lambda n, path: Reply(200, {}, b"[]") if n % 3 == 1 else PASS,
        lambda n, path: says(409) if n == 1 else PASS,
    ],
    ids=["busy", "every other", "answers lost", "nonsense", "no object", "conflict"],
)
async def test_what_fails_is_sent_again_and_counts_once(
    cloud: Cloud, tmp_path: Path, plan: Plan
) -> None:
    expected = await sent_whole(Cloud(), tmp_path / "calm")
    cloud.plan = plan
    run = await sent_whole(cloud, tmp_path)
    assert run.lines == expected.lines
    assert (run.summary, run.config) == (expected.summary, expected.config)


async def test_lines_go_in_as_many_requests_as_they_take(cloud: Cloud, tmp_path: Path) -> None:
    expected = await sent_whole(Cloud(), tmp_path / "calm")
    cloud.most = 3000
    run = await sent_whole(cloud, tmp_path)
    assert run.lines == expected.lines
    assert (run.summary, run.exit_code) == (expected.summary, 0)
    assert len(run.posts) > 10


async def test_a_line_that_fits_no_request_is_set_aside(cloud: Cloud, tmp_path: Path) -> None:
    cloud.most = 30_000
    with writer(tmp_path) as w:
        for text in ("a", "b" * 30_000, "c"):
            w.inbox.log({"text": text})
        w.inbox.event({"t": "summary", "set": {"text": "short"}, "delete": []})
        box = await drained(cloud, w)
    assert [row["text"] for row in cloud.runs["r"].rows] == ["a", "c"]
    assert (box.progress.rows, box.progress.lost, box.progress.refused) == (2, 0, None)
    assert box.aside is not None
    (kept,) = box.aside.files.values()
    assert loads(kept.read_bytes())["text"] == "b" * 30_000


async def drained(cloud: Cloud, w: Writer) -> Outbox:
    """End the writer, and send what it has left."""
    w.inbox.close({"t": "leave", "at": 1.0})
    box = w.outbox()
    box.close()
    async with uplink(cloud) as up:
        up.add(box)
        await settle(box)
    return box


@pytest.mark.parametrize("loses", [False, True], ids=["answered", "answers lost"])
async def test_killed_after_any_request_and_sent_by_another_process(
    tmp_path: Path, loses: bool
) -> None:
    whole = await sent_whole(Cloud(), tmp_path / "calm")
    for after in range(12):
        cloud, runs = Cloud(), tmp_path / f"{after}"
        cloud.plan = until(after, LOSE if loses else PASS)
        with writer(runs, "whole", config={"old": 1, "a": {"b": 2}}) as w:
            await _send_and_vanish(cloud, w, after)
            cloud.plan = lambda n, path: PASS
            found = w.found()
            async with uplink(cloud) as up:
                up.add(found)
                await settle(found)
        run = cloud.runs["whole"]
        assert run.lines == whole.lines, f"killed after {after} requests"
        assert (run.summary, run.config, run.exit_code) == (whole.summary, whole.config, 0)


def until(last: int, what: str) -> Plan:
    """So many requests go on; then the server answers nobody any more."""
    return lambda n, path: what if n < last else says(503, Retry_After="300")


async def _send_and_vanish(cloud: Cloud, w: Writer, requests: int) -> None:
    """Send rows as they come, until so many requests were answered; then vanish."""
    box = w.outbox(urgent=True)
    async with uplink(cloud) as up:
        up.add(box)
        for _ in log(w):
            await up.until(
                lambda: box.progress.next_seq >= w.inbox.next_seq or len(cloud.requests) > requests
            )
    w.journal.trim(box.progress.next_seq)


async def test_an_open_step_waits_for_its_end(cloud: Cloud, tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.inbox.log({"a": 1}, commit=False)
        box = w.outbox(urgent=True)
        async with uplink(cloud) as up:
            up.add(box)
            await up.until(lambda: box.progress.next_seq == 2)
        assert cloud.runs["r"].lines == [], "the step is open"
        w.inbox.log({"b": 2}, commit=False)
        # Killed here; whoever finds it knows that nothing more comes.
        found = w.found()
        async with uplink(cloud) as up:
            up.add(found)
            await settle(found)
    (row,) = cloud.runs["r"].rows
    assert (row["a"], row["b"], row["_step"]) == (1, 2, 0)
    assert cloud.runs["r"].exit_code is None


@pytest.mark.parametrize(
    ("resume", "exists", "refused"),
    [
        ("must", False, True),
        ("must", True, False),
        ("never", True, True),
        ("never", False, False),
        ("allow", True, False),
        ("allow", False, False),
    ],
)
async def test_resume(
    cloud: Cloud, tmp_path: Path, resume: str, exists: bool, refused: bool
) -> None:
    if exists:
        with writer(tmp_path, name="w0", config={"a": 1}) as w:
            w.inbox.log({"x": 1, "old": 5})
            await drained(cloud, w)
    with writer(tmp_path, at=1100.0, resume=resume, config={"b": 2}) as w:
        w.inbox.log({"x": 2}, 1)
        box = await drained(cloud, w)
    assert (box.progress.refused is not None) is refused
    if refused:
        assert f'resume="{resume}"' in (box.progress.refused or "")
        return
    run = cloud.runs["r"]
    assert [row["x"] for row in run.rows] == ([1, 2] if exists else [2])
    assert run.config == ({"a": 1, "b": 2} if exists else {"b": 2})
    assert run.summary["x"] == 2
    assert run.summary.get("old") == (5 if exists else None)
    assert run.rows[-1]["_runtime"] == pytest.approx(100.0 if exists else 0.0, abs=1)


async def test_writers_of_one_run_wait_for_each_other(cloud: Cloud, tmp_path: Path) -> None:
    with (
        writer(tmp_path, name="parent") as parent,
        writer(tmp_path, name="child", at=1001) as child,
    ):
        parent.inbox.log({"x": 1})
        child.inbox.log({"y": 1})
        async with uplink(cloud) as up:
            mine, theirs = parent.outbox(urgent=True), child.found()
            up.add(mine)
            await cloud.heard(3)
            up.add(theirs)
            await up.until(lambda: "one at a time" in (theirs.progress.error or ""))
            parent.inbox.log({"x": 2})
            parent.inbox.close(FINISH)
            mine.close()
            await settle(mine)
            parent.folder.unlock()
            await settle(theirs)
    assert [(row.get("x"), row.get("y")) for row in cloud.runs["r"].rows] == [
        (1, None),
        (2, None),
        (None, 1),
    ]


async def test_a_forked_child_does_not_wait_at_its_end(cloud: Cloud, tmp_path: Path) -> None:
    with (
        writer(tmp_path, name="parent") as parent,
        writer(tmp_path, name="child", at=1001) as child,
    ):
        parent.inbox.log({"x": 1})
        child.inbox.log({"y": 1})
        box = await drained(cloud, child)
        assert "wait in their journal" in (box.progress.refused or "")
        assert not cloud.runs


async def test_an_interrupted_run_behind_the_one_that_resumed_it(
    cloud: Cloud, tmp_path: Path
) -> None:
    with writer(tmp_path, name="killed") as killed:
        for n in range(10):
            killed.inbox.log({"x": n})
        async with uplink(cloud) as up:
            box = killed.outbox(urgent=True)
            up.add(box)
            await up.until(lambda: box.progress.next_seq == 11)
        for n in range(10, 15):
            killed.inbox.log({"x": n})
        with writer(tmp_path, name="next", at=1100.0, resume="must") as w:
            w.inbox.log({"x": 100}, 10)
            killed.folder.unlock()
            await drained(cloud, w)
        found = killed.found()
        async with uplink(cloud) as up:
            up.add(found)
            await settle(found)
    assert [row["x"] for row in cloud.runs["r"].rows] == [*range(10), 100, *range(10, 15)]


async def test_nothing_is_acknowledged_that_could_not_be_written_down(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await sent_whole(Cloud(), tmp_path / "calm")
    write, failures = RunFolder.write_translated, iter(range(4))

    def full(self: RunFolder, *what: Any) -> None:
        if next(failures, None) is not None:
            raise OSError(28, "No space left on device")
        write(self, *what)

    monkeypatch.setattr(RunFolder, "write_translated", full)
    run = await sent_whole(cloud, tmp_path)
    assert next(failures, None) is None
    assert (run.lines, run.summary) == (expected.lines, expected.summary)


async def test_a_run_that_was_deleted_is_made_anew(cloud: Cloud, tmp_path: Path) -> None:
    with writer(tmp_path, config={"a": 1}, notes="n") as w:
        w.inbox.log({"x": 1})
        box = w.outbox(urgent=True)
        async with uplink(cloud) as up:
            up.add(box)
            await up.until(lambda: box.progress.next_seq == 2)
        cloud.runs.clear()
        w.inbox.log({"x": 2})
        found = w.found()
        async with uplink(cloud) as up:
            up.add(found)
            await settle(found)
    run = cloud.runs["r"]
    assert [row["x"] for row in run.rows] == [2]
    assert (run.config, run.summary["x"], run.bucket["notes"]) == ({"a": 1}, 2, "n")


async def test_stop_heartbeat_and_rate_limits(cloud: Cloud, tmp_path: Path) -> None:
    with writer(tmp_path) as w:
        w.inbox.log({"x": 1})
        async with uplink(cloud, heartbeat=0.01) as up:
            box = w.outbox()
            up.add(box)
            await cloud.heard(5)
            assert not box.progress.stop_requested
            assert cloud.runs["r"].posts[-1].keys() <= {"files"}
            cloud.stopped, cloud.headers = (
                True,
                {"RateLimit-Remaining": "0", "RateLimit-Reset": "9"},
            )
            await up.until(lambda: box.progress.stop_requested)
            assert 8 < box.not_before - asyncio.get_running_loop().time() <= 9


async def test_what_the_server_declines_is_tried_again_and_then_refused(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.errors = [{"message": "project p is not yours"}]
    with writer(tmp_path) as w:
        box = w.outbox()
        box.close()
        async with uplink(cloud) as up:
            up.add(box)
            for tries in range(1, 9):
                await cloud.heard(tries)
                await up.until(lambda: box.rejections == len(cloud.requests))
                box.not_before = 0.0
            await settle(box)
    assert box.progress.refused == "project p is not yours"
    assert len(cloud.requests) == 9


READY = b'{"status":"ready","version":"1","ingest":1}'


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(200, {}, READY), Dialect.NATIVE),
        (Reply(200, {}, b'{"status":"ready"}'), Dialect.WANDB),
        (Reply(200, {}, b"<html>"), Dialect.WANDB),
        (Reply(404, {}, b""), Dialect.WANDB),
        (Reply(401, {}, b""), Dialect.WANDB),
        (Reply(301, {}, b""), Dialect.WANDB),
        (Reply(503, {}, READY), None),
        (Reply(429, {}, b""), None),
        (Reply(502, {}, b"<html>"), None),
    ],
)
async def test_what_a_server_speaks(cloud: Cloud, reply: Reply, expected: Dialect | None) -> None:
    cloud.ready, dialects, address = reply, Dialects(), Address(URL, "key")
    if expected is None:
        with pytest.raises(Undelivered):
            await dialects.of(address, cloud)
        cloud.ready = Reply(200, {}, READY)
        assert await dialects.of(address, cloud) is Dialect.NATIVE, "it is asked again"
        return
    assert await dialects.of(address, cloud) is expected
    cloud.ready = Reply(503, {}, b"")
    assert await dialects.of(address, cloud) is expected, "it is asked once"


async def test_a_page_in_place_of_an_answer_does_not_decide_it(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.ready = Reply(200, {}, b"<html>log in to the wifi")
    cloud.plan = lambda n, path: Reply(200, {}, b"<html>log in to the wifi")
    with writer(tmp_path) as w:
        async with uplink(cloud) as up:
            up.add(w.outbox())
            await cloud.heard(2)
            assert cloud.requests == ["/graphql", "/graphql"]
            cloud.ready = Reply(200, {}, READY)
            await cloud.heard(5)
    assert cloud.requests[-1] == "/api/v1/ingest"
