"""Upkeep of the journals: room ahead, nothing kept that is acknowledged, bytes on the disk.

The journals of all runs are looked at ten times a second, without waiting; what the disk has to do
for them is done beside, several runs at a time. One after the other, 200 runs took an ext4 disk 200
to 800 ms to force what they had written; four at a time, which share the file system's commits,
take it 12 to 33 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncwb.engine.journal.checks import NEGATIVE
from asyncwb.engine.session import Session

INTERVAL: Final = 0.1
"""seconds between two looks"""
_AT_ONCE: Final = 4
"""runs for which the disk works at a time: half of the engine's helpers"""
_SYNC_AT_LEAST: Final = 0.05


@dataclass(slots=True, eq=False)
class _Job:
    """What a journal needs: room (what is acknowledged goes), or its rows up to `goal` on the disk.

    `error` is what came of it.
    """

    session: Session
    acknowledged: int | None
    goal: int | None
    error: BaseException | None = None

    def work(self) -> None:
        """Do it; blocks."""
        try:
            if self.acknowledged is not None:
                _make_room(self.session, self.acknowledged)
            if self.goal is not None:
                self.session.sync()
        except BaseException as error:  # whatever it is, it is this run's alone
            self.error = error


class Upkeep:
    """Keeps journals fit; on the engine's loop only, but for `_work`.

    A helper takes one job after the other, so that many small ones cost the loop little, and one
    that hangs holds up nobody but its own run.

    Mutable state: `_under_way`, the sessions for which the disk works, or is waited for; `_jobs`,
    not begun; `_helpers`, how many are at work.
    """

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._under_way: set[Session] = set()
        self._jobs: deque[_Job] = deque()
        self._helpers = 0

    def look(self, session: Session) -> None:
        """See what a journal needs, and have it done; never waits."""
        now = anyio.current_time()
        session.inbox.flush_deferred()
        session.progress.mark(session.inbox.next_seq, now)
        _warn(session)
        if session in self._under_way:
            return
        needs_sync, needs_room = _needs_sync(session, now), _needs_room(session)
        if needs_sync:  # counted from the look, however long the disk is waited for
            wait = session.settings.sync_interval - INTERVAL
            session.next_sync = now + max(wait, _SYNC_AT_LEAST)
        if needs_sync or needs_room:
            self._under_way.add(session)
            acknowledged = session.progress.next_seq if needs_room else None
            goal = session.inbox.next_seq if needs_sync else None
            self._jobs.append(_Job(session, acknowledged, goal))
            if self._helpers < _AT_ONCE:
                self._helpers += 1
                self._group.start_soon(self._help)

    async def _help(self) -> None:
        while self._jobs:
            await asyncio.to_thread(self._work)
        self._helpers -= 1

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            job.work()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._finish, job)

    def _finish(self, job: _Job) -> None:
        self._under_way.discard(job.session)
        if job.goal is not None and (job.error is None or isinstance(job.error, OSError)):
            _note_sync(job.session, job.goal, job.error)
        elif job.error is not None:
            job.session.notices.warn_once("care", f"the journal is not well: {job.error!r}.")


async def sync(session: Session) -> bool:
    """Force what was logged so far to the disk; False where that fails, and it is said."""
    session.inbox.flush_deferred()
    goal, complete = session.inbox.next_seq, not session.inbox.holds_back
    try:
        await asyncio.to_thread(session.sync)
    except OSError as error:
        return _note_sync(session, goal, error) and complete
    return _note_sync(session, goal, None) and complete


def _note_sync(session: Session, goal: int, error: OSError | None) -> bool:
    """Note that the disk has what is below `goal`, or why not; tell whether that is safe."""
    if error is not None and session.progress.next_seq < goal:  # if not, it is safe elsewhere
        session.sync_error = error
        session.notices.warn_once("sync", f"the journal cannot be forced to disk: {error}")
        return False
    session.sync_error = None
    session.synced_seq = max(goal, session.synced_seq)
    return True


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


def _make_room(session: Session, acknowledged: int) -> None:
    """Delete what is acknowledged, and make what will be written next; blocks."""
    with contextlib.suppress(OSError):  # a full disk: log() counts what it costs
        session.journal.trim(acknowledged)
        if not session.inbox.closed:
            session.journal.prepare()
