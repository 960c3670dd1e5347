"""One process of a crowd: many async runs that log a few rows a second, each in its own time.

    python -m bench.rivals.crowd_member URL KEY RUNS RATE SECONDS METRICS FOLDER

Prints the name of one run once the server knows all of them, starts when it is sent a line, and
prints what it took as JSON: {"rows", "cpu_s", "wall_s"}; the CPU is the whole process's from then
on, the program that makes the rows included.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import asyncwb
from bench.rivals.base import PROJECT

SENT = "sent"
"""the metric that holds when its row was logged, unix seconds"""


async def log(run: asyncwb.AsyncRun, offset: float, rate: float, rows: int, metrics: int) -> None:
    """Log rows at an even rate, the first `offset` seconds from now."""
    loop = asyncio.get_running_loop()
    start = loop.time() + offset
    names = [f"metric_{number}" for number in range(metrics - 1)]
    for number in range(rows):
        await asyncio.sleep(start + number / rate - loop.time())
        row: Mapping[str, float] = dict.fromkeys(names, number / 7.0)
        await run.log({**row, SENT: time.time()})


async def main(url: str, key: str, sizes: list[float], folder: Path) -> None:
    """Open the runs, wait for the word to go, log, finish."""
    runs, rate, seconds, metrics = sizes
    os.environ["ASYNCWB_DATA_DIR"] = str(folder / "client")
    settings = asyncwb.Settings(base_url=url, api_key=key, silent=True)
    opened = [
        await asyncwb.init_async(project=PROJECT, settings=settings) for _ in range(int(runs))
    ]
    await asyncio.gather(*(run.flush() for run in opened))
    print(f"{PROJECT}/{opened[0].id}", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    rows = int(rate * seconds)
    offsets = (number / len(opened) / rate for number in range(len(opened)))
    await asyncio.gather(
        *(
            log(run, offset, rate, rows, int(metrics))
            for run, offset in zip(opened, offsets, strict=True)
        )
    )
    await asyncio.gather(*(run.finish() for run in opened))
    lost = sum(run.status().accepted - run.status().acknowledged for run in opened)
    if lost:
        raise RuntimeError(f"{lost} rows were not acknowledged")
    now = resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    took = time.perf_counter() - began
    print(json.dumps({"rows": rows * len(opened), "cpu_s": cpu, "wall_s": took}))


if __name__ == "__main__":
    _, url, key, *numbers, folder = sys.argv
    asyncio.run(main(url, key, [float(number) for number in numbers], Path(folder)))
