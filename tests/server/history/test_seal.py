"""Sealing: rows are in frames or in a segment, whatever fails and whoever seals beside us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pyarrow import parquet as arrow  # type: ignore[import-untyped]

from asyncwb.server.history.seal import SealPolicy
from asyncwb.server.history.sources import Opened
from asyncwb.server.objects import garbage_collection
from asyncwb.server.store.claims import Claim, Claims
from asyncwb.server.store.dropped import Dropped
from asyncwb.server.store.runs.segments import NewSegment, Segments
from tests.fix_server import both_databases
from tests.server.history_lab import AT_ONCE, Lab, Row, exactly, merged

pytestmark = [pytest.mark.anyio, both_databases]


def some_rows(first: int, n: int) -> list[Row]:
    return [(step, {"loss": step * 0.5, "epoch": step // 10}) for step in range(first, first + n)]


class Killed(BaseException):
    """The process is gone: not even the sealer's own `except` sees it."""


class DyingObjects:
    """An object store whose process dies before, or right after, a file is there."""

    def __init__(self, lab: Lab, method: str, *, done: bool) -> None:
        self._lab = lab
        self._method = method
        self._done = done

    def __getattr__(self, name: str) -> Any:
        real: Callable[..., Any] = getattr(self._lab.objects, name)
        if name != self._method:
            return real

        def die(*args: Any) -> None:
            if self._done:
                real(*args)
            raise Killed

        return die


class DyingStore(Segments):
    """A store whose process dies in the middle of a statement's neighbourhood."""

    dies_in = ""

    async def oldest_frames(self, *args: Any) -> Any:
        found = await super().oldest_frames(*args)
        if self.dies_in == "read":
            raise Killed
        return found

    async def _delete_frames(self, *args: Any) -> None:
        await super()._delete_frames(*args)
        if self.dies_in == "delete":
            raise Killed

    async def _insert(self, *args: Any) -> None:
        await super()._insert(*args)
        if self.dies_in == "insert":
            raise Killed

    async def replace(self, *args: Any) -> None:
        await super().replace(*args)
        if self.dies_in == "commit":
            raise Killed


class DyingClaims(Claims):
    """Claims of a process that dies before it gives one back."""

    async def release(self, claim: Claim) -> None:
        raise Killed


DEATHS = [
    "read",
    "before put",
    "after put",
    "delete",
    "insert",
    "commit",
    "release",
]


@pytest.mark.parametrize("point", DEATHS)
async def test_a_process_killed_at_any_point_leaves_each_row_once(lab: Lab, point: str) -> None:
    run, logged = await lab.run(), [*some_rows(0, 40), *some_rows(20, 40)]
    await lab.log(run, logged[:30])
    assert await lab.sealer().turn()
    await lab.log(run, logged[30:])
    await lab.set(run, state="finished")

    store, objects = DyingStore(lab.database, lab.claims), lab.objects
    store.dies_in = point
    if point == "release":
        store.claims = DyingClaims(lab.database, lambda: lab.now)
    doubles = {"before put": ("put", False), "after put": ("put", True)}
    if point in doubles:
        method, done = doubles[point]
        objects = DyingObjects(lab, method, done=done)  # type: ignore[assignment]
    with pytest.raises(Killed):
        await lab.sealer(store=store, objects=objects).turn()
    assert exactly(await lab.read(run)) == exactly(merged(logged))

    # The lease of the dead process runs out; another one goes on, and sweeps what was left.
    lab.now += 10 * AT_ONCE.lease
    other = lab.sealer()
    while await other.turn():
        pass
    assert await lab.counts(run) == (0, 1)
    assert exactly(await lab.read(run)) == exactly(merged(logged))
    lab.now = max(found.modified for found in lab.objects.list("segments")) + AT_ONCE.grace + 1
    await other.collect_orphans()
    await lab.collect()
    assert len(lab.files(run)) == 1
    assert exactly(await lab.read(run)) == exactly(merged(logged))


async def test_files_that_were_merged_away_stay_for_who_has_begun_to_read(lab: Lab) -> None:
    run, logged = await lab.run(), some_rows(0, 60)
    await lab.log(run, logged[:30])
    await lab.sealer().turn()
    (merged_away,) = lab.files(run)
    seen = await lab.sources.view(run.id)
    await lab.log(run, logged[30:])
    await lab.sealer().turn()
    assert await lab.counts(run) == (0, 1)

    lab.now += (
        garbage_collection.GRACE
    )  # not over yet; and the file itself is older than any orphan may be
    sealer = lab.sealer(replace(AT_ONCE, grace=-1e10))
    await sealer.collect_orphans()
    assert await lab.collect(grace=garbage_collection.GRACE) == 0
    assert merged_away in lab.files(run)
    with Opened(lab.sources) as opened:
        assert opened.segment(seen.segments[0]).table([0]).n == 30

    lab.now += 1
    assert await lab.collect(grace=garbage_collection.GRACE) == 1
    assert merged_away not in lab.files(run)
    assert await Dropped(lab.database).before(lab.now + 1) == []
    assert exactly(await lab.read(run)) == exactly(merged(logged))


async def test_two_processes_do_not_seal_one_run_at_a_time(lab: Lab) -> None:
    run = await lab.run()
    for n in range(12):
        await lab.log(run, some_rows(n * 10, 10))
    sealers = [lab.sealer(SealPolicy(rows=1, frames=1, turn_rows=20)) for _ in range(3)]
    async with asyncio.timeout(30):
        while (await lab.counts(run))[0]:
            await asyncio.gather(*(sealer.turn() for sealer in sealers))
    assert exactly(await lab.read(run)) == exactly(merged(some_rows(0, 120)))
    done = [sealer.statistics() for sealer in sealers]
    assert sum(each.frames for each in done) == 12
    assert sum(each.failures for each in done) == 0


