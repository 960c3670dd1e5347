"""A claim is held for the length of a block, renewed meanwhile, and given back whatever happens."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from asyncwb.server.process.claims import held
from asyncwb.server.store.claims import Claim, Claims
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

pytestmark = [pytest.mark.anyio, both_databases]


class CountedClaims(Claims):
    """Claims that tell when one has been renewed, or could not be."""

    def __init__(self, lab: Lab, failures: int = 0) -> None:
        super().__init__(lab.database, lambda: lab.now)
        self.renewed = anyio.Event()
        self.failures = failures

    async def renew(self, claim: Claim, seconds: float) -> bool:
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError("the database is away")
        mine = await super().renew(claim, seconds)
        self.renewed.set()
        return mine


async def is_free(lab: Lab) -> bool:
    other = Claim("work", "somebody else")
    free = await lab.claims.take(other, 1.0)
    if free:
        await lab.claims.release(other)
    return free


async def test_one_has_it_at_a_time(lab: Lab) -> None:
    async with held(lab.claims, "work") as first:
        assert first is not None
        async with held(lab.claims, "work") as second, held(lab.claims, "other") as other:
            assert second is None
            assert other is not None
        assert not await is_free(lab)
    assert await is_free(lab)


class OddError(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, OddError])
async def test_what_the_block_raises_is_raised_as_it_is_and_the_claim_is_free(
    lab: Lab, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        async with held(lab.claims, "work"):
            raise error
    assert await is_free(lab)


@pytest.mark.parametrize("by", ["task", "scope"])
async def test_who_is_cancelled_gives_it_back(lab: Lab, by: str) -> None:
    begun, scope = anyio.Event(), anyio.CancelScope()

    async def work() -> None:
        with scope:
            async with held(lab.claims, "work"):
                begun.set()
                await anyio.sleep_forever()

    task = asyncio.create_task(work())
    await begun.wait()
    (task.cancel if by == "task" else scope.cancel)()
    await asyncio.wait([task])
    assert task.cancelled() is (by == "task")
    assert await is_free(lab)


@pytest.mark.parametrize("failures", [0, 2])
async def test_it_is_renewed_also_after_the_database_was_away(lab: Lab, failures: int) -> None:
    claims = CountedClaims(lab, failures)
    async with held(claims, "work", seconds=0.03) as claim:
        assert claim is not None
        lab.now += 1000.0
        with anyio.fail_after(20):
            await claims.renewed.wait()
        assert not await is_free(lab)


async def test_one_that_was_lost_is_not_taken_back(lab: Lab) -> None:
    claims = CountedClaims(lab)
    async with held(claims, "work", seconds=0.03):
        lab.now += 1000.0
        assert await claims.take(Claim("work", "somebody else"), 1000.0)
        with anyio.fail_after(20):
            await claims.renewed.wait()
    assert not await is_free(lab)
