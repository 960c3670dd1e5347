"""Run a program that logs with the `wandb` package against the server that asyncwb uses here.

    python examples/wandb_client.py python train.py --lr 0.1
    python examples/wandb_client.py                             # a small program of its own

The program is not changed: it gets the server's address and a key of its own from two environment
variables. The key is revoked when it has ended. Then the runs are read with asyncwb.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

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
    try:
        done = subprocess.run(command, env=environ, check=False)
    finally:
        viewer.delete_api_key(key)
    for run in asyncwb.Api().runs(environ["WANDB_PROJECT"], order="-created_at")[:5]:
        print(run.name, run.state, f"{run.lastHistoryStep + 1} rows", run.url)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
