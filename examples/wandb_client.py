"""Run a program that logs with the `wandb` package against the server that asyncwb uses here.

    python examples/wandb_client.py python train.py --lr 0.1
    python examples/wandb_client.py                             # a small program of its own

The program is not changed: it gets the server's address and a key of its own from two environment
variables. The key is revoked when it has ended. Then the runs that it logged, in whatever project
or team, are read with asyncwb; the exit code is the program's own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import asyncwb

PROJECT = "wandb-client"
PROGRAM = """
import math, wandb
with wandb.init(config={"rate": 0.1}) as run:
    for step in range(100):
        run.log({"loss": math.exp(-run.config["rate"] * step)})
"""


def main(command: list[str]) -> int:
    if not command:
        if importlib.util.find_spec("wandb") is None:
            print("wandb is not installed here; give the command of a program that has it.")
            return 0
        command = [sys.executable, "-c", PROGRAM]
    viewer = asyncwb.Api().viewer
    key = viewer.generate_api_key("a program with wandb")
    if key is None:
        print("The server makes no keys for this account.")
        return 1
    api = asyncwb.Api(api_key=key)
    print(f"{api.viewer.username} logs to {api.settings['base_url']}")
    theirs = {"WANDB_BASE_URL": api.settings["base_url"], "WANDB_API_KEY": key}
    environ = {"WANDB_PROJECT": PROJECT, **os.environ, **theirs}
    began = datetime.now(UTC)
    try:
        code = subprocess.run(command, env=environ, check=False).returncode
    finally:
        viewer.delete_api_key(key)
    try:
        for run in logged_since(began, asyncwb.Api()):
            print(run.name, run.state, f"{run.lastHistoryStep + 1} rows", run.url)
    except asyncwb.Error as error:
        print(f"What it logged cannot be shown: {error}")
    return code if code >= 0 else 128 - code  # a signal, as shells tell it


def logged_since(began: datetime, api: asyncwb.Api) -> Iterator[Any]:
    """Give the runs that were heard of since, in all projects of the user and of the teams."""
    viewer = api.viewer
    for entity in dict.fromkeys((viewer.entity, *viewer.teams)):
        for project in api.projects(entity):
            heard = {"heartbeat_at": {"$gte": began.isoformat()}}
            yield from api.runs(f"{entity}/{project.name}", heard)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
