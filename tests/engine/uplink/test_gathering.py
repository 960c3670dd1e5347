"""A busy server asks for rows to gather, and they do, as long as they are few."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.uplink import Uplink
from asyncwb.server.intake.pace import Pace
from tests.engine.uplink.test_uplink import Line, running
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.anyio


class Counted(Uplink):
    """An uplink that tells how often it has paused."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.paused, self.more = 0, asyncio.Condition()

    async def pauses_at_least(self, count: int) -> None:
        async with asyncio.timeout(60), self.more:
            await self.more.wait_for(lambda: self.paused >= count)

    async def _pause(self, seconds: float, *, urgent: bool = True) -> bool:
        woken = await super()._pause(seconds, urgent=urgent)
        async with self.more:
            self.paused += 1
            self.more.notify_all()
        return woken


async def test_rows_gather_for_a_busy_server_unless_they_are_many_or_somebody_waits(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "gather", lambda _: 3600.0)
    line = Line()
    uplink = Counted(
        Address(server.url, server.api_key),
        line,
        flush_interval=0.005,
        heartbeat=float("inf"),
        memory=2**20,
    )

    async def acknowledged(box: Outbox, rows: int) -> None:
        there = asyncio.Event()

        def moved(_: int) -> None:
            if box.progress.rows >= rows:
                there.set()

        box.progress.moved.append(moved)
        moved(0)
        await asyncio.wait_for(there.wait(), 60)

    async with running(server, server.api_key) as site, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(uplink.run())
        box = site.run("r1", 1)
        log = site.writers["r1"].inbox.log
        uplink.add(box)
        await acknowledged(box, 1)
        paused = uplink.paused
        for number in range(20):
            log({"i": number})
            await uplink.pauses_at_least(paused + number)
        assert len(line.sent) == 1
        assert box.progress.rows == 1
        rows = site.writers["r1"].inbox.next_seq - 1  # but the start
        with box.hurry():
            uplink.wake.set()
            await acknowledged(box, rows)
        assert len(line.sent) == 2
        for _ in range(80_000):
            log({"i": 2})
        await acknowledged(box, rows + 5_000)
        box.close()
        uplink.wake.set()
        await site.settle(box)
        sending.cancel()
    await line.close()
