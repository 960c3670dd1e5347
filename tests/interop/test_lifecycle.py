"""How runs of the real client begin, go on and end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import asyncwb
from asyncwb.importers.items import Row
from asyncwb.importers.wandb_logs import LoggedRun
from tests.fix_wandb import WandbClient

_WITHIN = 60.0


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another process does: it takes seconds, and each look requests."""
    deadline = time.monotonic() + _WITHIN
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("ending", "code", "state"),
    [("", 0, "finished"), ("sys.exit(3)", 3, "failed"), ("raise ValueError('no')", 1, "failed")],
    ids=["end", "exit", "error"],
)
def test_exit_codes(
    wandb_client: WandbClient, api: asyncwb.Api, ending: str, code: int, state: str
) -> None:
    program = f"run = wandb.init(id='r')\nrun.log({{'a': 1}})\n{ending}\n"
    wandb_client.run(program, exit_code=code)
    run = api.run("p/r")
    assert (run.state, run.exit_code, len(list(run.scan_history()))) == (state, code, 1)


def test_a_run_is_resumed(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    wandb_client.run("with wandb.init(id='r', config={'a': 1}) as run:\n  run.log({'x': 1})")
    again = """
with wandb.init(id="r", resume="must", config={"b": 2}) as run:
    assert run.resumed and run.starting_step == 1, run.starting_step
    run.log({"x": 2})
    run.log({"x": 3})
    answer([run.name, run.config["a"]])
"""
    name, kept = wandb_client.run(again)
    run = api.run("p/r")
    assert [(row["_step"], row["x"]) for row in run.scan_history()] == [(0, 1), (1, 2), (2, 3)]
    assert (run.name, kept, dict(run.config)) == (name, 1, {"a": 1, "b": 2})
    assert run.state == "finished"


def test_resume_refuses(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    refused = """
def refused(**how):
    try:
        wandb.init(**how).finish()
    except (wandb.UsageError, wandb.Error) as error:
        return True
    return False

wandb.init(id="there").finish()
answer([refused(id="there", resume="never"), refused(id="missing", resume="must"),
        refused(id="new", resume="allow")])
"""
    assert wandb_client.run(refused) == [True, True, False]
    assert sorted(run.id for run in api.runs("p")) == ["new", "there"]


def test_a_run_is_rewound(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    wandb_client.run(
        "with wandb.init(id='r') as run:\n  for i in range(20):\n    run.log({'x': i})"
    )
    wandb_client.run(
        "with wandb.init(id='r', resume_from='r?_step=9') as run:\n"
        "  for i in range(3):\n    run.log({'x': 100 + i})"
    )
    found = [(row["_step"], row["x"]) for row in api.run("p/r").scan_history()]
    assert found == [*((i, i) for i in range(10)), (10, 100), (11, 101), (12, 102)]


def test_a_run_is_stopped_from_elsewhere(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    # It asks every 15 s whether it is to stop; here as often as it sends.
    loop = """
import asyncio, time
from wandb.sdk.lib import run_stopping
run_stopping._SLEEP = lambda seconds: asyncio.sleep(min(seconds, 0.2))
run = wandb.init(id="r", settings=wandb.Settings(x_file_stream_transmit_interval=0.2))
print("logging", flush=True)
while True:
    run.log({"x": 1})
    time.sleep(0.05)
"""
    process = wandb_client.start(loop)
    until(lambda: "r" in [run.id for run in api.runs("p")] if _has_project(api) else False)
    api.run("p/r").stop()
    process.communicate(timeout=_WITHIN)
    assert process.returncode != 0
    until(lambda: api.run("p/r").load(force=True)["state"] == "killed")


def _has_project(api: asyncwb.Api) -> bool:
    return "p" in [project.name for project in api.projects()]


def test_an_offline_run_is_synced(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    wandb_client.run(
        "with wandb.init(id='r', config={'a': 1}) as run:\n"
        "  for i in range(10):\n    run.log({'x': i})",
        WANDB_MODE="offline",
    )
    (folder,) = wandb_client.folder.glob("wandb/offline-run-*")
    wandb_client.command("sync", str(folder))
    run = api.run("p/r")
    assert [(row["_step"], row["x"]) for row in run.scan_history()] == [(i, i) for i in range(10)]
    assert (dict(run.config), run.state) == ({"a": 1}, "finished")


_ENDLESS = """
import itertools, time
run = wandb.init(id="r", config={"a": 1})
for i in itertools.count():
    run.log({"x": i, "third": i / 3})
    time.sleep(0.005)
"""


def test_a_killed_run_is_synced_and_goes_on(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    process = wandb_client.start(_ENDLESS)
    until(lambda: _has_project(api) and _last_step(api) > 200)
    for pid in (*_children(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=_WITHIN)
    (folder,) = wandb_client.folder.glob("wandb/run-*")
    (log,) = folder.glob("run-*.wandb")
    # The client writes its log in blocks, and may have sent what it did not write yet.
    there = len(_rows(api))
    there = max(there, sum(isinstance(item, Row) for item in LoggedRun(log).items()))
    for _ in range(2):
        wandb_client.command("sync", "--no-skip-online", "--include-synced", str(folder))
        assert _rows(api) == [(i, i, i / 3) for i in range(there)]
    resumed = """
with wandb.init(id="r", resume="allow") as run:
    answer(run.starting_step)
    run.log({"x": -1, "third": 0})
"""
    assert wandb_client.run(resumed) == there
    assert _rows(api) == [*((i, i, i / 3) for i in range(there)), (there, -1, 0)]
    api.flush()
    assert (api.run("p/r").state, dict(api.run("p/r").config)) == ("finished", {"a": 1})


def _last_step(api: asyncwb.Api) -> int:
    api.flush()
    return max((run.lastHistoryStep for run in api.runs("p")), default=-1)


def _rows(api: asyncwb.Api) -> list[tuple[int, int, float]]:
    rows = api.run("p/r").scan_history()
    return [(row["_step"], row["x"], row["third"]) for row in rows]


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


_GOES_ON = """
time.sleep, asleep = (lambda seconds: asleep(min(seconds, 0.2))), time.sleep
with wandb.init(id="r", resume="must") as run:
    run.log({"x": 2})
    states = [wandb.Api().run("p/r").state]
done = wandb.Api().run("p/r")
done.wait_until_finished()
states.append(done.state)
try:
    done.update_state("failed")
except wandb.Error:
    states.append("refused")
answer(states)
"""


def test_a_run_is_preempted_and_goes_on(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    preempted = "run = wandb.init(id='r')\nrun.log({'x': 1})\nrun.mark_preempting()\nsys.exit(1)"
    wandb_client.run(preempted, exit_code=1)
    assert api.run("p/r").state == "preempted"
    moved = "run = wandb.Api().run('p/r')\nanswer([run.state, run.update_state('pending')])"
    assert wandb_client.run(moved) == ["preempted", True]
    api.flush()
    assert api.run("p/r").state == "pending"
    assert wandb_client.run("import time\n" + _GOES_ON) == ["running", "finished", "refused"]
    assert [row["x"] for row in api.run("p/r").scan_history()] == [1, 2]
