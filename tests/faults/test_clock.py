"""Clocks that jump by a day while a run logs: rows keep their order and none is lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.faults import oracle
from tests.fix_clock import DAY, JumpingClock
from tests.fix_faults import Lab, Tally, Target, seeds
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("mode", ["online", "offline"])
@seeds(1)
def test_the_trainees_clock_jumps(
    lab: Lab, server: ServerHandle, mode: str, seed: int, tally: Tally
) -> None:
    target = Target(server.url, server.api_key)
    lab.train(target, "run", mode=mode, rows=1_000, pace=0.0005, clock=seed).end()
    lab.sync_all(target)
    rows = oracle.expect_run(target, "run", 1_000)
    table = oracle.history(target, "run")
    np.testing.assert_array_equal(table.steps, np.arange(1_000))
    jumps = int(np.sum(np.abs(np.diff(table.times)) > DAY / 2))
    assert jumps > 5, "the clock did not jump"
    assert oracle.info(target, "run")["state"] == "finished"
    tally(clock_jumps=jumps, rows=rows)


@seeds(1)
def test_the_servers_clock_jumps(
    lab: Lab, start_server: Callable[..., ServerHandle], seed: int, tally: Tally
) -> None:
    clock = JumpingClock(seed, every=2)
    server = start_server(clock=clock)
    target = Target(server.url, server.api_key)
    lab.train(target, "run", rows=2_000, pace=0.0005).end()
    rows = oracle.expect_run(target, "run", 2_000)
    assert clock.jumps > 5
    assert oracle.info(target, "run")["state"] == "finished"
    tally(clock_jumps=clock.jumps, rows=rows)


def test_a_jumping_clock_jumps_by_days_and_as_its_seed_says() -> None:
    clock, again = (JumpingClock(1, every=3, real=lambda: 1_700_000_000.0) for _ in range(2))
    offsets = [(clock() - 1_700_000_000.0) / DAY for _ in range(100)]
    assert set(offsets) == {-1.0, 0.0, 1.0}
    assert offsets == [(again() - 1_700_000_000.0) / DAY for _ in range(100)]
