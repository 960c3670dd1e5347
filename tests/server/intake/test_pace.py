"""Clients are asked to gather while the server is busy, and left alone when it is not."""

from __future__ import annotations

import pytest

from asyncwb.server.intake.pace import MOST, Pace


class Machine:
    """A server whose clients do as they are asked: what it uses is in proportion to how often."""

    def __init__(self, cost: float, own: float = 0.25) -> None:
        self.now = self.cpu = 0.0
        self.cost, self.own = cost, own
        self.pace = Pace(lambda: self.now, lambda: self.cpu)

    def second(self) -> float:
        """Let a second pass; return what is asked for after it."""
        self.cpu += min(2.0, self.cost / max(self.own, self.pace.gather()))
        self.now += 1.0
        return self.pace.gather()

    def settle(self) -> set[float]:
        """Return what is asked for in the seconds after it has had time to settle."""
        for _ in range(20):
            self.second()
        return {round(self.second(), 6) for _ in range(10)}


def test_an_idle_server_asks_for_nothing() -> None:
    assert Machine(0.0).settle() == {0.0}
    assert Machine(0.03).settle() == {0.0}  # an eighth of a core


def test_a_crowd_gathers_for_as_long_as_is_needed_and_no_longer() -> None:
    found = Machine(0.2).settle()  # most of a core, if they sent four times a second
    assert len(found) == 1, "it does not swing"
    assert 0.25 < max(found) < 0.7
    assert Machine(10.0).settle() == {MOST}


@pytest.mark.parametrize("asked", [0.15, 0.5])
def test_it_is_asked_for_no_more_once_the_crowd_has_gone(asked: float) -> None:
    machine = Machine(asked)
    machine.settle()
    machine.cost = 0.0
    assert machine.settle() == {0.0}


def test_it_is_decided_once_in_a_second() -> None:
    machine = Machine(1.0)
    machine.cpu, machine.now = 2.0, 0.9
    assert machine.pace.gather() == 0.0
    machine.now = 1.0
    first = machine.pace.gather()
    machine.cpu = 20.0
    assert machine.pace.gather() == first > 0.0
