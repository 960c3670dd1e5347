"""What the servers of one PostgreSQL know of each other's work: which runs changed, and people.

What a process commits it tells its own pages (`Hub.publish`), and its own caches of keys and rights
(`Users.changed`). Both go to the other servers as well, the changes of `PAUSE` seconds together, so
that however many rows come in, the database is asked for little. Nothing depends on their arrival:
what was missed is found by comparing (`runs.streams`), and what is remembered runs out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from asyncwb.server.live.feed import Hub
from asyncwb.server.process.background import Tasks, shielded
from asyncwb.server.store.database import Database, DatabaseError
from asyncwb.server.store.notifications import Notifications
from asyncwb.server.store.people.users import Users

PAUSE: Final = 0.05
"""seconds for which changes are collected before they are told"""
_LISTENING: Final = "listening to other servers"
_PATIENCE: Final = 1.0
_RUNS: Final = 350
"""ids of a message: 20 digits and a comma each"""


class OtherServers:
    """Tells the others what this process changed, and takes what they tell; as tasks do, in turns.

    Mutable state: `_runs` and `_people`, what is still to be told; `_changed`, set when there is
    some.
    """

    def __init__(self, notifications: Notifications, hub: Hub, users: Users, tasks: Tasks) -> None:
        self._notifications = notifications
        self._hub = hub
        self._users = users
        self._tasks = tasks
        self._me = uuid.uuid4().hex[:12]
        self._runs: set[int] = set()
        self._people = False
        self._changed = anyio.Event()

    def runs_changed(self, run_ids: Iterable[int]) -> None:
        """Note runs that this process has changed."""
        self._runs.update(run_ids)
        self._changed.set()

    def people_changed(self) -> None:
        """Note that this process has changed a key, a role or an account."""
        self._people = True
        self._changed.set()

    async def tell(self) -> float:
        """Wait for changes and tell them (a task's turn)."""
        await self._changed.wait()
        await anyio.sleep(PAUSE)
        self._changed = anyio.Event()
        await self._tell_changes()
        return 0.0

    async def tell_rest(self) -> None:
        """Tell what is left when this server stops, unless the database hangs."""
        left = list(self._messages(self._runs, people=self._people))
        with anyio.move_on_after(_PATIENCE), suppress(DatabaseError, OSError):
            if left:
                await self._notifications.tell(left)

    async def _tell_changes(self) -> None:
        runs, self._runs = self._runs, set()
        people, self._people = self._people, False
        try:
            await shielded(self._notifications.tell(list(self._messages(runs, people=people))))
        except BaseException:
            self._runs |= runs
            self._people |= people
            self._changed.set()
            raise

    def _messages(self, runs: set[int], *, people: bool) -> Iterator[str]:
        ids = sorted(runs)
        for start in range(0, len(ids), _RUNS):
            yield json.dumps({"from": self._me, "runs": ids[start : start + _RUNS]})
        if people:
            yield json.dumps({"from": self._me, "people": True})

    async def listen(self) -> float:
        """Listen until the connection is lost (a task's turn)."""
        async with self._notifications.listening(self._take) as lost:
            self._tasks.well(_LISTENING)
            # What was told before anybody listened here.
            self._hub.wake(self._hub.runs)
            self._users.changed(elsewhere=True)
            await lost()
        return 0.0

    def _take(self, message: str) -> None:
        """Take a message of another server; one of another program is passed over."""
        try:
            told = json.loads(message)
        except (ValueError, RecursionError):
            return
        if not isinstance(told, dict) or told.get("from") in (None, self._me):
            return
        if isinstance(runs := told.get("runs"), list):
            self._hub.wake(run for run in runs if isinstance(run, int))
        if told.get("people") is True:
            self._users.changed(elsewhere=True)


@asynccontextmanager
async def exchanging(
    database: Database, hub: Hub, users: Users, tasks: Tasks
) -> AsyncIterator[None]:
    """Exchange changes with other servers for the length of the block; SQLite has no others."""
    if database.is_sqlite:
        yield
        return
    others = OtherServers(Notifications(database), hub, users, tasks)
    hub.tell, users.tell = others.runs_changed, others.people_changed
    async with (
        tasks.keep("telling other servers", others.tell, after=0.0),
        tasks.keep(_LISTENING, others.listen, after=0.0),
    ):
        yield
    await others.tell_rest()
