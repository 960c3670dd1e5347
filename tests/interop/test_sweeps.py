"""Sweeps of the real client: made, run in and read by it, and read the same by our own Api."""

from __future__ import annotations

from typing import Any

import asyncwb
from tests.fix_wandb import WandbClient, newest_release

CONFIG: dict[str, Any] = {
    "name": "search",
    "description": "what we search",
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}, "seed": {"min": 1, "max": 2}},
}
FILLED = {**CONFIG["parameters"], "seed": {"min": 1, "max": 2, "distribution": "int_uniform"}}
"""the client writes the distribution of whole numbers in"""

_MAKE = """
prior = wandb.init(id="prior")
prior.log({"loss": 7.0})
prior.finish()
sweep = wandb.sweep(CONFIG, project="p", prior_runs=["prior"])
answer(sweep)
"""
_RUN = """
import os
run = wandb.init(config={"lr": float(os.environ["LR"])})
assert run.sweep_id == os.environ["WANDB_SWEEP_ID"], run.sweep_id
run.log({"loss": float(os.environ["LR"]) * 10})
url = run.sweep_url if hasattr(run, "sweep_url") else run.get_sweep_url()
run.finish()
answer({"id": run.id, "url": url})
"""
_READ = """
import os
api = wandb.Api()
sweep = api.sweep("p/" + os.environ["SWEEP"])
best = sweep.best_run()
listed = api.project("p").sweeps()
answer({
    "config": sweep.config, "state": sweep.state, "name": sweep.name, "id": sweep.id,
    "expected": sweep.expected_run_count, "order": sweep.order,
    "url": sweep.url, "best_loss": sweep.best_loss, "description": sweep.description,
    "runs": [[run.id, run.summary["loss"]] for run in sweep.runs], "count": len(sweep.runs),
    "best": [best.id, best.summary["loss"]], "entity": sweep.entity, "project": sweep.project,
    "listed": [one.id for one in listed], "how many": len(listed),
    "of run": api.run("p/" + best.id).sweep.id,
    "in lists": [run.sweep and run.sweep.id for run in api.runs("p", include_sweeps=True)],
    "path": api.from_path("/".join([sweep.entity, "p", "sweeps", sweep.id])).id,
})
"""


def test_a_sweep_of_the_real_client(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    sweep_id = wandb_client.run(f"CONFIG = {CONFIG!r}\n{_MAKE}")
    assert api.sweep(f"p/{sweep_id}").state == "PENDING"
    runs = [
        wandb_client.run(_RUN, WANDB_SWEEP_ID=sweep_id, WANDB_RUN_ID=f"r{number}", LR=str(lr))
        for number, lr in enumerate((0.3, 0.1))
    ]
    entity, base = api.default_entity, wandb_client.server.url
    assert [run["url"] for run in runs] == [f"{base}/{entity}/p/sweeps/{sweep_id}"] * 2
    theirs = wandb_client.run(_READ, SWEEP=sweep_id)
    assert theirs["config"] == {**CONFIG, "parameters": FILLED}
    assert (theirs["state"], theirs["name"], theirs["id"]) == ("RUNNING", "search", sweep_id)
    assert (theirs["expected"], theirs["best_loss"]) == (6, 1.0)
    assert theirs["runs"] == [["prior", 7.0], ["r0", 3.0], ["r1", 1.0]]
    assert (theirs["count"], theirs["best"]) == (3, ["r1", 1.0])
    assert theirs["listed"] == [sweep_id]
    assert (theirs["how many"], theirs["of run"], theirs["path"]) == (1, sweep_id, sweep_id)
    assert theirs["in lists"] == [sweep_id] * 3

    api.flush()
    ours = api.sweep(f"{entity}/p/{sweep_id}")
    best = ours.best_run()
    assert best is not None
    assert {
        "config": ours.config,
        "state": ours.state,
        "name": ours.name,
        "id": ours.id,
        "expected": ours.expected_run_count,
        "order": ours.order,
        "url": ours.url,
        "best_loss": ours.best_loss,
        "description": ours.description,
        "runs": [[run.id, run.summary["loss"]] for run in ours.runs],
        "count": len(ours.runs),
        "best": [best.id, best.summary["loss"]],
        "entity": ours.entity,
        "project": ours.project,
        "listed": [sweep.id for sweep in api.project("p").sweeps()],
        "how many": len(api.project("p").sweeps()),
        "of run": best.sweep.id,
        "in lists": [run.sweep and run.sweep.id for run in api.runs("p")],
        "path": ours.id,
    } == theirs
    assert ours.path == [entity, "p", sweep_id]


@newest_release
def test_a_sweep_is_paused_and_ended(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    sweep_id = wandb_client.run(f"CONFIG = {CONFIG!r}\n{_MAKE}")
    path = f"{api.default_entity}/p/{sweep_id}"
    said = []
    for how in ("resume", "pause", "resume", "stop", "resume", "cancel"):
        wandb_client.command("sweep", f"--{how}", path)
        said.append(api.sweep(path).load(force=True)["state"])
    assert said == ["RUNNING", "PAUSED", "RUNNING", "FINISHED", "RUNNING", "CANCELED"]


@newest_release
def test_a_sweep_is_updated(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    file = wandb_client.folder / "sweep.yaml"
    file.write_text("method: grid\nparameters:\n  lr:\n    values: [0.1, 0.2]\n")
    wandb_client.command("sweep", "--project", "p", "--name", "first", "sweep.yaml")
    (sweep,) = api.project("p").sweeps()
    assert (sweep.name, sweep.expected_run_count) == ("first", 2)
    file.write_text("method: random\nname: again\nrun_cap: 9\n")
    wandb_client.command("sweep", "--update", "/".join(sweep.path), "sweep.yaml")
    sweep.load(force=True)
    assert (sweep.method, sweep.expected_run_count) == ("random", 9)
    assert sweep.config == {"method": "random", "name": "again", "run_cap": 9}


@newest_release
def test_a_run_of_no_sweep_is_told(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    program = """
try:
    wandb.init(id="r", settings=wandb.Settings(init_timeout=30))
except Exception as error:
    answer(str(error))
"""
    said = wandb_client.run(program, WANDB_SWEEP_ID="nothing")
    assert "no sweep 'nothing'" in said
    assert "p" not in [project.name for project in api.projects()]
