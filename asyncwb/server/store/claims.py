"""The statements of claims: what one task of one server process has for a while.

A claim has an owner and a deadline. Its owner puts the deadline off while it works, and asks in
the very transaction that uses the claim whether it still has it; nobody can take it until that
transaction has ended. Whoever dies loses it at its deadline.

What time it is, only the database says: servers whose clocks differ, or jump, agree about a claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import leases


@dataclass(frozen=True, slots=True)
class Claim:
    """A right that one owner has at a time: what to, and who holds it."""

    name: str
    owner: str


class ConflictError(Exception):
    """The claim was lost, or what it is about has changed; nothing was written."""


class Claims:
    """Takes, renews and gives back claims.

    Args:
        database: where they stand.
        clock: unix seconds; None: the database's own.
    """

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._clock = clock

    def _now(self) -> ColumnElement[float]:
        return self._database.now() if self._clock is None else literal(self._clock())

    async def take(self, claim: Claim, seconds: float) -> bool:
        """Take a claim that nobody has for so long; False where somebody has it."""
        async with self._database.transaction() as connection:
            free = self._database.insert(leases).values(name=claim.name, owner="", until=0.0)
            await connection.execute(free.on_conflict_do_nothing())
            statement = (
                select(leases.c.name)
                .where(leases.c.name == claim.name, leases.c.until <= self._now())
                .with_for_update(skip_locked=True)
            )
            if (await connection.execute(statement)).first() is None:
                return False
            taken = update(leases).where(leases.c.name == claim.name)
            await connection.execute(taken.values(owner=claim.owner, until=self._now() + seconds))
            return True

    async def renew(self, claim: Claim, seconds: float) -> bool:
        """Put the deadline off by so long from now; False where somebody else has it by now."""
        statement = (
            update(leases)
            .where(leases.c.name == claim.name, leases.c.owner == claim.owner)
            .values(until=self._now() + seconds)
        )
        async with self._database.transaction() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def release(self, claim: Claim) -> None:
        """Give a claim back; nothing happens where it is not ours."""
        statement = delete(leases).where(leases.c.name == claim.name, leases.c.owner == claim.owner)
        async with self._database.transaction() as connection:
            await connection.execute(statement)

    async def check(self, connection: AsyncConnection, claim: Claim) -> None:
        """Make sure that a claim is ours until the caller's transaction ends.

        Raises:
            ConflictError: it is not ours any more.
        """
        statement = (
            select(leases.c.name)
            .where(leases.c.name == claim.name, leases.c.owner == claim.owner)
            .where(leases.c.until > self._now())
            .with_for_update()
        )
        if (await connection.execute(statement)).first() is None:
            raise ConflictError(f"the claim {claim.name} has run out")
