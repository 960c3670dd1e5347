"""Claims against a model: owners whose clocks differ and jump, and who die without a word."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass, field

import pytest

from asyncwb.server.store.claims import Claim, Claims, ConflictError, check
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

pytestmark = [pytest.mark.anyio, both_databases]

LENGTH = 60.0


@dataclass
class Process:
    """One that wants the claim; its clock is off by `skew` seconds."""

    skew: float
    claim: Claim = field(default_factory=lambda: Claim("work", uuid.uuid4().hex))

    def die(self) -> None:
        """Forget everything; who starts anew is another owner."""
        self.claim = Claim("work", uuid.uuid4().hex)


async def uses(lab: Lab, claim: Claim, now: float) -> bool:
    """Ask, in a transaction that would use the claim, whether it may."""
    try:
        async with lab.database.transaction() as connection:
            await check(connection, claim, now)
    except ConflictError:
        return False
    return True


@pytest.mark.parametrize("seed", range(4))
async def test_nobody_uses_what_somebody_else_has(lab: Lab, seed: int) -> None:
    pick, claims, now = random.Random(seed), Claims(lab.database), 1000.0
    processes = [Process(skew) for skew in (0.0, -30.0, 3600.0)]
    holder, until = "", 0.0
    for _ in range(150):
        now += pick.choice([0.0, 1.0, 20.0, 70.0])
        process = pick.choice(processes)
        claim, clock = process.claim, now + process.skew
        match pick.randrange(6):
            case 0 | 1:
                taken = await claims.take(claim, clock, clock + LENGTH)
                assert taken == (until <= clock)
                if taken:
                    holder, until = claim.owner, clock + LENGTH
            case 2:
                renewed = await claims.renew(claim, clock + LENGTH)
                assert renewed == (holder == claim.owner)
                until = clock + LENGTH if renewed else until
            case 3:
                await claims.release(claim)
                holder, until = ("", 0.0) if holder == claim.owner else (holder, until)
            case 4:
                process.die()
            case 5:
                process.skew += pick.choice([-7200.0, -1.0, 7200.0])
        for other in processes:
            mine = holder == other.claim.owner and until > now + other.skew
            assert await uses(lab, other.claim, now + other.skew) == mine
    # Whoever died or is behind, it can be had again.
    assert await claims.take(Claim("work", "last"), until, until + LENGTH)


async def test_of_many_at_once_one_gets_it(lab: Lab) -> None:
    claims, now = Claims(lab.database), 1000.0
    for turn in range(5):
        now += 2 * LENGTH
        wanted = [Claim(f"work {turn % 2}", uuid.uuid4().hex) for _ in range(8)]
        got = await asyncio.gather(*(claims.take(one, now, now + LENGTH) for one in wanted))
        # On PostgreSQL a row that is being taken is passed over: then there may be none yet.
        assert sum(got) <= 1
        winner = got.index(True) if any(got) else None
        allowed = [await uses(lab, one, now) for one in wanted]
        assert allowed == [number == winner for number in range(8)]


async def test_it_cannot_be_taken_while_a_transaction_uses_it(lab: Lab) -> None:
    claims, mine, late = Claims(lab.database), Claim("work", "me"), 5000.0
    assert await claims.take(mine, 1000.0, 1000.0 + LENGTH)
    ended: list[str] = []

    async def take() -> bool:
        taken = await claims.take(Claim("work", "you"), late, late + LENGTH)
        ended.append("taken" if taken else "passed over")
        return taken

    async with lab.database.transaction() as connection:
        await check(connection, mine, 1001.0)
        if lab.database.is_sqlite:  # where one transaction is open at a time
            other = asyncio.create_task(take())
        else:
            assert not await take()
        await check(connection, mine, 1001.0)
        ended.append("used")
    if lab.database.is_sqlite:
        assert await other
    else:
        assert await take()
    assert ended[-2:] == ["used", "taken"]
    assert not await uses(lab, mine, 1001.0)
