"""A training loop worth watching: a small network that learns a curve, in plain numpy.

The demo needs metrics that mean something (a loss that falls, gradients that shrink, a learning
rate that is too high) at a few dozen microseconds a step, so that logging and not the training is
what is seen. No random numbers are logged: every metric is computed from the step it belongs to.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_HIDDEN = 16
_BATCH = 32
_WARMUP = 500


def _curve(x: Array) -> Array:
    return np.sin(3 * x) + 0.3 * np.cos(9 * x)


class Regression:
    """Fit `sin(3x) + 0.3 cos(9x)` on [-1, 1] with one hidden layer and plain SGD.

    Mutable state: the weights (`w1`, `b1`: float64[16]; `w2`: float64[16, 1]; `b2`) and `steps`.
    The same `learning_rate` and `seed` give the same metrics.
    """

    def __init__(self, learning_rate: float, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._rate = learning_rate
        self._w1 = self._random.normal(0, 3, (1, _HIDDEN))
        self._b1 = self._random.normal(0, 1, _HIDDEN)
        self._w2 = self._random.normal(0, 1 / math.sqrt(_HIDDEN), (_HIDDEN, 1))
        self._b2 = np.zeros(1)
        self._held_out = np.linspace(-1, 1, _BATCH).reshape(-1, 1)
        self._targets = _curve(self._held_out)
        self.steps = 0

    def step(self) -> dict[str, float]:
        """Train on one batch and return ten metrics; costs some 50 us."""
        x = self._random.uniform(-1, 1, (_BATCH, 1))
        hidden = np.tanh(x @ self._w1 + self._b1)
        error = hidden @ self._w2 + self._b2 - _curve(x)
        grad_w2 = hidden.T @ error * (2 / _BATCH)
        back = (error @ self._w2.T) * (1 - hidden * hidden) * (2 / _BATCH)
        grad_w1 = x.T @ back
        rate = self._rate * min(1.0, (self.steps + 1) / _WARMUP)
        self._w1 -= rate * grad_w1
        self._b1 -= rate * back.sum(0)
        self._w2 -= rate * grad_w2
        self._b2 -= rate * error.mean() * 2
        self.steps += 1
        return {
            "loss/train": _mean_square(error),
            "loss/within_0.1": float((abs(error) < 0.1).mean()),
            "loss/largest_error": float(abs(error).max()),
            "loss/val": _mean_square(self.predict(self._held_out) - self._targets),
            "optimizer/grad_w1": _norm(grad_w1),
            "optimizer/grad_w2": _norm(grad_w2),
            "model/norm_w1": _norm(self._w1),
            "model/norm_w2": _norm(self._w2),
            "model/saturated": float((abs(hidden) > 0.95).mean()),
            "optimizer/learning_rate": rate,
        }

    def predict(self, x: Array) -> Array:
        """Return the network's values at `x: float64[n, 1]`."""
        values: Array = np.tanh(x @ self._w1 + self._b1) @ self._w2 + self._b2
        return values


def _mean_square(error: Array) -> float:
    return float(np.vdot(error, error)) / error.size


def _norm(values: Array) -> float:
    return math.sqrt(float(np.vdot(values, values)))


class Latencies:
    """Keep how long calls took, for percentiles; the latest million of them.

    Mutable state: a ring of nanoseconds and how many were ever added.
    """

    def __init__(self, size: int = 1_000_000) -> None:
        self._ring = np.zeros(size, dtype=np.int64)
        self._size = size
        self.count = 0

    def add(self, nanoseconds: int) -> None:
        """Remember one call."""
        self._ring[self.count % self._size] = nanoseconds
        self.count += 1

    def percentiles(self, latest: int | None = None) -> tuple[float, float]:
        """Return p50 and p99 in microseconds, of the `latest` calls or of all that are kept."""
        kept = min(self.count, self._size, latest or self._size)
        if not kept:
            return math.nan, math.nan
        at = (self.count - kept + np.arange(kept)) % self._size
        p50, p99 = np.percentile(self._ring[at], [50, 99]) / 1000
        return float(p50), float(p99)
