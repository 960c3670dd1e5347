"""Whoever watches a run learns of every change, and the run is read once for all of them."""

from __future__ import annotations

import anyio
import pytest

from asyncwb.server.live import feed
from asyncwb.server.live.feed import Hub, Snapshot, Watched, wait_for

pytestmark = pytest.mark.anyio


class Run:
    """A run that is read; `version` is what the next reading finds, None: it is gone."""

    def __init__(self) -> None:
        self.version: int | None = 1
        self.readings = 0
        self.begun, self.may_end = anyio.Event(), anyio.Event()
        self.may_end.set()

    async def read(self, before: Snapshot | None) -> Snapshot | None:
        self.readings += 1
        version = self.version
        self.begun.set()
        await self.may_end.wait()
        since = None if before is None else before.version
        return None if version is None else Snapshot(version, {}, {}, since, b"")


def version(watched: Watched) -> int | None:
    return None if watched.latest is None else watched.latest.version


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be read again with no pause."""
    monkeypatch.setattr(feed, "MIN_INTERVAL", 0.0)
    monkeypatch.setattr(feed, "_SHARE", 0)


async def test_a_run_is_read_once_for_all_and_again_when_it_has_changed() -> None:
    run, watched = Run(), Watched()
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(watched.look, run.read)
    assert (run.readings, version(watched)) == (1, 1)
    watched.publish()
    run.version = 2
    await watched.look(run.read)
    await watched.look(run.read)
    assert (run.readings, version(watched)) == (2, 2)
    watched.publish()
    run.version = None
    await watched.look(run.read)
    assert version(watched) is None


async def test_a_change_during_a_reading_is_read_by_the_next() -> None:
    run, watched = Run(), Watched()
    run.may_end = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.look, run.read)
        await run.begun.wait()
        run.version = 2
        watched.publish()
        run.may_end.set()
    assert version(watched) == 1
    await watched.look(run.read)
    assert (run.readings, version(watched)) == (2, 2)


async def test_one_that_gives_up_reading_leaves_it_to_the_next() -> None:
    run, watched = Run(), Watched()
    run.may_end = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.look, run.read)
        await run.begun.wait()
        tasks.cancel_scope.cancel()
    run.may_end.set()
    await watched.look(run.read)
    assert (run.readings, version(watched)) == (2, 1)


async def test_those_are_woken_who_watch_the_run() -> None:
    hub = Hub()
    with (
        hub.watch(1, summary=False) as (_, short),
        hub.watch(1, summary=True) as (_, long),
        hub.watch(2, summary=True) as (other, not_it),
    ):
        assert (hub.watching, sorted(hub.runs)) == (3, [1, 2])
        hub.publish([1, 7])
        assert (short.is_set(), long.is_set(), not_it.is_set()) == (True, True, False)
        other.latest = Snapshot(3, {}, {}, None, b"")
        hub.compare({2: 3})
        assert not not_it.is_set()
        hub.compare({})  # it is gone
        assert not_it.is_set()
    assert (hub.watching, hub.runs) == (0, [])


async def test_a_hub_that_closes_wakes_all_and_whoever_comes_then() -> None:
    hub = Hub()
    with hub.watch(1, summary=True) as (_, changed):
        hub.close()
        assert hub.closed
        assert changed.is_set()
        with hub.watch(1, summary=True) as (_, late):
            assert late.is_set()


async def test_waiting_for_a_change_has_an_end() -> None:
    with Hub().watch(1, summary=True) as (watched, changed):
        assert await wait_for(changed, 0.0) is False
        watched.publish()
        assert await wait_for(changed, 0.0) is True
