"""Whether anybody still uses this server: what an embedded one goes by to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler


class Activity:
    """Requests in progress, and when the last one ended. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._in_progress = 0
        self._last = clock()

    def idle_seconds(self) -> float:
        """Return for how long there has been no request; 0 while one is in progress."""
        return 0.0 if self._in_progress else self._clock() - self._last

    def touch(self) -> None:
        """Count as used now, for what is no request (a run that is still running)."""
        self._last = self._clock()

    def begin(self) -> None:
        """A request came."""
        self._in_progress += 1

    def end(self) -> None:
        """A request ended."""
        self._in_progress -= 1
        self._last = self._clock()


ACTIVITY: web.AppKey[Activity] = web.AppKey("activity", Activity)


@web.middleware
async def activity_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note that the server is in use; a live page counts as long as it is open."""
    activity = request.app[ACTIVITY]
    activity.begin()
    try:
        return await handler(request)
    finally:
        activity.end()
