"""A training process that is killed in the middle, and one that goes on with its run.

The first part logs 500 steps and dies by SIGKILL, as a preempted job does. The second one resumes
the run: what the first one had not sent yet is on this machine's disk, and is sent before the first
new row, so the steps go on without a hole and without a step that is there twice.

    python examples/resume_after_a_kill.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import asyncwb

RUN = "resumed-" + os.urandom(3).hex()


def train(steps: int, *, die: bool) -> None:
    """Log some steps, and be killed or finish."""
    run = asyncwb.init(project="examples", id=os.environ["RUN"], resume="allow")
    for step in range(run.step, run.step + steps):
        run.log({"loss": 1 / (step + 1), "step_seen": step})
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish()


def main() -> None:
    """Run both parts, each in a process of its own, and read the run back."""
    for part in ("die", "live"):
        subprocess.run([sys.executable, __file__, part], env=os.environ | {"RUN": RUN}, check=False)
    run = asyncwb.Api().run(f"examples/{RUN}")
    steps = [row["step_seen"] for row in run.scan_history()]
    print(f"{run.name}: {run.state}, {len(steps)} rows, none missing: {steps == [*range(1000)]}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(500, die=sys.argv[1] == "die")
    else:
        main()
