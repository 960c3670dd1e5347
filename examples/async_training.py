"""Train several small classifiers at once, each in its own async loop with its own run.

    python examples/async_training.py

A real, if small, model: softmax regression by stochastic gradient descent in numpy, on three
overlapping clouds of points. Evaluation runs beside the training and reports late, for the step at
which it was asked; its value joins that step's row.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

import asyncwb

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
STEPS = 300


def clouds(rng: np.random.Generator, per_class: int) -> tuple[Floats, Labels]:
    """Draw points of three classes: float64[n, 3] (the last column is 1), and their labels."""
    labels = np.repeat(np.arange(3), per_class)
    centres = np.array([[0.0, 1.5], [1.3, -0.8], [-1.3, -0.8]])
    points = centres[labels] + rng.normal(size=(len(labels), 2))
    return np.column_stack([points, np.ones(len(labels))]), labels


def probabilities(weights: Floats, points: Floats) -> Floats:
    logits = points @ weights
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


async def evaluate(run: asyncwb.AsyncRun, weights: Floats, rng_seed: int, step: int) -> None:
    points, labels = clouds(np.random.default_rng(rng_seed), 200)
    await asyncio.sleep(0)  # the training goes on meanwhile
    accuracy = np.mean(probabilities(weights, points).argmax(axis=1) == labels)
    await run.log({"eval/accuracy": accuracy}, step=step)


async def train(seed: int, lr: float) -> None:
    config = {"lr": lr, "seed": seed, "batch": 32}
    async with asyncwb.init_async(project="examples", group="async", config=config) as run:
        rng = np.random.default_rng(seed)
        points, labels = clouds(rng, 500)
        weights = np.zeros((3, 3))
        async with asyncio.TaskGroup() as evaluations:
            for step in range(STEPS):
                batch = rng.integers(len(labels), size=32)
                error = probabilities(weights, points[batch])
                loss = -np.mean(np.log(error[np.arange(32), labels[batch]]))
                error[np.arange(32), labels[batch]] -= 1
                gradient = points[batch].T @ error / 32
                weights = weights - lr * gradient
                norm = float(np.linalg.norm(gradient))
                await run.log({"train/loss": loss, "train/grad_norm": norm}, step=step)
                if step % 50 == 0:
                    evaluations.create_task(evaluate(run, weights, seed, step))
                await asyncio.sleep(0)  # let the other loops have their turn
        await run.flush()  # the server has all of it now
        print(f"lr={lr}: loss {loss:.3f}, {run.url}")


async def main() -> None:
    async with asyncio.TaskGroup() as loops:
        for seed, lr in enumerate((0.03, 0.1, 0.3, 1.0)):
            loops.create_task(train(seed, lr))


if __name__ == "__main__":
    asyncio.run(main())
