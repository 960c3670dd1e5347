"""A network that fails: rows arrive once, whatever was cut, late, lost, or refused for now."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults import oracle
from tests.fix_faults import (
    DROP,
    PASS,
    Answer,
    HttpFront,
    Lab,
    Line,
    Network,
    Tally,
    Target,
    TcpProxy,
    seeds,
)
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def target(server: ServerHandle) -> Target:
    """The server itself, without anything in between."""
    return Target(server.url, server.api_key)


def through(target: Target, network: Network, proxy: TcpProxy | HttpFront) -> Target:
    """The same server behind a proxy."""
    return Target(network.listen(proxy).url, target.key)


@seeds(2)
def test_connections_are_cut_after_some_bytes(
    lab: Lab, network: Network, target: Target, seed: int, tally: Tally
) -> None:
    chance = random.Random(seed)

    def line(number: int) -> Line:
        # In the head, in the body, in the middle of later requests; then one that holds.
        return Line() if number >= 4 else Line(cut_after=int(10 ** chance.uniform(0, 4)))

    proxy = TcpProxy(target, line)
    trainee = lab.train(through(target, network, proxy), "run", rows=5_000, pace=0.0002)
    trainee.end()
    rows = oracle.expect_run(target, "run", 5_000)
    assert proxy.cuts == 4
    tally(connections_cut=proxy.cuts, rows=rows)


def test_every_piece_is_late(lab: Lab, network: Network, target: Target, tally: Tally) -> None:
    proxy = TcpProxy(target, lambda number: Line(delay=0.05))
    lab.train(through(target, network, proxy), "run", rows=2_000).end()
    tally(rows=oracle.expect_run(target, "run", 2_000))


def test_the_answer_is_lost_so_that_every_request_is_sent_twice(
    lab: Lab, network: Network, target: Target, tally: Tally
) -> None:
    front = HttpFront(target, lambda number: DROP if number % 2 == 0 else PASS)
    trainee = lab.train(through(target, network, front), "run", rows=4_000, pace=0.0002)
    trainee.end()
    rows = oracle.expect_run(target, "run", 4_000)
    assert front.dropped >= 3
    assert front.requests - front.dropped <= front.dropped + 1
    tally(answers_lost=front.dropped, rows=rows)


def test_a_connection_that_is_half_open(
    lab: Lab, network: Network, target: Target, tally: Tally
) -> None:
    proxy = TcpProxy(target, lambda number: Line(dead=number < 2))
    started = time.monotonic()
    patience = {"http_timeout": 1.0}
    lab.train(through(target, network, proxy), "run", rows=500, settings=patience).end()
    assert time.monotonic() - started < 20.0
    assert proxy.connections >= 3
    tally(connections_half_open=2, rows=oracle.expect_run(target, "run", 500))


def test_finish_ends_by_its_deadline_before_a_server_that_never_answers(
    lab: Lab, network: Network, target: Target, tally: Tally
) -> None:
    proxy = TcpProxy(target, lambda number: Line(dead=True))
    patience = {"finish_timeout": 0.5}
    trainee = lab.train(through(target, network, proxy), "run", rows=500, settings=patience)
    assert trainee.heard()["acknowledged"] == 0
    trainee.end(25.0)
    assert "asyncwb sync" in trainee.stderr()
    lab.sync_all(target)
    tally(connections_half_open=1, rows=oracle.expect_run(target, "run", 500))


def test_busy_answers_are_waited_out(
    lab: Lab, network: Network, target: Target, tally: Tally
) -> None:
    moments: list[float] = []
    first = [Answer(429, (("Retry-After", "1"),)), Answer(503), Answer(503), Answer(502)]

    def plan(number: int) -> str | Answer:
        moments.append(time.monotonic())
        return first[number] if number < len(first) else PASS

    front = HttpFront(target, plan)
    lab.train(through(target, network, front), "run", rows=2_000).end()
    assert moments[1] - moments[0] >= 1.0, "Retry-After was not honoured"
    assert front.refused == len(first)
    tally(busy_answers=front.refused, rows=oracle.expect_run(target, "run", 2_000))


@seeds(1)
def test_sync_through_a_bad_network(
    lab: Lab, network: Network, target: Target, seed: int, tally: Tally
) -> None:
    chance = random.Random(seed)
    lab.train(target, "run", mode="offline", rows=20_000).end()
    plans: list[str | Answer] = [
        DROP,
        Answer(503),
        PASS,
        DROP,
        Answer(429, (("Retry-After", "0"),)),
    ]
    chance.shuffle(plans)
    front = HttpFront(target, lambda number: plans[number] if number < len(plans) else PASS)
    lab.sync_all(through(target, network, front))
    rows = oracle.expect_run(target, "run", 20_000)
    tally(answers_lost=front.dropped, busy_answers=front.refused, rows=rows)
