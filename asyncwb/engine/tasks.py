"""The tasks of the engine's loop: in one anyio task group, each with a way to end it.

A task that fails takes no other one with it. One that is meant to go on for as long as there is
something to do is started again, after a pause.

SystemExit and KeyboardInterrupt are failures like any other here: a logging handler of the program
may raise them, and there is nothing on this thread that they could end but the sending of all runs.
What leaves a task of asyncio as one of these goes through its loop, so they are caught inside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncwb.tasks import raise_unless_failed

_PAUSE: Final = 1.0
"""seconds after which a task that failed is started again"""


class Task:
    """A task that was started. Mutable state: `over`, set once it has ended, however it did."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self._scope = anyio.CancelScope()

    def cancel(self) -> None:
        """Have it end; it may take a while to clear up."""
        self._scope.cancel()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Be this task; to be called once."""
        try:
            with self._scope:
                await work()
        finally:
            self.over.set()


class Tasks:
    """Starts tasks in a task group, which must outlive this."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group

    def start(
        self, work: Callable[[], Awaitable[None]], failed: Callable[[BaseException], None]
    ) -> Task:
        """Run `work` until it ends by itself; whenever it fails, say so and run it once more."""

        async def supervised() -> None:
            while True:
                try:
                    await work()
                except BaseException as error:  # it must not take the tasks of other runs along
                    raise_unless_failed(error)
                    failed(error)
                    await anyio.sleep(_PAUSE)
                else:
                    return

        task = Task()
        self._group.start_soon(task.run, supervised)
        return task


async def any_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of several has happened; the others are cancelled."""

    async def one(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for wait in waits:
            group.start_soon(one, wait)
