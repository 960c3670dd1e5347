"""Some at once, some waiting in the order in which they came, and the rest come back."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.process.admission_queue import AdmissionQueue, QueueFullError

AT_ONCE, WAITING = 2, 3
COME = -1


class Guest:
    """Somebody who comes for a turn; `scope` ends it, be it in the queue or in its turn."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.state = "new"

    async def come(self, queue: AdmissionQueue) -> None:
        self.state = "waiting"
        try:
            with self.scope:
                async with queue.turn():
                    self.state = "inside"
                    await anyio.sleep_forever()
        except QueueFullError:
            self.state = "refused"
        else:
            self.state = "gone"


async def settle() -> None:
    for _ in range(5):
        await checkpoint()


async def play(moves: list[int]) -> None:
    """Let guests come and go, and compare them with a plain list of those who were let in."""
    queue, here = AdmissionQueue(AT_ONCE, WAITING), list[Guest]()
    async with anyio.create_task_group() as tasks:
        for move in moves:
            if move == COME:
                guest, full = Guest(), len(here) >= AT_ONCE + WAITING
                tasks.start_soon(guest.come, queue)
                await settle()
                assert (guest.state == "refused") is full
                if not full:
                    here.append(guest)
            elif here:
                gone = here.pop(move % len(here))
                gone.scope.cancel()
                await settle()
                assert gone.state == "gone"
            states = [guest.state for guest in here]
            inside = min(AT_ONCE, len(here))
            assert states == ["inside"] * inside + ["waiting"] * (len(here) - inside)
        tasks.cancel_scope.cancel()


@given(moves=st.lists(st.integers(min_value=COME, max_value=9), max_size=30))
def test_turns_are_given_in_order_and_none_is_lost(moves: list[int]) -> None:
    anyio.run(play, moves)


@pytest.mark.anyio
async def test_whoever_comes_to_a_free_place_does_not_wait_for_the_loop() -> None:
    queue, turns = AdmissionQueue(), list[str]()

    async def beside() -> None:
        turns.append("of the loop")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beside)
        async with queue.turn():
            turns.append("of the queue")
    assert turns == ["of the queue", "of the loop"]
