"""Requests that go on for long end soon after the key that let them in, or the account, has.

Who may come in is asked when a request begins; a live stream, a download or a slow upload can go
on for days after that. All that were let in stand in one set, and one statement in some seconds
asks about those that were there the last time, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from aiohttp import web

from asyncwb.server.store.people.users import User, Users

PAUSE: Final = 2.5
"""seconds between two looks; a revoked key's requests end within two of them, also those that began
when this process still remembered the key (`auth.KeyCache`): within ten seconds in all"""


class OpenRequests:
    """The requests that are being answered, with the users whom they were let in for.

    Mutable state: `_open`, by number of arrival, and `_seen`, the numbers that the last look found.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._open: dict[int, tuple[web.Request, User]] = {}
        self._seen: set[int] = set()
        self._numbers = count()

    @contextmanager
    def entered(self, request: web.Request, user: User) -> Iterator[None]:
        """Count a request as open for the length of the block."""
        number = next(self._numbers)
        self._open[number] = request, user
        try:
            yield
        finally:
            del self._open[number]

    async def end_revoked(self) -> float:
        """Cut the connections of those whose key or account is worthless by now."""
        lasting = [one for number, one in self._open.items() if number in self._seen]
        self._seen = set(self._open)
        if not lasting:
            return PAUSE
        good = await self._users.still_good([user for _, user in lasting])
        for request, user in lasting:
            if (user.id, user.key_id) not in good and request.transport is not None:
                request.transport.abort()
        return PAUSE


OPEN_REQUESTS: web.AppKey[OpenRequests] = web.AppKey("open_requests", OpenRequests)
