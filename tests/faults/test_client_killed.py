"""SIGKILL of the training process: what `log()` had returned for is on the server after a sync."""

from __future__ import annotations

import random

import pytest

from tests.faults import oracle
from tests.fix_faults import Lab, Tally, Target, seeds
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)

AT_ONCE = 3
"""processes that are killed in one round, and then synced together."""


def kill_round(lab: Lab, server: ServerHandle, mode: str, pace: float, rows: list[int]) -> int:
    """Kill one trainee after each number of rows, sync, and check all; returns rows read back."""
    target = Target(server.url, server.api_key)
    running = [lab.train(target, f"run{n}", mode=mode, pace=pace) for n in range(len(rows))]
    for trainee, count in zip(running, rows, strict=True):
        trainee.wait_rows(count)
        trainee.kill()
    lab.sync_all(target)
    lab.sync_all(target)  # again and again changes nothing
    return sum(
        oracle.expect_run(target, trainee.plan.run, trainee.returned()) for trainee in running
    )


@pytest.mark.parametrize("mode", ["online", "offline"])
@seeds(2)
def test_a_burst_at_full_speed(
    lab: Lab, server: ServerHandle, mode: str, seed: int, tally: Tally
) -> None:
    chance = random.Random(seed)
    # From the first rows, before the engine has its modules, to well into several segments.
    moments = sorted(int(10 ** chance.uniform(0, 5.5)) for _ in range(AT_ONCE))
    rows = kill_round(lab, server, mode, 0.0, moments)
    tally(client_kills=AT_ONCE, rows=rows)


@pytest.mark.parametrize("mode", ["online", "offline"])
@seeds(1)
def test_a_training_loops_pace(
    lab: Lab, server: ServerHandle, mode: str, seed: int, tally: Tally
) -> None:
    chance = random.Random(seed)
    moments = sorted(chance.randrange(1, 500) for _ in range(AT_ONCE))
    rows = kill_round(lab, server, mode, 0.002, moments)
    tally(client_kills=AT_ONCE, rows=rows)
