"""Rows to log, computed before any clock starts: stochastic gradient descent on a noisy quadratic.

Each metric is one parameter's loss on its way down, so that values have the statistics of a
training curve (correlated, noisy, no round numbers), which is what a compressor meets in life.
"""

from __future__ import annotations

import numpy as np

from bench.case import Size
from bench.rivals.base import Row, Value

#: Rows are drawn from a pool that a case walks round; past these many values it stops growing.
POOL_ROWS = 20_000
POOL_VALUES = 2_000_000


def keys(metrics: int) -> tuple[str, ...]:
    """Return the names of `metrics` metrics: `train/metric_0` and on."""
    return tuple(f"train/metric_{i}" for i in range(metrics))


def training_rows(metrics: int, rows: int, seed: int) -> list[Row]:
    """Return up to `rows` rows of `metrics` floats (fewer where the pool is full: go round)."""
    count = max(1, min(rows, POOL_ROWS, POOL_VALUES // metrics))
    names = keys(metrics)
    return [dict(zip(names, losses, strict=True)) for losses in descend(metrics, count, seed)]


def mixed_rows(rows: int, seed: int) -> list[Row]:
    """Return up to `rows` rows of ten values: six floats, two ints, a bool and a string."""
    count = max(1, min(rows, POOL_ROWS))
    names = keys(6)
    mixed: list[Row] = []
    for i, losses in enumerate(descend(6, count, seed)):
        row: dict[str, Value] = dict(zip(names, losses, strict=True))
        row |= {"epoch": i // 100, "tokens": i * 4096, "clipped": losses[0] > 1.0}
        row["phase"] = "warmup" if i < count // 10 else "train"
        mixed.append(row)
    return mixed


def descend(metrics: int, rows: int, seed: int) -> list[list[float]]:
    """Return float64[rows][metrics]: the losses of `metrics` parameters under noisy descent."""
    rng = np.random.default_rng(seed)
    curvature = rng.uniform(0.1, 2.0, metrics)
    weight = rng.normal(0.0, 3.0, metrics)
    losses = np.empty((rows, metrics))
    for i in range(rows):
        gradient = curvature * weight + rng.normal(0.0, 0.3, metrics)
        weight = weight - 0.01 * gradient
        losses[i] = 0.5 * curvature * weight * weight + rng.exponential(0.01, metrics)
    return [list(map(float, row)) for row in losses]


def rows_for(size: Size, seed: int) -> list[Row]:
    """Return the pool of rows that a size of a case logs."""
    if size.mixed:
        return mixed_rows(size.rows, seed)
    return training_rows(size.metrics, size.rows, seed)
