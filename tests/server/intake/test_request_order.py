"""Requests of one sender, over several connections: taken in the order in which they were sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.intake import request_order
from asyncwb.wire.ingest import CONTENT_TYPE, TURN_HEADER, encode_batch
from asyncwb.wire.rows.frames import encode
from tests.fix_server import ServerHandle
from tests.server.ingest_client import Client, connect, first_frame, head, rows

pytestmark = pytest.mark.anyio

FIRST = encode_batch([(head(), [first_frame(10)])])
SECOND = encode_batch([(head(), [encode(11, rows(10, 5))])])


async def post(client: Client, body: Any, turn: str) -> Any:
    headers = {"Content-Type": CONTENT_TYPE, TURN_HEADER: turn}
    async with client.session.post("/api/v1/ingest", data=body, headers=headers) as answer:
        assert answer.status == 200
        return (await answer.json())["streams"][0]


class Slowly:
    """A body of which the second half comes when it is let go, or never."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[:20]
        self.begun.set()
        await self.go.wait()
        yield self._body[20:]


@pytest.mark.parametrize("earlier", [True, False], ids=["known", "not yet known"])
async def test_a_request_waits_for_the_one_before_it(server: ServerHandle, earlier: bool) -> None:
    async with connect(server) as client:
        body = Slowly(FIRST)
        if earlier:
            first = asyncio.ensure_future(post(client, body, "sender 1 0"))
            await body.begun.wait()
            second = asyncio.ensure_future(post(client, SECOND, "sender 2 1"))
        else:
            second = asyncio.ensure_future(post(client, SECOND, "sender 2 1"))
            await asyncio.wait({second}, timeout=0.05)
            first = asyncio.ensure_future(post(client, body, "sender 1 0"))
        done, _ = await asyncio.wait({second}, timeout=0.1)
        assert not done
        body.go.set()
        assert (await first)["next"] == 11
        assert (await second)["next"] == 16


async def test_one_that_never_shows_up_is_not_waited_for_long(
    server: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_order, "_PATIENCE", 0.01)
    async with connect(server) as client:
        answer = await post(client, SECOND, "sender 2 1")
        assert answer["error"]["code"] == "run_not_found"
        assert (await post(client, FIRST, "sender 3 0"))["next"] == 11


async def test_one_that_is_cut_off_lets_the_next_one_go_on(server: ServerHandle) -> None:
    async with connect(server) as client, connect(server) as other:
        body = Slowly(FIRST)
        first = asyncio.ensure_future(post(other, body, "sender 1 0"))
        await body.begun.wait()
        second = asyncio.ensure_future(post(client, SECOND, "sender 2 1"))
        await asyncio.wait({second}, timeout=0.05)
        first.cancel()
        assert (await second)["error"]["code"] == "run_not_found"


@pytest.mark.parametrize(
    "turn",
    [
        "",
        "x",
        "sender 2",
        "sender 2 two",
        "sender 2 1 0",
        "sender \u0662 1",
        "sender 2 -1",
        "2 " * 99,
    ],
)
async def test_whoever_says_something_else_waits_for_nobody(turn: str) -> None:
    found = request_order.RequestOrder()
    with found.place(1, "sender 1 0"), found.place(1, turn) as place:
        await place.until_begun()
        await place.until_done()
        assert place.before is None


async def take_in(arrivals: list[int]) -> list[int]:
    """Let requests of one sender arrive in an order; returns the order in which they go on."""
    found, done = request_order.RequestOrder(), list[int]()

    async def request(number: int) -> None:
        with found.place(1, f"sender {number} {number - 1}") as place:
            await place.until_begun()
            place.begin()
            await place.until_done()
            done.append(number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in arrivals:
                tasks.start_soon(request, number)
                await checkpoint()
    return done


@given(arrivals=st.permutations(range(1, 7)))
def test_they_go_on_in_the_order_in_which_they_were_sent(arrivals: list[int]) -> None:
    assert anyio.run(take_in, arrivals) == sorted(arrivals)


async def test_lanes_are_each_users_own_and_do_not_pile_up() -> None:
    found = request_order.RequestOrder()
    with found.place(1, "sender 1 0") as mine, found.place(2, "sender 2 1") as theirs:
        assert theirs.before is not mine
    for number in range(5000):
        with found.place(1, f"sender{number} 2 1") as place:
            assert place.before is not None
    assert len(found._senders) <= 4096
    assert not any(sender.places for sender in found._senders.values())
