"""Train with several settings, then ask the server which was best, and mark it.

python examples/query_runs.py
"""

from __future__ import annotations

import asyncwb

PROJECT = "examples"
GROUP = "query"


def train(lr: float, momentum: float) -> None:
    """Walk down a narrow valley, x**2 + 20 * y**2, with momentum."""
    config = {"lr": lr, "optimizer": {"name": "sgd", "momentum": momentum}}
    with asyncwb.init(project=PROJECT, group=GROUP, config=config) as run:
        run.define_metric("loss", summary="min,last")
        x, y, speed_x, speed_y = 4.0, 2.0, 0.0, 0.0
        for _ in range(60):
            speed_x = momentum * speed_x - lr * 2 * x
            speed_y = momentum * speed_y - lr * 40 * y
            x, y = x + speed_x, y + speed_y
            run.log({"loss": x**2 + 20 * y**2, "x": x, "y": y})


def main() -> None:
    for lr in (0.005, 0.02, 0.045):
        for momentum in (0.0, 0.9):
            train(lr, momentum)

    api = asyncwb.Api()
    found = api.runs(
        PROJECT,
        filters={"group": GROUP, "config.lr": {"$lt": 0.04}, "state": "finished"},
        order="+summary_metrics.loss.min",
    )
    print(f"{len(found)} runs, the best first:")
    for run in found:
        config, loss = run.config, run.summary["loss"]
        momentum = config["optimizer"]["momentum"]
        print(f"  lr {config['lr']:<6} momentum {momentum:<4} loss {loss['min']:.2e}  {run.url}")

    best = found[0]
    rows = best.scan_history(keys=["_step", "loss"])
    below = [row["_step"] for row in rows if row["loss"] < 1]
    print(f"{best.name} falls below 1 at step {below[0]} and has {best.lastHistoryStep + 1} rows")
    best.tags.append("best")
    best.notes = "the best of its group"
    best.update()
    print("tagged:", [run.name for run in asyncwb.Api().runs(PROJECT, {"tags": "best"})])


if __name__ == "__main__":
    main()
