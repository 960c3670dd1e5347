"""Tasks beside the requests: nothing ends them but the server, and that between two turns."""

from __future__ import annotations

import asyncio

import pytest

from asyncwb.server.process.background import Tasks, beside, whole
from asyncwb.server.process.metrics import Metrics

pytestmark = pytest.mark.anyio


async def test_a_turn_is_not_cut_short() -> None:
    begun, may_end, turns = asyncio.Event(), asyncio.Event(), []

    async def turn() -> None:
        begun.set()
        await may_end.wait()
        turns.append("whole")

    async def work() -> None:
        while True:
            await whole(turn())

    async with beside(work(), "work"):
        await begun.wait()
        asyncio.get_running_loop().call_soon(may_end.set)
    assert turns == ["whole"]


async def test_a_turn_that_fails_is_told() -> None:
    async def turn() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await whole(turn())


@pytest.mark.parametrize(
    "error", [ValueError("odd"), TimeoutError("no connection"), asyncio.CancelledError()]
)
async def test_a_task_that_fails_is_started_again_and_told(error: BaseException) -> None:
    metrics = Metrics()
    tasks, turns, well = Tasks(metrics, pause=0.0), list[list[str]](), asyncio.Event()

    async def turn() -> float:
        turns.append(tasks.failing)
        if len(turns) < 4:
            raise error
        if len(turns) == 5:
            well.set()
            await asyncio.Event().wait()
        return 0.0

    async with tasks.keep("the work", turn):
        async with asyncio.timeout(10):
            await well.wait()
    assert turns == [[], ["the work"], ["the work"], ["the work"], []]
    assert metrics.get("asyncwb_task_failures_total", task="the work") == 3
    assert b'asyncwb_task_failing{task="the work"} 0' in metrics.text()
