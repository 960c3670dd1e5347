"""Tasks of the engine's loop fail, end and are cancelled each by itself."""

from __future__ import annotations

import anyio
import pytest

from asyncwb.engine import tasks
from asyncwb.engine.tasks import Tasks, any_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
async def test_a_task_that_fails_is_said_and_started_again_and_no_other_one_ends(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    monkeypatch.setattr(tasks, "_PAUSE", 0.0)
    begun = 0
    said: list[BaseException] = []

    async def fails_twice() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise kind(begun)

    async with anyio.create_task_group() as group:
        background = Tasks(group)
        other = background.start(anyio.sleep_forever, said.append)
        task = background.start(fails_twice, said.append)
        await task.over.wait()
        assert begun == 3
        assert [error.args for error in said] == [(1,), (2,)]
        assert not other.over.is_set()
        other.cancel()
    assert other.over.is_set()


async def test_a_cancelled_task_is_over_once_it_has_cleared_up() -> None:
    may_end, cleared = anyio.Event(), []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await may_end.wait()
            cleared.append(True)

    async with anyio.create_task_group() as group:
        task = Tasks(group).start(work, lambda error: None)
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        assert not task.over.is_set()
        may_end.set()
        await task.over.wait()
        assert cleared == [True]


async def test_any_of_ends_with_the_first_and_cancels_the_others() -> None:
    first = anyio.Event()
    cancelled = []

    async def never() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(any_of, never, first.wait)
        await anyio.wait_all_tasks_blocked()
        assert not cancelled
        first.set()
    assert cancelled == [True]
