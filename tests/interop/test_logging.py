"""What the real client logs is what it, and what we, read back: value by value."""

from __future__ import annotations

import math
from typing import Any

import asyncwb
from tests.fix_wandb import WandbClient

_LOGS = """
config = {"lr": 0.1, "layers": [1, 2], "optimizer": {"name": "adam", "betas": [0.9, 0.99]},
          "flag": True, "nothing": None}
run = wandb.init(id="r", name="first try", notes="some notes", tags=["a", "b"], group="g",
                 job_type="train", config=config)
run.define_metric("loss", summary="min")
run.define_metric("val/*", step_metric="epoch")
for i in range(60):
    row = {"loss": 1 / (i + 1), "i": i, "odd": bool(i % 2), "nested": {"a": i, "b": {"c": -i}}}
    if i % 10 == 0:
        row |= {"val/acc": i / 60, "epoch": i // 10, "text": f"step {i}"}
    if i == 30:
        row |= {"nan": math.nan, "inf": math.inf, "minus": -math.inf}
    run.log(row)
run.config["late"] = 7
run.config.update({"lr": 0.2}, allow_val_change=True)
run.summary["best"] = 0.5
run.summary["deep"] = {"x": {"y": 1}}
print("hello from the console")
run.finish()
"""

_READS = """
run = wandb.Api().run("p/r")
rows = [dict(row) for row in run.scan_history()]
answer({
    "name": run.name, "notes": run.notes, "tags": sorted(run.tags), "group": run.group,
    "job_type": run.job_type, "state": run.state, "config": dict(run.config),
    "loss": dict(run.summary["loss"]), "best": run.summary["best"],
    "deep": {"x": dict(run.summary["deep"]["x"])},
    "steps": [row["_step"] for row in rows], "losses": [row["loss"] for row in rows],
    "text": [row["text"] for row in rows if row.get("text") is not None],
    "odd": rows[30], "last": run.lastHistoryStep,
    "keyed": [[row["epoch"], row["val/acc"]] for row in run.scan_history(["epoch", "val/acc"])],
    "range": [row["_step"] for row in run.scan_history(["i"], min_step=10, max_step=13)],
    "sampled": len(run.history(samples=20, pandas=False)),
    "frame": list(run.history(keys=["loss"], samples=1000)["loss"]),
    "user": run.user.username,
})
"""


def test_everything_logged_is_read_back(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    wandb_client.run(_LOGS)
    assert wandb_client.failed_requests() == []
    theirs = wandb_client.run(_READS)
    run = api.run("p/r")
    rows = list(run.scan_history())
    assert [row["_step"] for row in rows] == theirs["steps"] == list(range(60))
    losses = [1 / (i + 1) for i in range(60)]
    assert [row["loss"] for row in rows] == theirs["losses"] == theirs["frame"] == losses
    assert [row["i"] for row in rows] == list(range(60))
    assert all(type(row["i"]) is int and type(row["odd"]) is bool for row in rows)
    assert [row["nested.b.c"] if "nested.b.c" in row else row["nested"]["b"]["c"] for row in rows]
    texts = [f"step {i}" for i in range(0, 60, 10)]
    assert [row["text"] for row in rows if "text" in row] == theirs["text"] == texts
    check_specials(rows[30], theirs["odd"])
    assert theirs["keyed"] == [[i // 10, i / 60] for i in range(0, 60, 10)]
    assert theirs["range"] == [10, 11, 12]
    assert 1 <= theirs["sampled"] <= 20
    check_account(run, theirs)


def check_specials(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert math.isnan(ours["nan"])
    assert (ours["inf"], ours["minus"]) == (math.inf, -math.inf)
    assert math.isnan(float(theirs["nan"]))
    assert (float(theirs["inf"]), float(theirs["minus"])) == (math.inf, -math.inf)


def check_account(run: asyncwb.apis.public.Run, theirs: dict[str, Any]) -> None:
    config = {
        "lr": 0.2,
        "layers": [1, 2],
        "optimizer": {"name": "adam", "betas": [0.9, 0.99]},
        "flag": True,
        "nothing": None,
        "late": 7,
    }
    assert dict(run.config) == theirs["config"] == config
    account = (run.name, run.notes, sorted(run.tags), run.group, run.job_type, run.state)
    assert account == ("first try", "some notes", ["a", "b"], "g", "train", "finished")
    names = ("name", "notes", "tags", "group", "job_type", "state")
    assert account == tuple(theirs[name] for name in names)
    assert run.summary["loss"] == theirs["loss"] == {"min": 1 / 60}
    assert run.summary["best"] == theirs["best"] == 0.5
    assert theirs["deep"] == {"x": {"y": 1}}
    assert theirs["last"] == run.lastHistoryStep == 59


def test_what_we_log_wandb_reads(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    server = wandb_client.server
    settings = asyncwb.Settings(base_url=server.url, api_key=server.api_key, silent=True)
    with asyncwb.init(project="p", id="r", config={"lr": 0.1}, settings=settings) as run:
        run.define_metric("loss", summary="min")
        for i in range(60):
            row: dict[str, Any] = {"loss": 1 / (i + 1), "i": i, "odd": bool(i % 2)}
            if i % 10 == 0:
                row |= {"val/acc": i / 60, "epoch": i // 10, "text": f"step {i}"}
            if i == 30:
                row |= {"nan": math.nan, "inf": math.inf, "minus": -math.inf}
            run.log(row)
        run.summary["best"] = 0.5
        run.summary["deep"] = {"x": {"y": 1}}
    theirs = wandb_client.run(_READS)
    assert theirs["steps"] == list(range(60))
    assert theirs["losses"] == theirs["frame"] == [1 / (i + 1) for i in range(60)]
    assert theirs["keyed"] == [[i // 10, i / 60] for i in range(0, 60, 10)]
    check_specials(list(api.run("p/r").scan_history())[30], theirs["odd"])
    assert (theirs["config"], theirs["loss"], theirs["state"]) == (
        {"lr": 0.1},
        {"min": 1 / 60},
        "finished",
    )
