"""A W&B server in memory, as strict as W&B's protocol is, and an uplink that sends to it.

It keeps what it was sent line by line, takes a line that comes again, and fails where a test says:
what a real server does with the same requests is tested against our own, over a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.pipeline import FoundSegments, LiveSegments, Reader
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.frames.source import JournalSource
from asyncwb.engine.journal.folder import Description, RunFolder
from asyncwb.engine.journal.inbox import Inbox
from asyncwb.engine.journal.journal import Journal
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http, NoAnswer, Reply
from asyncwb.engine.uplink.uplink import Uplink
from asyncwb.wire.history import StepRule
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.wandb import HISTORY, MAX_BYTES, SUMMARY, plain_config

URL = "http://wandb.test"
PASS, LOSE = "pass", "lose the answer"
Plan = Callable[[int, str], "str | Reply"]
"""What becomes of the n-th request: PASS, LOSE (it is done, and nobody hears), or an answer."""


def says(status: int, **headers: str) -> Reply:
    """An answer that is not the server's own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, b'{"errors":[{"message":"not now"}]}')


@dataclass
class StoredRun:
    """What the server has of a run."""

    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    bucket: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    completions: int = 0
    posts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its history."""
        return [loads(line) for line in self.lines]

    @property
    def config(self) -> dict[str, Any]:
        """Its config, without W&B's part."""
        return plain_config(loads(self.bucket["config"]))


class Cloud(Http):
    """The server: connections that need no network."""

    def __init__(self) -> None:
        super().__init__(10.0)
        self.runs: dict[str, StoredRun] = {}
        self.plan: Plan = lambda number, path: PASS
        self.requests: list[str] = []
        self.ready = Reply(404, {}, b"page not found")
        self.headers: dict[str, str] = {}
        self.most = MAX_BYTES
        self.stopped = False
        self.errors: list[dict[str, Any]] = []
        self._more = asyncio.Condition()

    async def heard(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: len(self.requests) >= count)

    async def request(self, method: str, url: str, **more: Any) -> Reply:
        path = url.removeprefix(URL)
        await asyncio.sleep(0)
        if path == "/ready":
            return self.ready
        self.requests.append(path)
        async with self._more:
            self._more.notify_all()
        what = self.plan(len(self.requests) - 1, path)
        if isinstance(what, Reply):
            return what
        reply = self._answer(path, more["data"])
        if what == LOSE:
            raise NoAnswer("the answer was lost")
        return reply

    def _answer(self, path: str, body: bytes) -> Reply:
        if len(body) > self.most:
            return Reply(413, {}, b"too large")
        said = loads(body)
        if path == "/graphql":
            if self.errors:
                return _json({"data": None, "errors": self.errors})
            return _json({"data": self._graphql(said["query"], said["variables"])})
        _, entity, project, run, _ = path.lstrip("/").split("/")
        assert (entity, project) == ("team", "p")
        return self._stream(self.runs[run], said)

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        if "query RunResumeStatus" in query:
            return {"model": {"bucket": None if run is None else _status(run)}}
        inserted = run is None
        run = self.runs.setdefault(variables["name"], StoredRun())
        told = {name: value for name, value in variables.items() if value is not None}
        run.bucket.update(told)
        project = {"name": variables["project"], "entity": {"name": "team"}}
        bucket = {"name": variables["name"], "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _stream(self, run: StoredRun, said: dict[str, Any]) -> Reply:
        run.posts.append(said)
        files = said.get("files", {})
        block = files.get(HISTORY, {"offset": len(run.lines), "content": []})
        at, lines = block["offset"], block["content"]
        assert at <= len(run.lines), "a hole in the lines"
        again = run.lines[at : at + len(lines)]
        assert lines[: len(again)] == again, "another line under the same number"
        run.lines[at : at + len(lines)] = lines
        if SUMMARY in files:
            run.summary = loads(files[SUMMARY]["content"][-1])
        if said.get("complete"):
            run.exit_code, run.completions = said["exitcode"], run.completions + 1
        reply = _json({"stopped": True} if self.stopped else {})
        return Reply(reply.status, self.headers, reply.body)


def _status(run: StoredRun) -> dict[str, Any]:
    config = run.bucket.get("config", "{}")
    own = loads(config).get("_wandb", {}).get("value", {})
    return {
        "historyLineCount": len(run.lines),
        "historyTail": dumps(run.lines[-1:]).decode(),
        "config": config,
        "summaryMetrics": dumps(run.summary).decode(),
        "wandbConfig": dumps({"t": own["t"]} if "t" in own else {}).decode(),
    }


def _json(value: Any) -> Reply:
    return Reply(200, {}, dumps(value))


class Uphill(Uplink):
    """An uplink that notes how long it would pause, and goes on."""

    pauses: list[float]
    turned: asyncio.Condition

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so, looked at between two turns."""
        async with asyncio.timeout(60), self.turned:
            await self.turned.wait_for(condition)

    async def _pause(self, seconds: float, *, urgent: bool = True) -> bool:
        if not urgent:
            self.pauses.append(seconds)
        async with self.turned:
            self.turned.notify_all()
        await asyncio.sleep(0.001)
        return True


@asynccontextmanager
async def uplink(cloud: Cloud, *, heartbeat: float = 1e9) -> AsyncIterator[Uphill]:
    """An uplink to the server, while the block lasts; then it is gone, whatever it was at."""
    made = Uphill(
        Address(URL, "key"),
        cloud,
        flush_interval=0.01,
        heartbeat=heartbeat,
        memory=2**24,
    )
    made.pauses, made.turned = [], asyncio.Condition()
    task = asyncio.ensure_future(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Hurried(Outbox):
    """An outbox for which somebody always waits."""

    @property
    def urgent(self) -> bool:
        return True


@dataclass
class Writer:
    """One writer with a folder of its own; its clock counts rows, ten a second, from 1000."""

    folder: RunFolder
    journal: Journal
    inbox: Inbox

    def outbox(self, *, urgent: bool = False) -> Outbox:
        """What an uplink of this process sends; `urgent`: somebody waits for it all the time."""
        source = JournalSource(Reader(LiveSegments(self.journal)))
        head = self.folder.describe().head
        kind = Hurried if urgent else Outbox
        aside = Aside(self.folder.aside)
        return kind(head, source, Progress(), folder=self.folder, aside=aside)

    def found(self) -> Outbox:
        """What somebody sends who finds the folder later."""
        source = JournalSource(Reader(FoundSegments(self.journal.folder)))
        box = Outbox(
            self.folder.describe().head, source, Progress(), folder=self.folder, found=True
        )
        box.close()
        return box


@contextmanager
def writer(
    runs: Path, run: str = "r", name: str = "w1", *, at: float = 1000.0, **start: Any
) -> Iterator[Writer]:
    """Begin a run as `init` does."""
    told = Description(None, "p", run, name, "online", URL, at)
    folder = RunFolder.create(runs, told)
    times = iter(at + n / 10 for n in range(10**6))
    journal = Journal(folder.journal, max_bytes=2**24)
    inbox = Inbox(journal, StepRule("merge"), overflow="block", clock=lambda: next(times))
    versions = {"python": "3.11.4", "client": "0.1.0"}
    inbox.event({"t": "start", "at": at, "config": {}, "tags": [], **versions, **start})
    try:
        yield Writer(folder, journal, inbox)
    finally:
        journal.close(delete=False)
        folder.unlock()


async def settle(*boxes: Outbox) -> None:
    """Wait until nothing more is to be sent of these."""
    async with asyncio.timeout(60):
        for box in boxes:
            await box.settled.wait()
