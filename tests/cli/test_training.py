"""The demo's computation: it learns, and it is the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from asyncwb.cli.training import Latencies, Regression


def test_the_network_learns() -> None:
    model = Regression(0.1, seed=1)
    losses = [model.step()["loss/val"] for _ in range(4000)]
    assert losses[-1] < 0.1 * losses[0]


def test_ten_numbers_and_the_same_ones_every_time() -> None:
    one, two = Regression(0.1, seed=1), Regression(0.1, seed=1)
    for _ in range(20):
        metrics = one.step()
        assert metrics == two.step()
        assert len(metrics) == 10
        assert all(type(value) is float for value in metrics.values())


def test_latencies_keep_the_latest() -> None:
    latencies = Latencies(size=100)
    assert all(map(np.isnan, latencies.percentiles()))
    for number in range(1, 251):
        latencies.add(number * 1000)
    assert latencies.count == 250
    assert latencies.percentiles() == pytest.approx((200.5, 249.01))
    assert latencies.percentiles(latest=10) == pytest.approx((245.5, 249.91))
