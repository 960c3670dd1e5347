"""Log without a server, then send the run with the command that a user would type.

python examples/offline_then_sync.py
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import asyncwb


def main() -> None:
    with asyncwb.init(project="examples", group="offline", mode="offline") as run:
        for step in range(200):
            run.log({"wave": math.sin(step / 10), "decay": math.exp(-step / 50)})
        folder = Path(run.dir).parent
    print(f"200 rows are in {folder}; nothing was sent")
    subprocess.run([sys.executable, "-m", "asyncwb", "sync", str(folder)], check=True)


if __name__ == "__main__":
    main()
