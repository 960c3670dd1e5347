"""Fit a line to noisy points, log every step, and read the history back.

python examples/sync_training.py
"""

from __future__ import annotations

import numpy as np

import asyncwb


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=256)
    y = 3 * x - 1 + rng.normal(scale=0.1, size=256)
    slope = offset = 0.0
    config = {"lr": 0.2, "points": len(x)}
    with asyncwb.init(project="examples", group="sync", config=config) as run:
        run.define_metric("loss", summary="min")
        for _ in range(100):
            error = slope * x + offset - y
            slope -= run.config["lr"] * float(np.mean(2 * error * x))
            offset -= run.config["lr"] * float(np.mean(2 * error))
            run.log({"loss": float(np.mean(error**2)), "slope": slope, "offset": offset})
        run.flush()  # all of it is committed by the server now
        rows = asyncwb.Api().run(run.path).history(keys=["loss"], pandas=False)
        print(f"slope {slope:.2f}, offset {offset:.2f}, {len(rows)} rows read back, {run.url}")


if __name__ == "__main__":
    main()