async def test_a_lease_that_ran_out_changes_nothing(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, some_rows(0, 10))

    class Slow(Segments):
        async def oldest_frames(self, *args: Any) -> Any:
            lab.now += 10 * AT_ONCE.lease
            return await super().oldest_frames(*args)

    late = lab.sealer(store=Slow(lab.database, lab.claims))
    assert not await late.turn()
    assert late.statistics().conflicts == 1
    assert await lab.counts(run) == (1, 0)
    assert len(await lab.read(run)) == 10


async def test_frames_that_are_gone_are_not_sealed_twice(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, some_rows(0, 10))

    class Beaten(Segments):
        async def replace(self, *args: Any) -> None:
            *same, new = args
            assert isinstance(new, NewSegment)
            lab.objects.put(f"{new.path}.other", lab.objects.get(new.path))
            other = replace(new, path=f"{new.path}.other")  # what another process did
            await super().replace(*[*same, other])
            await super().replace(*args)

    await_conflict = lab.sealer(store=Beaten(lab.database, lab.claims))
    assert not await await_conflict.turn()
    assert await_conflict.statistics().conflicts == 1
    assert exactly(await lab.read(run)) == exactly(merged(some_rows(0, 10)))
    (path,) = lab.files(run)  # the file of the one who came too late is gone
    assert path.endswith(".other")


async def test_one_run_that_cannot_be_sealed_does_not_stop_the_others(lab: Lab) -> None:
    bad, good = await lab.run(), await lab.run()
    await lab.log(bad, some_rows(0, 50))
    await lab.log(good, some_rows(0, 10))

    class Refusing(Segments):
        async def replace(self, *args: Any) -> None:
            if args[0] == bad.id:
                raise OSError("no space left on device")
            await super().replace(*args)

    sealer = lab.sealer(store=Refusing(lab.database, lab.claims))
    assert await sealer.turn()
    assert (await lab.counts(good), await lab.counts(bad)) == ((0, 1), (1, 0))
    assert not await sealer.turn()
    assert sealer.statistics().failures == 1  # put aside for a while, not tried at every turn
    lab.now += AT_ONCE.pause + 1
    await sealer.turn()
    assert sealer.statistics().failures == 2


async def test_tails_are_left_alone_until_they_are_large_silent_or_ended(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, some_rows(0, 10))
    policy = SealPolicy(rows=100, frames=5, idle=60.0)
    sealer = lab.sealer(policy)
    assert not await sealer.turn()
    lab.now += 30
    await lab.log(run, some_rows(10, 10))
    assert not await sealer.turn()
    lab.now += 59
    assert not await sealer.turn()
    lab.now += 1
    assert await sealer.turn()  # silent for a minute
    for n in range(5):
        await lab.log(run, some_rows(20 + n, 1))
    assert await sealer.turn()  # five frames
    await lab.log(run, some_rows(25, 100))
    assert not await sealer.turn()  # rows pour in
    lab.now += 1
    assert await sealer.turn()  # a hundred rows
    await lab.log(run, some_rows(125, 400))
    assert await sealer.turn()  # however many pour in
    await lab.log(run, some_rows(525, 1))
    assert not await sealer.turn()
    await lab.set(run, state="crashed")
    assert await sealer.turn()
    assert await lab.counts(run) == (0, 1)
    assert exactly(await lab.read(run)) == exactly(merged(some_rows(0, 526)))


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
async def test_a_tail_that_a_server_of_another_clock_took_is_silent_as_long_as_any(
    lab: Lab, off: float
) -> None:
    run = await lab.run()
    sealer = lab.sealer(SealPolicy(rows=1000, idle=60.0))
    for number in range(3):
        await lab.log(run, some_rows(number, 1))
        await lab.set(run, tail_at=lab.now + off)
        assert not await sealer.turn()
        lab.now += 59
        assert not await sealer.turn()
    lab.now += 1
    assert await sealer.turn()


async def test_the_file_is_plain_parquet(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(2, {"loss": 0.5, "note": {"a": [1]}}), (1, {"loss": 1, "ok": True})], "v")
    await lab.log(run, [(2, {"loss": float("nan")})], "w")
    assert await lab.sealer().turn()
    (name,) = lab.files(run)
    table = arrow.read_table(lab.folder / name)
    assert table.column("_step").to_pylist() == [1, 2]
    assert table.column("loss").null_count == 1
    assert str(table.column("loss").to_pylist()) == "[None, nan]"
    assert table.column("loss:int").to_pylist() == [1, None]
    assert table.column("note").to_pylist() == [None, '{"a":[1]}']
    assert table.column("ok").to_pylist() == [True, None]
    assert b'"writers":["v","w"]' in table.schema.metadata[b"asyncwb"]


async def test_sweeping_spares_files_that_may_be_about_to_be_committed(lab: Lab) -> None:
    lab.objects.put("segments/1/young.parquet", b"x")
    (found,) = lab.objects.list("segments")
    sealer = lab.sealer()
    lab.now = found.modified + AT_ONCE.grace - 1
    await sealer.collect_orphans()
    assert [f.name for f in lab.objects.list("segments")] == ["segments/1/young.parquet"]
    lab.now += 2
    await sealer.collect_orphans()
    assert list(lab.objects.list("segments")) == []
    assert sealer.statistics().orphans == 1
