"""Requests that go on for long end soon after the key that let them in, or the account, has.

Who may come in is asked when a request begins; a live stream, a download or a slow upload can go
on for days after that. All that were let in stand in one set. When a key, a role or an account
changes, one statement asks about all of them; and in some seconds about those that were there the
last time, too, for what other processes changed and nobody has told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

import anyio
from aiohttp import web

from asyncwb.server.http.connection import Connection
from asyncwb.server.process.background import shielded
from asyncwb.server.store.people.users import User, Users

PAUSE: Final = 2.5
"""seconds between two looks where nothing changes; where nobody told of a change, a revoked key's
requests end within two of them, also those that began when this process still remembered the key
(`auth.KeyCache`): within ten seconds in all"""


class OpenRequests:
    """The requests that are being answered, with the users whom they were let in for.

    Mutable state: `_open`, by number of arrival; `_seen`, the numbers that the last look found;
    `_changes`, of the users when it was taken.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._open: dict[int, tuple[web.Request, User]] = {}
        self._seen: set[int] = set()
        self._numbers = count()
        self._changes = users.changes

    @contextmanager
    def entered(self, request: web.Request, user: User) -> Iterator[None]:
        """Count a request as open for the length of the block."""
        number = next(self._numbers)
        self._open[number] = request, user
        if isinstance(request.protocol, Connection):
            request.protocol.let_in()
        try:
            yield
        finally:
            del self._open[number]

    async def watch(self) -> float:
        """Look when something has changed, or it is time to (a task's turn)."""
        if self._changes == self._users.changes:
            with anyio.move_on_after(PAUSE):
                await self._users.next_change()
        await shielded(self.end_revoked())
        return 0.0

    async def end_revoked(self) -> None:
        """Cut the connections of those whose key or account is worthless by now."""
        changed = self._changes != self._users.changes
        lasting = [one for number, one in self._open.items() if changed or number in self._seen]
        self._seen, self._changes = set(self._open), self._users.changes
        if not lasting:
            return
        good = await self._users.still_good([user for _, user in lasting])
        for request, user in lasting:
            if (user.id, user.key_id) not in good and request.transport is not None:
                request.transport.abort()


OPEN_REQUESTS: web.AppKey[OpenRequests] = web.AppKey("open_requests", OpenRequests)
