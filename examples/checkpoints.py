"""Fit a curve, save checkpoints beside the training, and read the best one back.

python examples/checkpoints.py
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import asyncwb

POINTS = [(x / 10, math.sin(x / 10)) for x in range(-30, 31)]


def predict(weights: list[float], x: float) -> float:
    return sum(weight * x**power for power, weight in enumerate(weights))


def descend(weights: list[float], rate: float) -> float:
    """Move the weights one step downhill; return the mean squared error before it."""
    errors = [(predict(weights, x) - y, x) for x, y in POINTS]
    for power in range(len(weights)):
        slope = sum(2 * error * x**power for error, x in errors) / len(errors)
        weights[power] -= rate / 10**power * slope
    return sum(error**2 for error, _ in errors) / len(errors)


def train(folder: Path) -> tuple[asyncwb.Run, str]:
    """Train for some epochs; return the run and the name of its last checkpoint."""
    weights, name = [0.0, 0.0, 0.0, 0.0], ""
    with asyncwb.init(project="examples", group="checkpoints") as run:
        log = folder / "training.log"
        log.touch()
        run.save(log, base_path=folder)  # live: sent again whenever it has grown
        for epoch in range(1, 301):
            loss = descend(weights, rate=0.05)
            run.log({"loss": loss, "epoch": epoch})
            if epoch % 100 == 0:
                name = f"ckpt/{epoch:03}.json"
                path = folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps({"epoch": epoch, "loss": loss, "weights": weights}))
                run.save(path, base_path=folder, policy="now")
                log.write_text(log.read_text() + f"epoch {epoch}: loss {loss:.4f}\n")
    return run, name


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, name = train(Path(folder))
        status = run.status()
        print(f"{status.files_uploaded} files of {run.path} are at the server")
        back = asyncwb.Api().run(run.path).file(name).download(Path(folder) / "back")
        with back:
            checkpoint = json.load(back)
        print(f"{name} came back: loss {checkpoint['loss']:.4f}, sin(1) ~ ", end="")
        print(f"{predict(checkpoint['weights'], 1.0):.3f}")


if __name__ == "__main__":
    main()
