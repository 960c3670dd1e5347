"""Work in the background: endless tasks that nothing ends, and that end between two turns.

An endless task is a turn that is done again and again, in the one task group that lives as long as
the server. Whatever a turn raises, the next one comes after a pause: it is counted, logged, and
told in `/metrics` and `/ready` until a turn succeeds, or says that it does (`Tasks.well`).

A task that is cancelled in the middle of a statement can wait for its connection for ever, and a
server that waits for such a task never stops. So turns guard their statements with `shielded`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, TypeVar

import anyio
from aiohttp import web
from anyio import lowlevel
from anyio.abc import TaskGroup

from asyncwb.server.process.metrics import Metrics
from asyncwb.server.store.database import DatabaseError

log = logging.getLogger("asyncwb.server")

T = TypeVar("T")
Turn: TypeAlias = Callable[[], Awaitable[float]]
"""does a part of the work; returns for how many seconds there is nothing more to do"""

PAUSE: Final = 5.0
"""seconds after which a task that failed is tried again"""


class Tasks:
    """The endless tasks of one server. Mutable state: `_failing`, and `_group` while it is open.

    Args:
        metrics: where failures are counted.
        pause: seconds before a task that failed goes on.
    """

    def __init__(self, metrics: Metrics, pause: float = PAUSE) -> None:
        self._metrics = metrics
        self._pause = pause
        self._failing: set[str] = set()
        self._group: TaskGroup | None = None

    @property
    def failing(self) -> list[str]:
        """The names of those whose last turn failed."""
        return sorted(self._failing)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Let tasks be kept for the length of the block."""
        async with anyio.create_task_group() as self._group:
            yield

    @asynccontextmanager
    async def keep(self, name: str, turn: Turn, *, after: float = 0.0) -> AsyncIterator[None]:
        """Do turns for the length of the block, the first one after some seconds.

        At its end the turn under way ends first, as far as it is guarded with `shielded`.

        Args:
            name: what the task is called in the log, the metrics and `/ready`.
            turn: is called again and again, whatever it raises.
            after: seconds.
        """
        assert self._group is not None, "the tasks are not open"
        self._tell(name, failed=False)
        scope, ended = anyio.CancelScope(), anyio.Event()

        async def forever() -> None:
            try:
                with scope:
                    pause = after
                    while True:
                        await anyio.sleep(pause)
                        pause = await self._once(name, turn)
            finally:
                ended.set()

        self._group.start_soon(forever, name=name)
        try:
            yield
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()

    def well(self, name: str) -> None:
        """Say of a task that failed, and whose turn goes on for long, that it fails no more."""
        self._tell(name, failed=False)

    async def _once(self, name: str, turn: Turn) -> float:
        try:
            pause = await turn()
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self._failed(name, error)  # something inside was, which is no end of ours
        except Exception as error:
            self._failed(name, error)
        except BaseExceptionGroup as error:
            if error.subgroup((SystemExit, KeyboardInterrupt)) is not None:
                raise
            self._failed(name, error)
        else:
            self._tell(name, failed=False)
            return pause
        return self._pause

    def _failed(self, name: str, error: BaseException) -> None:
        self._tell(name, failed=True)
        self._metrics.add("asyncwb_task_failures_total", task=name)
        if isinstance(error, DatabaseError):
            # Not the whole of it: its text has the statement's parameters in it.
            log.error("%s failed, and is tried again: %s", name, error.orig)
        else:
            log.error("%s failed, and is tried again", name, exc_info=error)

    def _tell(self, name: str, *, failed: bool) -> None:
        (self._failing.add if failed else self._failing.discard)(name)
        self._metrics.set("asyncwb_task_failing", int(failed), task=name)


TASKS: web.AppKey[Tasks] = web.AppKey("tasks", Tasks)


async def shielded(turn: Awaitable[T]) -> T:
    """Await a turn to its end also where the task is cancelled; that is raised afterwards."""
    with anyio.CancelScope(shield=True):
        done = await turn
    await lowlevel.checkpoint_if_cancelled()
    return done


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
