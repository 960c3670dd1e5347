"""Upkeep of the journals: room ahead, nothing kept that is acknowledged, bytes on the disk.

The journals of all runs are looked at ten times a second, without waiting; what the disk has to do
for them is done beside, several runs at a time. One after the other, 200 runs took an ext4 disk 200
to 800 ms to force what they had written; four at a time, which share the file system's commits,
take it 12 to 33 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncwb.engine.journal.checks import NEGATIVE
from asyncwb.engine.session import Session
from asyncwb.tasks import raise_unless_failed

INTERVAL: Final = 0.1
"""seconds between two looks"""
_AT_ONCE: Final = 4
"""runs for which the disk works at a time: half of the engine's helpers"""
_SYNC_AT_LEAST: Final = 0.05


class Upkeep:
    """Keeps journals fit; on the engine's loop only.

    Mutable state: `_under_way`, the sessions for which the disk works, or is waited for.
    """

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._disk = anyio.CapacityLimiter(_AT_ONCE)
        self._under_way: set[Session] = set()

    def look(self, session: Session) -> None:
        """See what a journal needs, and have it done; never waits."""
        now = anyio.current_time()
        session.inbox.flush_deferred()
        session.progress.mark(session.inbox.next_seq, now)
        _warn(session)
        if session in self._under_way:
            return
        needs_sync = _needs_sync(session, now)
        if needs_sync:  # counted from the look, however long the disk is waited for
            wait = session.settings.sync_interval - INTERVAL
            session.next_sync = now + max(wait, _SYNC_AT_LEAST)
        if needs_sync or _needs_room(session):
            self._under_way.add(session)
            self._group.start_soon(self._care, session, needs_sync)

    async def _care(self, session: Session, needs_sync: bool) -> None:
        try:
            async with self._disk:
                await _make_room(session)
                if needs_sync:
                    await sync(session)
        except BaseException as error:  # must not die: the other runs need it
            raise_unless_failed(error)
            session.notices.warn_once("care", f"the journal is not well: {error!r}.")
        finally:
            self._under_way.discard(session)


async def sync(session: Session) -> bool:
    """Force what was logged so far to the disk; False where that fails, and it is said."""
    session.inbox.flush_deferred()
    goal, complete = session.inbox.next_seq, not session.inbox.holds_back
    try:
        await asyncio.to_thread(session.sync)
    except OSError as error:
        if session.progress.next_seq < goal:  # if not, it is safe elsewhere
            session.sync_error = error
            session.notices.warn_once("sync", f"the journal cannot be forced to disk: {error}")
            return False
    session.sync_error = None
    session.synced_seq = max(goal, session.synced_seq)
    return complete


def _warn(session: Session) -> None:
    if session.inbox.disk_error is not None:
        session.notices.warn_once(
            "disk",
            f"the journal cannot grow: {session.inbox.disk_error}. The run goes on; rows are "
            "dropped, and counted, until it can.",
        )
    if session.inbox.dropped[NEGATIVE]:
        session.notices.warn_once(
            "step",
            "a step below 0 has no place in a run: such rows are dropped, and counted.",
            advise=False,
        )


def _needs_room(session: Session) -> bool:
    journal = session.journal
    return journal.has_old(session.progress.next_seq) or (
        journal.lacks_spares and not session.inbox.closed
    )


def _needs_sync(session: Session, now: float) -> bool:
    wanted = session.settings.sync_interval > 0 and now >= session.next_sync
    return wanted and session.synced_seq != session.inbox.next_seq


async def _make_room(session: Session) -> None:
    """Delete what is acknowledged, and make what will be written next."""
    if _needs_room(session):
        journal, next_seq = session.journal, session.progress.next_seq
        with contextlib.suppress(OSError):  # a full disk: log() counts what it costs
            await asyncio.to_thread(journal.trim, next_seq)
            if not session.inbox.closed:
                await asyncio.to_thread(journal.prepare)
