"""The uplink against a real server, with failures in between: all arrives, and counts once."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.frames.source import JournalSource
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http, NoAnswer, Reply
from asyncwb.engine.uplink.uplink import Uplink
from asyncwb.server.intake import request_order
from asyncwb.wire.ingest import Stream, StreamHead, decode_batch
from asyncwb.wire.rows.frames import MAX_FRAME
from asyncwb.wire.summary.metrics import metric_event
from tests.engine.lab import SMALL, Writer, writer
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, event_frame, first_frame, start_event

pytestmark = pytest.mark.anyio

Answer = Callable[["Line", list[Stream]], Reply | Exception | None]
"""What a failure does with a request: an answer of its own, no answer, or (None) nothing."""


class Line(Http):
    """Connections that fail as told, one failure a request, and then work.

    A request waits until those that `after` names for its number (from 0) are answered.
    """

    def __init__(self) -> None:
        super().__init__(10.0)
        self.failures: list[Answer | None] = []
        self.after: dict[int, Callable[[Line], bool]] = {}
        self.answered: set[int] = set()
        self.open = self.most_open = 0
        self.sent: list[list[str]] = []
        self.key: str | None = None
        self._more = asyncio.Condition()

    async def sent_at_least(self, count: int) -> None:
        """Wait until so many requests were sent."""
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: len(self.sent) >= count)

    async def request(self, method: str, url: str, **more: Any) -> Reply:
        if method == "GET":
            return await super().request(method, url, **more)
        streams = decode_batch(more["data"])
        self.sent.append([stream.head.run for stream in streams])
        number = len(self.sent) - 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            async with self._more:
                self._more.notify_all()
                await self._more.wait_for(lambda: self.after.get(number, _at_once)(self))
            return await self._answer(method, url, streams, **more)
        finally:
            self.open -= 1
            self.answered.add(number)
            async with self._more:
                self._more.notify_all()

    async def _answer(self, method: str, url: str, streams: list[Stream], **more: Any) -> Reply:
        failure = self.failures.pop(0) if self.failures else None
        failed = failure(self, streams) if failure else None
        if isinstance(failed, Reply):
            return failed
        reply = await super().request(method, url, **{**more, "key": self.key or more["key"]})
        if isinstance(failed, Exception):
            raise failed  # it was done, and nobody heard of it
        return reply


def _at_once(_: Line) -> bool:
    return True


def answers(status: int, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda *_: Reply(status, named, b'{"error":{"code":"no","message":"not now"}}')


def drops_the_answer(*_: Any) -> Exception:
    return NoAnswer("the answer was dropped")


class Uphill(Uplink):
    """An uplink that notes how long it would pause, and goes on."""

    pauses: list[tuple[float, bool]]

    async def _pause(self, seconds: float, *, urgent: bool = True) -> bool:
        self.pauses.append((seconds, urgent))
        await asyncio.sleep(0.001)
        return True


@dataclass
class Site:
    """An uplink that runs, the outboxes that it sends, and what was said to the user."""

    server: ServerHandle
    line: Line
    uplink: Uphill
    stack: AsyncExitStack
    said: list[tuple[str, str, str]] = field(default_factory=list)
    """run, topic, text"""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """set once something was said"""
    writers: dict[str, Writer] = field(default_factory=dict)

    def run(self, name: str, rows: int = 10, **start: Any) -> Outbox:
        """Start a run with some rows; the uplink does not know of it yet."""
        w = self.stack.enter_context(writer(first_capacity=SMALL, max_capacity=SMALL))
        w.inbox.event(start_event(**start))
        for i in range(rows):
            w.inbox.log({"i": i})
        self.writers[name] = w
        source = JournalSource(Reader(LiveSegments(w.journal)), kept=w.inbox.kept)
        head = StreamHead(None, "p", name, "w1")
        return Outbox(
            head,
            source,
            Progress(),
            say=functools.partial(self._say, name),
            written=lambda: w.inbox.next_seq,
        )

    def _say(self, name: str, topic: str, text: str) -> None:
        self.said.append((name, topic, text))
        self.heard.set()

    def send(self, *boxes: Outbox) -> None:
        for box in boxes:
            box.close()
            self.uplink.add(box)

    async def settle(self, *boxes: Outbox) -> None:
        async with asyncio.timeout(60):
            for box in boxes:
                await box.settled.wait()

    async def info(self, name: str) -> dict[str, Any]:
        async with connect(self.server) as client:
            found: dict[str, Any] = await client.run(name)
            return found


@pytest.fixture
async def site(server: ServerHandle) -> AsyncIterator[Site]:
    async with running(server, server.api_key) as made:
        yield made


@asynccontextmanager
async def running(server: ServerHandle, key: str) -> AsyncIterator[Site]:
    line = Line()
    uplink = Uphill(
        Address(server.url, key),
        line,
        flush_interval=0.01,
        heartbeat=float("inf"),
        memory=2**20,
    )
    uplink.pauses = []
    with_stack = AsyncExitStack()
    async with with_stack as stack:
        task = asyncio.ensure_future(uplink.run())
        try:
            yield Site(server, line, uplink, stack)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await line.close()


async def test_a_journal_that_cannot_be_read_keeps_no_other_run_back(site: Site) -> None:
    bad = site.run("bad", 2000)
    journal = site.writers["bad"].journal.folder
    journal.rename(journal.with_name("away"))
    beside = [site.run(f"beside{n}", 10) for n in range(2)]
    boxes = [beside[0], bad, beside[1]]
    site.send(*boxes)
    await site.settle(*beside)
    for box in beside:
        assert (await site.info(box.head.run))["rows"] == 10
        assert box.progress.error is None
    async with asyncio.timeout(60):
        await site.heard.wait()
    assert bad.progress.error is not None
    assert "FileNotFoundError" in bad.progress.error
    assert not bad.settled.is_set()
    [(run, topic, text)] = site.said
    assert (run, topic) == ("bad", "unread")
    assert text.startswith("run p/bad: its journal cannot be read (FileNotFoundError")
    journal.with_name("away").rename(journal)
    await site.settle(bad)
    assert (await site.info("bad"))["rows"] == 2000
    assert bad.progress.error is None


@pytest.mark.parametrize(
    "failures",
    [
        [answers(429), answers(503)],
        [answers(500), answers(502), answers(418)],
        [drops_the_answer, drops_the_answer, drops_the_answer],
        [lambda *_: Reply(200, {}, b"<html>"), lambda *_: Reply(200, {}, b'{"streams":[]}')],
        [lambda *_: Reply(200, {}, b'{"streams":[{}]}'), lambda *_: Reply(200, {}, b"[]")],
        [lambda *_: RuntimeError("a fault of ours")] * 2,
    ],
    ids=["busy", "broken", "answers dropped", "nonsense", "more nonsense", "a fault of ours"],
)
async def test_what_fails_is_sent_again_and_counts_once(site: Site, failures: list[Answer]) -> None:
    site.line.failures = list(failures)
    box = site.run("r", 300)
    site.send(box)
    await site.settle(box)
    info = await site.info("r")
    assert (info["rows"], info["summary"]["i"]) == (300, 299)
    assert (box.progress.rows, box.progress.next_seq, box.progress.error) == (300, 301, None)
    assert len(site.line.sent) >= len(failures) + 1
    assert [topic for _, topic, _ in site.said].count("unreachable") <= len(failures)
    waits = [seconds for seconds, urgent in site.uplink.pauses if not urgent]
    assert len(waits) == len(failures)


async def test_retry_after_is_honoured(site: Site) -> None:
    site.line.failures = [answers(429, Retry_After="7"), answers(503, Retry_After="11")]
    box = site.run("r")
    site.send(box)
    await site.settle(box)
    first, second = [seconds for seconds, urgent in site.uplink.pauses if not urgent]
    assert 7 <= first < 8
    assert 11 <= second < 13


async def test_a_wrong_key_is_said_and_healed(server: ServerHandle) -> None:
    async with running(server, "not-the-key") as site:
        box = site.run("r")
        site.send(box)
        await site.line.sent_at_least(3)
        assert {topic for _, topic, _ in site.said} == {"auth"}
        assert not box.settled.is_set()
        waits = [seconds for seconds, urgent in site.uplink.pauses if not urgent]
        assert min(waits) >= 30, "slowly: a person has to act"
        site.line.key = server.api_key  # the server was corrected
        await site.settle(box)
        assert (await site.info("r"))["rows"] == 10


async def test_a_server_that_has_made_itself_a_new_key_is_found_again(site: Site) -> None:
    server, line = site.server, site.line
    addresses = [Address(server.url, "the former key"), Address(server.url, server.api_key)]

    class Found(Embedded):
        async def find_or_start(self) -> Address:
            return addresses.pop(0)

    box = site.run("r")
    where = Found(server.data, line, idle_timeout=60)
    uplink = Uphill(where, line, flush_interval=0.01, heartbeat=float("inf"), memory=2**20)
    uplink.pauses = []
    task = asyncio.ensure_future(uplink.run())
    box.close()
    uplink.add(box)
    try:
        await site.settle(box)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not addresses
    assert (await site.info("r"))["rows"] == 10


async def test_too_large_is_sent_in_parts(site: Site) -> None:
    def refuse_large(_line: Line, streams: list[Stream]) -> Reply | None:
        too_large = sum(len(stream.frames) for stream in streams) > 1
        return Reply(413, {}, b"") if too_large else None

    boxes = [site.run(f"r{n}", 50) for n in range(3)]
    site.line.failures = [refuse_large] * 1000
    site.uplink._max_request = 4 * 2**20
    site.send(*boxes)
    await site.settle(*boxes)
    for n, box in enumerate(boxes):
        assert box.progress.refused is None
        assert (await site.info(f"r{n}"))["rows"] == 50


async def test_who_takes_nothing_at_all_says_nothing_about_a_rows_size(site: Site) -> None:
    """As a proxy that is set up wrongly."""
    waits: list[float] = []

    def refuse_all(*_: Any) -> Reply | None:
        waits[:] = [seconds for seconds, urgent in site.uplink.pauses if not urgent and seconds]
        return None if waits else Reply(413, {}, b"")

    site.line.failures = [refuse_all] * 1000
    box = site.run("r", 50)
    site.send(box)
    await site.settle(box)
    assert (await site.info("r"))["rows"] == 50
    assert [topic for _, topic, _ in site.said] == ["tiny"]
    assert min(waits) >= 30, "slowly: a person has to act"
    assert site.uplink._most > MAX_FRAME, "what was learned then is forgotten"


async def test_what_cannot_be_set_aside_keeps_no_other_run_back(site: Site, tmp_path: Path) -> None:
    def refuse_big(_line: Line, streams: list[Stream]) -> Reply | None:
        sizes = [len(frame) for stream in streams for frame in stream.frames]
        return Reply(413, {}, b"") if max(sizes, default=0) > 2**17 else None

    site.line.failures = [refuse_big] * 1000
    big, beside = site.run("big", 0), site.run("beside")
    big.aside = Aside(tmp_path / "missing" / "aside")
    site.writers["big"].inbox.log({"noise": os.urandom(2**18).hex()})
    site.send(big, beside)
    await site.settle(beside)
    async with asyncio.timeout(60):
        await site.heard.wait()
    [(run, topic, text)] = site.said
    assert (run, topic) == ("big", "not aside")
    assert "cannot be set aside: [Errno 2]" in text
    assert beside.progress.error is None
    assert (await site.info("beside"))["rows"] == 10
    big.aside.folder.parent.mkdir()
    await site.settle(big)
    assert len(big.aside.files) == 1


async def test_one_refused_writer_does_not_stop_the_others(site: Site) -> None:
    def refuse_bad(_line: Line, streams: list[Stream]) -> Reply | None:
        bad = any(stream.head.run == "bad" for stream in streams)
        return Reply(400, {}, b'{"error":{"code":"bad","message":"no"}}') if bad else None

    site.line.failures = [refuse_bad] * 1000
    bad, *good = [site.run(name) for name in ("bad", "a", "b", "c")]
    site.send(*good, bad)
    await site.settle(*good, bad)
    assert bad.progress.refused
    assert [(run, topic) for run, topic, _ in site.said] == [("bad", "refused")]
    for name, box in zip("abc", good, strict=True):
        assert box.progress.refused is None
        assert (await site.info(name))["rows"] == 10
    assert not site.uplink._alone, "the others travel together again"


async def test_the_servers_word_on_one_stream_is_for_that_stream(site: Site) -> None:
    good, bad = site.run("good"), site.run("bad", resume="must")  # there is no such run
    site.send(good, bad)
    await site.settle(good, bad)
    assert bad.progress.refused
    assert good.progress.refused is None
    assert (await site.info("good"))["rows"] == 10


@pytest.mark.parametrize("trimmed", [False, True], ids=["all kept", "trimmed"])
async def test_a_server_restored_from_a_backup_is_sent_what_it_lacks(
    site: Site, trimmed: bool
) -> None:
    early = site.run("r", 50)
    site.send(early)
    await site.settle(early)
    w = site.writers["r"]
    for i in range(50, 500):
        w.inbox.log({"i": i})
    box = Outbox(early.head, JournalSource(Reader(LiveSegments(w.journal))), Progress())
    while box.fill():
        pass
    box.acknowledge(w.inbox.next_seq)  # by the server as it was before
    gone = 0
    if trimmed:
        w.journal.trim(w.inbox.next_seq)
        gone = w.journal.segments[0].first_seq - 51
        assert gone > 0
    w.inbox.log({"i": 500})
    site.send(box)
    await site.settle(box)
    info = await site.info("r")
    assert (info["rows"], info["lost"], info["summary"]["i"]) == (501 - gone, gone, 500)
    assert (box.progress.rows, box.progress.lost) == (501 - gone, gone)


async def test_a_server_that_says_that_it_has_less_than_before_is_believed(site: Site) -> None:
    box = site.run("r", 10)
    w = site.writers["r"]
    site.uplink.add(box)
    await all_arrived(box, w)
    assert (box.progress.next_seq, box.progress.rows) == (11, 10)
    found = []

    def has_five(*_: Any) -> Reply:
        stream = {"run": "admin/p/r", "next": 5, "state": "running", "stop": False}
        return Reply(200, {}, json.dumps({"streams": [stream]}).encode())

    def note(*_: Any) -> None:
        found.append((box.progress.next_seq, box.progress.rows))

    site.line.failures = [has_five, note]
    w.inbox.log({"i": 10})
    box.close()
    site.uplink.wake.set()
    await site.settle(box)
    assert found[0] == (5, 4), "the start, and four rows"
    assert (box.progress.next_seq, box.progress.rows) == (12, 11)
    assert (await site.info("r"))["rows"] == 11


@pytest.mark.parametrize("trimmed", [False, True], ids=["all kept", "trimmed"])
async def test_a_server_whose_data_is_lost_is_sent_what_there_still_is(
    site: Site,
    start_server: Callable[..., ServerHandle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trimmed: bool,
) -> None:
    async with connect(site.server) as client:  # which has the run that must be there
        assert "error" not in await client.send(first_frame(1), run="r", writer="w0")
    box = site.run("r", 500, config={"lr": 1}, resume="must")
    w = site.writers["r"]
    site.uplink.add(box)
    await all_arrived(box, w)
    gone = 0
    if trimmed:
        w.journal.trim(w.inbox.next_seq)
        gone = w.journal.segments[0].first_seq - 1  # the start is said again
        assert gone > 0
    await lose_data(site, box, start_server(data=tmp_path / "empty"), monkeypatch)
    info = await site.info("r")
    assert (info["rows"], info["lost"], info["summary"]["i"]) == (500 - gone, gone, 499)
    rows = 500 - gone
    assert (box.progress.refused, box.progress.rows, box.progress.lost) == (None, rows, gone)
    assert info["config"] == {"lr": 1}


async def all_arrived(box: Outbox, w: Writer) -> None:
    """Wait until the server has acknowledged all that was logged."""
    arrived = asyncio.Event()

    def moved(next_seq: int) -> None:
        if next_seq == w.inbox.next_seq:
            arrived.set()

    box.progress.moved.append(moved)
    async with asyncio.timeout(60):
        await arrived.wait()


async def lose_data(
    site: Site, box: Outbox, other: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put another server in the place of the one that was sent to, and finish the run."""
    site.uplink._address = Address(other.url, other.api_key)
    site.server = other
    rewound, rewind = asyncio.Event(), box.rewind

    def noted(next_seq: int) -> None:
        rewind(next_seq)
        rewound.set()

    monkeypatch.setattr(box, "rewind", noted)
    site.uplink._heartbeat = 0.01  # nothing more is logged: the next word is that the run lives
    async with asyncio.timeout(60):
        await rewound.wait()
    box.close()
    site.uplink.wake.set()
    await site.settle(box)


