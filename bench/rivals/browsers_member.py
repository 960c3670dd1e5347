"""One process of those who use a server at once: a program that logs, one that asks how long it
takes, and browsers with open pages.

    python -m bench.rivals.browsers_member writer URL KEY FOLDER SECONDS METRICS
    python -m bench.rivals.browsers_member prober URL KEY FOLDER SECONDS
    python -m bench.rivals.browsers_member pages URL KEY FOLDER SECONDS PAGES CHARTS EVERY RUN...

Each starts when it is sent a line, which it asks for by printing one, and prints what it did as
JSON: the writer {"rows", "seconds"}, the prober {"seconds": [each row's]}, the pages {"charts",
"seconds": [each answer's]}.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import asyncwb
from bench.rivals.base import PROJECT
from bench.rows import keys

_BUCKETS = 1000
_PAUSE = 0.05
"""seconds between two rows of the prober"""


def start() -> float:
    """Say that all is ready, and wait for the word to go."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.perf_counter()


def write(settings: asyncwb.Settings, seconds: float, metrics: int) -> dict[str, object]:
    """Log rows as fast as the tracker takes them; until all are acknowledged."""
    run = asyncwb.init(project=PROJECT, settings=settings)
    run.flush()
    names = keys(metrics)
    began = start()
    rows = 0
    while time.perf_counter() - began < seconds:
        for _ in range(100):
            run.log(dict.fromkeys(names, rows / 7.0))
            rows += 1
    run.finish()
    took = time.perf_counter() - began
    status = run.status()
    if status.acknowledged != rows:
        raise RuntimeError(f"{status.acknowledged} of {rows} rows were acknowledged")
    return {"rows": rows, "seconds": took}


def probe(settings: asyncwb.Settings, seconds: float) -> dict[str, object]:
    """Log a row now and then, and wait each time until it is acknowledged."""
    run = asyncwb.init(project=PROJECT, settings=settings)
    run.flush()
    began, taken = start(), []
    while time.perf_counter() - began < seconds:
        logged = time.perf_counter()
        run.log({"loss": 1.0})
        if not run.flush():
            raise RuntimeError("a row was not acknowledged")
        taken.append(time.perf_counter() - logged)
        time.sleep(_PAUSE)
    run.finish()
    return {"seconds": taken}


async def browse(
    url: str, key: str, seconds: float, pages: int, charts: int, every: float, runs: list[str]
) -> dict[str, object]:
    """Have each page ask for its charts again and again, `every` seconds after it asked last."""
    import aiohttp

    taken: list[float] = []

    async def page(http: aiohttp.ClientSession, number: int) -> None:
        known: dict[str, str] = {}  # what a browser says of the answer that it keeps
        shown = [("key", key) for key in keys(charts)]
        query = urlencode([*shown, ("buckets", str(_BUCKETS))])
        asked = f"{url}/api/v1/runs/{runs[number % len(runs)]}/series?{query}"
        next_at = began + every * number / pages
        while next_at < began + seconds:
            await asyncio.sleep(next_at - time.perf_counter())
            at = time.perf_counter()
            async with http.get(asked, headers=known) as answer:
                found = await answer.read()
            taken.append(time.perf_counter() - at)
            next_at = max(next_at + every, time.perf_counter())
            if answer.status == 304 and known:
                continue
            if found.count(b'"x":[') != charts or b'"x":[]' in found:  # not decoded: no CPU for it
                raise RuntimeError("a chart is empty")
            known = {"If-None-Match": answer.headers["ETag"]}

    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
        began = start()
        await asyncio.gather(*(page(http, number) for number in range(pages)))
    return {"charts": charts * len(taken), "seconds": taken}


def main(role: str, url: str, key: str, folder: str, seconds: str, *more: str) -> None:
    """Play one role."""
    os.environ["ASYNCWB_DATA_DIR"] = str(Path(folder) / role)
    settings = asyncwb.Settings(base_url=url, api_key=key, silent=True)
    if role == "writer":
        found = write(settings, float(seconds), int(more[0]))
    elif role == "prober":
        found = probe(settings, float(seconds))
    else:
        pages, charts, every = int(more[0]), int(more[1]), float(more[2])
        asking = browse(url, key, float(seconds), pages, charts, every, list(more[3:]))
        found = asyncio.run(asking)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
