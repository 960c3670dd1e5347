"""A worker of the engine on the loop of a test, and sessions that log to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import anyio

from asyncwb.engine.session import Session, Submits, Work
from asyncwb.engine.worker import Worker
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.stream import StreamHead
from tests.fix_server import ServerHandle

Done: TypeAlias = Future[Any]


class Desk(Submits):
    """Submits to a worker on this loop, as the engine does from other threads."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.waiting: deque[tuple[Work[Any], Done]] = deque()

    @property
    def problem(self) -> str | None:
        return None

    def submit(self, work: Work[Any]) -> Done:
        future: Done = Once()
        self.waiting.append((work, future))
        self.worker.look()
        return future

    def next(self) -> tuple[Work[Any], Done] | None:
        return self.waiting.popleft() if self.waiting else None


class Once(Future[Any]):
    """A future that notes how often it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.add_done_callback(self._note)

    def _note(self, _: Done) -> None:
        self.answers += 1


@asynccontextmanager
async def working() -> AsyncIterator[Desk]:
    """A worker at work; what it has not begun is left in `waiting`."""
    async with anyio.create_task_group() as group, Worker() as worker:
        desk = Desk(worker)

        async def run() -> None:
            await worker.run(desk.next)

        over = anyio.Event()

        async def run_to_the_end() -> None:
            await run()
            over.set()

        group.start_soon(run_to_the_end)
        try:
            yield desk
        finally:
            worker.stopping.set()
            await over.wait()


async def answered(future: Done) -> Any:
    """What a future is answered; fails where it is not."""
    with anyio.fail_after(60):
        return await asyncio.wrap_future(future)


def a_session(
    folder: Path, desk: Submits, run: str = "r", *, server: ServerHandle | None = None, **given: Any
) -> Session:
    """Begin a run that logs to a server, offline where there is none."""
    where = {} if server is None else {"base_url": server.url, "api_key": server.api_key}
    mode = "offline" if server is None else "online"
    settings = Settings(
        **{
            "data_dir": folder,
            "mode": mode,
            "flush_interval": 0.01,
            "silent": True,
            **where,
            **given,
        }
    )
    start: JsonObject = {"t": "start", "at": 1.0, "config": {}, "resume": "allow"}
    return Session(settings, StreamHead(None, "p", run, "w1"), start, engine=lambda: desk)


async def finished(session: Session, timeout: float = 60.0) -> bool:
    """Finish a session; returns whether all of it has arrived."""
    ending = await answered(session.finish(0, timeout))
    return bool(ending.complete)
