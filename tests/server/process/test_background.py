"""Tasks beside the requests: nothing ends them but the server, and that between two turns."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from asyncwb.server.process.background import Tasks, shielded
from asyncwb.server.process.metrics import Metrics

pytestmark = pytest.mark.anyio


async def test_a_turn_is_not_cut_short() -> None:
    begun, may_end, turns = anyio.Event(), anyio.Event(), []

    async def part() -> None:
        begun.set()
        await may_end.wait()
        turns.append("whole")

    async def turn() -> float:
        await shielded(part())
        turns.append("and what follows")
        return 0.0

    tasks = Tasks(Metrics())
    async with tasks.open():
        async with tasks.keep("the work", turn):
            await begun.wait()
            asyncio.get_running_loop().call_soon(may_end.set)
        assert turns == ["whole"]


async def test_a_turn_that_fails_is_told() -> None:
    async def turn() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await shielded(turn())


async def test_each_task_ends_with_its_block_and_no_other_does() -> None:
    tasks, turns = Tasks(Metrics()), list[str]()

    async def first() -> float:
        turns.append("first")
        return 0.0

    async def second() -> float:
        turns.append("second")
        return 0.0

    async def look(wanted: set[str]) -> None:
        turns.clear()
        with anyio.fail_after(10):
            while set(turns) != wanted:
                await anyio.lowlevel.checkpoint()

    async with tasks.open():
        async with tasks.keep("first", first):
            async with tasks.keep("second", second):
                await look({"first", "second"})
            turns.clear()
            await look({"first"})
        turns.clear()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        assert not turns


async def test_what_the_block_raises_is_raised_as_it_is() -> None:
    tasks = Tasks(Metrics())

    async def turn() -> float:
        return 0.0

    async with tasks.open():
        with pytest.raises(ValueError, match="no"):
            async with tasks.keep("the work", turn):
                raise ValueError("no")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        TimeoutError("no connection"),
        asyncio.CancelledError(),
        ExceptionGroup("of a group", [ValueError("odd")]),
        BaseExceptionGroup("of a group", [asyncio.CancelledError()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_task_that_fails_is_started_again_and_told(error: BaseException) -> None:
    metrics = Metrics()
    tasks, turns, well = Tasks(metrics, pause=0.0), list[list[str]](), anyio.Event()

    async def turn() -> float:
        turns.append(tasks.failing)
        if len(turns) < 4:
            raise error
        if len(turns) == 5:
            well.set()
            await anyio.Event().wait()
        return 0.0

    async with tasks.open(), tasks.keep("the work", turn):
        with anyio.fail_after(10):
            await well.wait()
    assert turns == [[], ["the work"], ["the work"], ["the work"], []]
    assert metrics.get("asyncwb_task_failures_total", task="the work") == 3
    assert b'asyncwb_task_failing{task="the work"} 0' in metrics.text()


async def test_what_ends_the_process_is_no_failure() -> None:
    tasks = Tasks(Metrics())

    async def turn() -> float:
        raise BaseExceptionGroup("of a group", [KeyboardInterrupt()])

    with pytest.raises(BaseExceptionGroup) as raised:
        async with tasks.open(), tasks.keep("the work", turn):
            await anyio.sleep_forever()
    assert raised.value.subgroup(KeyboardInterrupt) is not None
    assert not tasks.failing
