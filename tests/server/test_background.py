"""Tasks beside the requests end between two turns."""

from __future__ import annotations

import asyncio

import pytest

from asyncwb.server.background import beside, whole

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
