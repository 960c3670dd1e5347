"""The engine's loop does what is submitted, in that order, and answers each command once."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.engine.session import Session, Work
from asyncwb.engine.upkeep import Upkeep
from asyncwb.engine.uplink.embedded import Address
from asyncwb.errors import EngineStopped
from asyncwb.settings import Settings
from tests.engine.worker_lab import Done, Once, a_session, answered, finished, working
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect

pytestmark = pytest.mark.anyio


class Broken(BaseException):
    """What no task of the program raises."""


@given(
    st.lists(
        st.sampled_from(["ends", "waits", "fails", "breaks", "is cancelled", "hangs", "clears"]),
        max_size=20,
    )
)
def test_each_command_is_begun_in_order_and_answered_once(kinds: list[str]) -> None:
    begun: list[int] = []

    def command(number: int, kind: str) -> Work[int]:
        async def work(_: object) -> int:
            begun.append(number)
            if kind == "fails":
                raise ValueError(number)
            if kind == "breaks":
                raise Broken(number)
            if kind == "waits":
                await anyio.lowlevel.checkpoint()
            if kind == "hangs":
                await anyio.sleep_forever()
            if kind == "clears":
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.lowlevel.checkpoint()
            return number

        return work

    async def main() -> list[tuple[str, Done]]:
        made = []
        async with working() as desk:
            for number, kind in enumerate(kinds):
                made.append((kind, desk.submit(command(number, kind))))
                if kind == "is cancelled":
                    assert made[-1][1].cancel()
            for kind, future in made:
                if kind in ("ends", "waits"):
                    await answered(future)
            await anyio.wait_all_tasks_blocked()
        assert not desk.waiting
        return made

    made = asyncio.run(main())
    assert begun == [n for n, kind in enumerate(kinds) if kind != "is cancelled"]
    for number, (kind, future) in enumerate(made):
        assert isinstance(future, Once)
        assert future.answers == 1
        match kind:
            case "ends" | "waits":
                assert future.result(0) == number
            case "fails" | "breaks":
                error = future.exception(0)
                assert isinstance(error, ValueError | Broken)
                assert error.args == (number,)
            case "is cancelled":
                with pytest.raises(CancelledError):
                    future.result(0)
            case _:
                assert isinstance(future.exception(0), EngineStopped)


async def test_what_is_submitted_by_a_command_is_done_too() -> None:
    async with working() as desk:

        async def inner(_: object) -> str:
            return "inner"

        async def outer(_: object) -> object:
            return await answered(desk.submit(inner))

        assert await answered(desk.submit(outer)) == "inner"


async def test_runs_share_an_uplink_and_end_each_by_itself(
    server: ServerHandle, tmp_path: Path
) -> None:
    async with working() as desk:
        runs = [a_session(tmp_path, desk, f"r{n}", server=server) for n in range(3)]
        for n, session in enumerate(runs):
            for i in range(10 + n):
                session.log({"i": i})
        assert await finished(runs[1])
        worker = desk.worker
        assert [*worker.sessions] == [runs[0], runs[2]]
        (uplink,) = worker._uplinks.values()
        assert len(uplink.outboxes) == 2
        for session in (runs[0], runs[2]):
            assert await answered(session.flush(durable=False, timeout=60))
            assert await finished(session)
        assert not worker.sessions
        assert not uplink.outboxes
    async with connect(server) as client:
        for n in range(3):
            info = await client.run(f"r{n}")
            assert (info["rows"], info["state"]) == (10 + n, "finished")


async def test_a_journal_that_cannot_be_cared_for_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looked = Upkeep.look, anyio.Event()

    def fail(upkeep: Upkeep, session: Session) -> None:
        if session.head.run == "bad":
            raise RuntimeError("care")
        look(upkeep, session)
        looked.set()

    monkeypatch.setattr(Upkeep, "look", fail)
    async with working() as desk:
        bad, good = (a_session(tmp_path, desk, run) for run in ("bad", "good"))
        with anyio.fail_after(60):
            await looked.wait()
        for session in (bad, good):
            session.log({"i": 1})
            assert await finished(session)


async def test_who_waits_for_room_is_answered_when_it_ends(tmp_path: Path) -> None:
    async with working() as desk:
        session = a_session(
            tmp_path, desk, journal_max_bytes=2**16, overflow_timeout=60.0, flush_interval=60.0
        )
        while session.inbox.log({"i": 1, "x": "x" * 500}):
            pass
        waits = session.log_when_room({"i": 2}, None, None)
        assert await answered(waits) is None, "the sealer is hurried"
        assert session.status().lost == 0
        assert await finished(session)
        late = session.log_when_room({"i": 3}, None, None)
        with pytest.raises(Exception, match="the run has finished"):
            await answered(late)


async def test_a_session_that_has_finished_is_asked_in_vain_and_at_once(
    server: ServerHandle, tmp_path: Path
) -> None:
    async with working() as desk:
        session = a_session(tmp_path, desk, server=server)
        session.log({"i": 1})
        assert await finished(session)
        assert await answered(session.flush(durable=False, timeout=0.0))
        assert await answered(session.flush(durable=True, timeout=0.0))
        await answered(desk.submit(lambda worker: worker.upload(session)))
        assert not desk.worker._uploads


async def test_an_end_that_is_not_waited_for_leaves_all_on_the_disk(tmp_path: Path) -> None:
    async with working() as desk:
        session = a_session(
            tmp_path, desk, mode="online", base_url="http://127.0.0.1:9", api_key="k"
        )
        for i in range(100):
            session.log({"i": i})
        assert not await answered(session.flush(durable=False, timeout=0.0))
        assert not await finished(session, 0.0)
        status = session.status()
        assert (status.accepted, status.journaled, status.acknowledged) == (100, 100, 0)
        assert [*session.folder.journal.iterdir()]
        assert session.folder.lock(), "it is let go of"
        session.folder.unlock()


async def test_connections_are_closed_with_it(server: ServerHandle) -> None:
    async with working() as desk:
        http, quick = desk.worker.http, desk.worker.connections(1.0)
        assert desk.worker.http is http is not quick
        for each in (http, quick):
            assert (await each.request("GET", f"{server.url}/ready")).status == 200
        pools = [pool for each in (http, quick) for pool in each._pools.values()]
    assert len(pools) == 2
    assert all(pool.closed for pool in pools)


async def test_an_address_that_is_given_is_taken(tmp_path: Path) -> None:
    async with working() as desk:
        settings = Settings(data_dir=tmp_path, base_url="http://h", api_key="k")
        found = await answered(desk.submit(lambda worker: worker.address(settings)))
    assert found == Address("http://h", "k")
