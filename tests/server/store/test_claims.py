"""Claims against a model: a clock that jumps, owners who die without a word, servers too early."""

from __future__ import annotations

import asyncio
import random
import time
import uuid

import pytest

from asyncwb.server.store.claims import Claim, Claims, ConflictError
from tests.fix_server import both_databases
from tests.server.history_lab import Lab

pytestmark = [pytest.mark.anyio, both_databases]

LENGTH = 60.0


async def uses(lab: Lab, claims: Claims, claim: Claim) -> bool:
    """Ask, in a transaction that would use the claim, whether it may."""
    try:
        async with lab.database.transaction() as connection:
            await claims.check(connection, claim)
    except ConflictError:
        return False
    return True


def anybody() -> Claim:
    return Claim("work", uuid.uuid4().hex)


@pytest.mark.parametrize("seed", range(4))
async def test_nobody_uses_what_somebody_else_has(lab: Lab, seed: int) -> None:
    pick, claims = random.Random(seed), lab.claims
    processes = [anybody() for _ in range(3)]
    holder, until = "", 0.0
    for _ in range(150):
        lab.now += pick.choice([0.0, 1.0, 20.0, 70.0])
        number = pick.randrange(3)
        claim = processes[number]
        match pick.randrange(6):
            case 0 | 1:
                taken = await claims.take(claim, LENGTH)
                assert taken == (until <= lab.now)
                if taken:
                    holder, until = claim.owner, lab.now + LENGTH
            case 2:
                renewed = await claims.renew(claim, LENGTH)
                assert renewed == (holder == claim.owner)
                until = lab.now + LENGTH if renewed else until
            case 3:
                await claims.release(claim)
                holder, until = ("", 0.0) if holder == claim.owner else (holder, until)
            case 4:
                processes[number] = anybody()  # it has died; who starts anew is another owner
            case 5:
                lab.now += pick.choice([-7200.0, -1.0, 7200.0])
        for other in processes:
            mine = holder == other.owner and until > lab.now
            assert await uses(lab, claims, other) == mine
    # Whoever died or is behind, it can be had again.
    lab.now = max(lab.now, until)
    assert await claims.take(anybody(), LENGTH)


async def test_a_server_whose_clock_is_hours_off_takes_nothing_and_loses_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, mine = Claims(lab.database), anybody()  # by the database's clock, as servers have it
    assert await claims.take(mine, LENGTH)
    now = time.time()
    for off in (-7200.0, 7200.0):
        monkeypatch.setattr(time, "time", lambda off=off: now + off)
        assert not await claims.take(anybody(), LENGTH)
        assert await uses(lab, claims, mine)
        assert await claims.renew(mine, LENGTH)
    assert await claims.renew(mine, 0.0)
    assert not await uses(lab, claims, mine)
    assert await claims.take(anybody(), LENGTH)


async def test_of_many_at_once_one_gets_it(lab: Lab) -> None:
    for turn in range(5):
        lab.now += 2 * LENGTH
        wanted = [Claim(f"work {turn % 2}", uuid.uuid4().hex) for _ in range(8)]
        got = await asyncio.gather(*(lab.claims.take(one, LENGTH) for one in wanted))
        # On PostgreSQL a row that is being taken is passed over: then there may be none yet.
        assert sum(got) <= 1
        winner = got.index(True) if any(got) else None
        allowed = [await uses(lab, lab.claims, one) for one in wanted]
        assert allowed == [number == winner for number in range(8)]


async def test_it_cannot_be_taken_while_a_transaction_uses_it(lab: Lab) -> None:
    claims, mine = lab.claims, Claim("work", "me")
    assert await claims.take(mine, LENGTH)
    late = Claims(lab.database, lambda: lab.now + 2 * LENGTH)
    ended: list[str] = []

    async def take() -> bool:
        taken = await late.take(Claim("work", "you"), LENGTH)
        ended.append("taken" if taken else "passed over")
        return taken

    async with lab.database.transaction() as connection:
        await claims.check(connection, mine)
        if lab.database.is_sqlite:  # where one transaction is open at a time
            other = asyncio.create_task(take())
        else:
            assert not await take()
        await claims.check(connection, mine)
        ended.append("used")
    if lab.database.is_sqlite:
        assert await other
    else:
        assert await take()
    assert ended[-2:] == ["used", "taken"]
    assert not await uses(lab, claims, mine)
