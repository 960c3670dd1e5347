"""Holding a claim for as long as the work takes, and no longer than the process lives.

async with held(claims, "seal/7") as claim:
    if claim is not None:
        ...                                     it is renewed meanwhile
        async with database.transaction() as connection:
            await claims.check(connection, claim)
            ...                                 what may be written by its owner only
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from asyncwb.server.process.background import shielded
from asyncwb.server.store.claims import Claim, Claims

log = logging.getLogger("asyncwb.server")

SECONDS: Final = 60.0
"""after so long without a sign of its owner a claim is free"""
LONGEST: Final = 3600.0
"""seconds after which it is renewed no more: whoever waits for it gets it, whatever hangs"""


@asynccontextmanager
async def held(claims: Claims, name: str, seconds: float = SECONDS) -> AsyncIterator[Claim | None]:
    """Have a claim for the length of the block; gives None where somebody else has it.

    Args:
        claims: the statements.
        name: what is claimed, at most 255 characters.
        seconds: until the deadline; it is put off after a third of them.
    """
    claim = Claim(name, uuid.uuid4().hex)
    if not await claims.take(claim, seconds):
        yield None
        return
    failed: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_renew, claims, claim, seconds, name=f"renewing {name}")
            try:
                yield claim
            except BaseException as error:
                failed = error  # raised below, as it is: the group would wrap it in one of its own
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _release(claims, claim)
    if failed is not None:
        raise failed


async def _renew(claims: Claims, claim: Claim, seconds: float) -> None:
    for _ in range(int(3 * LONGEST / seconds)):
        await anyio.sleep(seconds / 3)
        try:
            if not await shielded(claims.renew(claim, seconds)):
                return  # the transaction that needs it will say so
        except Exception as error:  # the database may be away; the work must not end for that
            log.warning("%s could not be renewed yet: %s", claim.name, type(error).__name__)


async def _release(claims: Claims, claim: Claim) -> None:
    try:
        await claims.release(claim)
    except Exception as error:  # what was done under it is done; it runs out by itself
        log.warning("%s is free only at its deadline: %s", claim.name, type(error).__name__)