SAID: tuple[dict[str, Any], ...] = (
    {"t": "config", "set": {"lr": 2, "opt": {"name": "sgd"}, "gone": 1}, "delete": []},
    {"t": "attrs", "name": "first"},
    metric_event("i", summary="max"),
    {"t": "summary", "set": {"score": 1, "kept": "by hand"}, "delete": [], "step": 3},
    metric_event("i", summary="min"),
    {"t": "config", "set": {"lr": 3}, "delete": []},
    {"t": "config", "set": {}, "delete": ["gone"]},
    {"t": "attrs", "name": "second"},
    {"t": "attrs", "tags": ["a", "b"]},
    {"t": "attrs", "notes": "a note"},
    {"t": "summary", "set": {"score": 2}, "delete": [], "step": 4},
    {"t": "preempt"},
)


@pytest.mark.parametrize("had", [0, 4, 8], ids=["nothing", "some", "more"])
async def test_what_the_run_said_of_itself_is_said_again_though_its_journal_is_gone(
    site: Site,
    start_server: Callable[..., ServerHandle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    had: int,
) -> None:
    box = site.run("r", 0, config={"lr": 1, "seed": 7})
    w = site.writers["r"]
    for event in SAID:
        w.inbox.event(event)
    for i in range(500):
        w.inbox.log({"i": i})
    site.uplink.add(box)
    await all_arrived(box, w)
    w.journal.trim(w.inbox.next_seq)
    first = w.journal.segments[0].first_seq
    assert first > len(SAID) + 1
    other = start_server(data=tmp_path / "other")
    if had:  # a backup that was made when it had so many events
        async with connect(other) as client:
            start = start_event(config={"lr": 1, "seed": 7})
            await client.send(event_frame(0, start, *SAID[: had - 1]), run="r", writer="w1")
    w.inbox.log({"i": 500})
    await lose_data(site, box, other, monkeypatch)
    info = await site.info("r")
    assert info["config"] == {"lr": 3, "seed": 7, "opt": {"name": "sgd"}}
    assert (info["name"], info["tags"], info["notes"]) == ("second", ["a", "b"], "a note")
    summary = info["summary"]
    assert (summary["score"], summary["kept"]) == (2, "by hand")
    lost = first - 1 - len(SAID)
    assert summary["i"] == {"max": 500, "min": lost}
    assert info["state"] == "preempting"
    assert info["rows"] == 501 - lost
    replaced = 0 if had else 1  # the first name: an event that is kept no more counts as a row
    assert (box.progress.rows, box.progress.lost) == (501 - lost - replaced, lost + replaced)


async def test_a_frame_that_is_cut_otherwise_the_second_time_counts_its_rows_once(
    site: Site,
) -> None:
    box = site.run("r", 20)
    w = site.writers["r"]
    while box.fill():
        pass
    box.acknowledge(21)
    w.inbox.event({"t": "config", "set": {"late": 1}, "delete": []})
    w.inbox.log({"i": 20})
    box.rewind(0)
    while box.fill():
        pass
    assert [p.count for p in box.pending] == [23]
    box.acknowledge(w.inbox.next_seq)
    assert box.progress.rows == w.inbox.accepted == 21


def claims(count: int, code: str | None = None) -> Answer:
    """An answer that says of every stream that the server has `count` records of it."""

    def answer(_line: Line, streams: list[Stream]) -> Reply:
        entry: dict[str, Any] = {"run": "e/p/r", "next": count}
        if code is not None:
            entry["error"] = {"code": code, "message": "no"}
        return Reply(200, {}, json.dumps({"streams": [entry] * len(streams)}).encode())

    return answer


@pytest.mark.parametrize("code", [None, "sequence_gap"])
async def test_more_than_was_written_is_not_believed(site: Site, code: str | None) -> None:
    bad, good = site.run("bad", 500), site.run("good")
    site.line.failures = [claims(502, code)]
    site.send(bad)
    await site.settle(bad)
    w = site.writers["bad"]
    assert (bad.progress.next_seq, bad.progress.rows) == (0, 0)
    assert "502 records of a writer that has written 501" in str(bad.progress.refused)
    assert [(run, topic) for run, topic, _ in site.said] == [("bad", "overstated")]
    assert not w.journal.trim(bad.progress.next_seq)
    site.send(good)
    await site.settle(good)
    assert (await site.info("good"))["rows"] == 10


async def test_what_was_not_sent_is_not_let_go(site: Site) -> None:
    site.uplink._max_request = 4096
    box = site.run("r", SEVERAL)
    site.line.failures = [claims(SEVERAL)]  # of which it was sent a part
    site.send(box)
    await site.line.sent_at_least(2)
    assert 0 < box.progress.next_seq < SEVERAL
    await site.settle(box)
    assert (await site.info("r"))["rows"] == SEVERAL


@pytest.mark.parametrize("number", [-1, None, "x"])
async def test_an_answer_without_a_number_is_none(site: Site, number: Any) -> None:
    site.line.failures = [claims(number), claims(number, "sequence_gap")]
    box = site.run("r")
    site.send(box)
    await site.settle(box)
    assert (await site.info("r"))["rows"] == 10


async def test_a_silent_run_says_that_it_lives(site: Site) -> None:
    box = site.run("r")
    site.uplink._heartbeat = 0.01
    site.uplink.add(box)
    await site.line.sent_at_least(4)
    assert box.progress.connected
    assert box.progress.run_path is not None
    assert box.progress.rows == 10


async def test_haste_ends_with_the_last_who_waits(site: Site) -> None:
    box = site.run("r")
    with box.hurry():
        with box.hurry():
            assert box.urgent
        assert box.urgent, "another one waits still"
    assert not box.urgent
    box.close()
    assert box.urgent


SEVERAL = 2000
"""rows that make some twenty requests of the size below"""


async def test_a_second_request_goes_off_before_the_first_is_answered(site: Site) -> None:
    site.uplink._max_request = 4096
    line = site.line
    line.after = {1: lambda line: len(line.sent) > 2}  # waits for the one behind it
    box = site.run("r", SEVERAL)
    site.send(box)
    await site.settle(box)
    info = await site.info("r")
    assert (info["rows"], info["lost"], info["summary"]["i"]) == (SEVERAL, 0, SEVERAL - 1)
    assert (box.progress.rows, box.progress.lost) == (SEVERAL, 0)
    assert line.most_open == 2
    assert box.size == box.waiting == 0


async def test_one_that_overtakes_is_sent_again_and_from_then_on_they_go_singly(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a server of several processes, which know nothing of each other's requests."""
    monkeypatch.setattr(request_order, "_PATIENCE", 0.0)
    site.uplink._max_request = 4096
    line = site.line
    line.after = {1: lambda line: 2 in line.answered}
    box = site.run("r", SEVERAL)
    site.send(box)
    await site.settle(box)
    info = await site.info("r")
    assert (info["rows"], info["lost"], info["summary"]["i"]) == (SEVERAL, 0, SEVERAL - 1)
    assert (box.progress.rows, box.progress.lost, box.progress.error) == (SEVERAL, 0, None)
    assert not site.uplink._in_order
    line.most_open = line.open
    late = site.run("late", SEVERAL)
    site.send(late)
    await site.settle(late)
    assert (await site.info("late"))["rows"] == SEVERAL
    assert line.most_open == 1


async def test_one_that_fails_takes_the_one_behind_it_down(site: Site) -> None:
    site.uplink._max_request = 4096
    line = site.line
    line.failures = [None, drops_the_answer, None, answers(503), None, drops_the_answer]
    line.after = {n: lambda line, n=n: len(line.sent) > n + 1 for n in (1, 3)}  # type: ignore[misc]
    box = site.run("r", SEVERAL)
    site.send(box)
    await site.settle(box)
    info = await site.info("r")
    assert (info["rows"], info["lost"], info["summary"]["i"]) == (SEVERAL, 0, SEVERAL - 1)
    assert (box.progress.rows, box.progress.lost, box.progress.error) == (SEVERAL, 0, None)
    assert box.size == box.waiting == 0
