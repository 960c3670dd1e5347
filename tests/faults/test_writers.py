"""Several writers of one run: two processes, and forked children that go on logging."""

from __future__ import annotations

import random

import pytest

from tests.faults import oracle
from tests.fix_faults import Lab, Tally, Target, Trainee, seeds
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)


def expect_writers(target: Target, keys: dict[str, int]) -> int:
    """Check each writer's rows, and that the server counts them all; returns how many."""
    rows = sum(oracle.expect_all(target, "run", count, key) for key, count in keys.items())
    about = oracle.info(target, "run")
    assert (about["rows"], about["lost"]) == (rows, 0)
    return rows


@pytest.mark.parametrize("mode", ["online", "offline"])
@seeds(1)
def test_two_processes_write_to_one_run_and_one_is_killed(
    lab: Lab, server: ServerHandle, mode: str, seed: int, tally: Tally
) -> None:
    chance, target = random.Random(seed), Target(server.url, server.api_key)
    survivor = lab.train(target, "run", mode=mode, key="a", rows=3_000, pace=0.0002)
    victim = lab.train(target, "run", mode=mode, key="b", slot=1)
    victim.wait_rows(chance.randrange(1, 30_000), slot=1)
    victim.kill()
    survivor.end()
    lab.sync_all(target)
    rows = expect_writers(target, {"a": 3_000, "b": victim.returned(1)})
    tally(client_kills=1, rows=rows)


def _counts(trainee: Trainee, forks: int) -> dict[str, int]:
    names = ["a", *(f"a{n}" for n in range(1, forks + 1))]
    return {name: trainee.returned(slot) for slot, name in enumerate(names)}


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_forked_children_log_beside_their_parent(
    lab: Lab, server: ServerHandle, mode: str, tally: Tally
) -> None:
    target = Target(server.url, server.api_key)
    trainee = lab.train(target, "run", mode=mode, forks=2, rows=1_500, pace=0.0002)
    trainee.end()
    assert trainee.heard()["accepted"] == 1_500
    lab.sync_all(target)  # the children left without a word
    counts = _counts(trainee, 2)
    assert list(counts.values()) == [1_500] * 3
    tally(forks=2, rows=expect_writers(target, counts))


@seeds(1)
def test_a_forked_family_is_killed(lab: Lab, server: ServerHandle, seed: int, tally: Tally) -> None:
    chance, target = random.Random(seed), Target(server.url, server.api_key)
    trainee = lab.train(target, "run", forks=2, pace=0.0002)
    for slot in range(3):
        trainee.wait_rows(chance.randrange(1, 1_500), slot)
    trainee.kill()
    lab.sync_all(target)
    lab.sync_all(target)
    rows = expect_writers(target, _counts(trainee, 2))
    tally(client_kills=3, forks=2, rows=rows)
