"""What the resolvers of one level ask for is fetched once for all of them, and nobody is left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from asyncwb.server.graphql.execution.context import Batch

pytestmark = pytest.mark.anyio

STATE: Any = None


class Numbers:
    """Fetches the squares of numbers, of all but 0."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.begun, self.may_end = anyio.Event(), anyio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def fetch(self, _state: Any, keys: list[int]) -> Mapping[int, int]:
        self.asked.append(keys)
        self.begun.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return {key: key * key for key in keys if key}


async def test_a_level_is_one_list_and_the_next_one_another() -> None:
    numbers = Numbers()
    batch: Batch[int, int] = Batch(STATE, numbers.fetch)
    level = [0, 1, 2, 2, *range(3, 200)]
    found = await asyncio.gather(*map(batch.load, level))
    assert found == [key * key or None for key in level]
    assert numbers.asked == [list(dict.fromkeys(level))]
    assert await batch.load(1) == 1
    assert numbers.asked[1:] == [[1]]


async def test_an_error_is_everybodys_and_the_next_level_is_asked_anew() -> None:
    numbers = Numbers()
    numbers.error = OSError("the disk")
    batch: Batch[int, int] = Batch(STATE, numbers.fetch)
    found = await asyncio.gather(*map(batch.load, range(100)), return_exceptions=True)
    assert found == [numbers.error] * 100
    numbers.error = None
    assert await batch.load(2) == 4


@pytest.mark.parametrize("fetching", [True, False])
async def test_a_request_that_is_given_up_leaves_nobody_waiting(fetching: bool) -> None:
    numbers = Numbers()
    numbers.may_end = anyio.Event()
    batch: Batch[int, int] = Batch(STATE, numbers.fetch)
    tasks = [asyncio.create_task(batch.load(key)) for key in range(3)]
    if fetching:
        await numbers.begun.wait()
    else:
        await asyncio.sleep(0)
    tasks[0].cancel()  # the one that fetches
    async with asyncio.timeout(10):
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    numbers.may_end.set()
    assert await batch.load(2) == 4
