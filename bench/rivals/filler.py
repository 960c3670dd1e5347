"""Logs one run by asyncwb: `python -m bench.rivals.filler URL KEY ROWS METRICS SEED`.

Prints the run's path. For cases that read a long run through a client that would take minutes to
log it.
"""

from __future__ import annotations

import sys

import asyncwb
from bench.case import Size
from bench.rivals.base import PROJECT
from bench.rows import rows_for


def main(url: str, key: str, rows: int, metrics: int, seed: int) -> None:
    """Log the rows round the pool and wait until the server has them."""
    settings = asyncwb.Settings(base_url=url, api_key=key, silent=True)
    run = asyncwb.init(project=PROJECT, settings=settings)
    pool = rows_for(Size("", (), metrics=metrics, rows=rows), seed)
    for number in range(rows):
        run.log(pool[number % len(pool)])
    run.finish()
    status = run.status()
    if status.acknowledged != rows:
        raise RuntimeError(f"not everything arrived: {status}")
    print("/".join(asyncwb.Api({"base_url": url}, api_key=key).run(f"{PROJECT}/{run.id}").path))


if __name__ == "__main__":
    address, secret, *numbers = sys.argv[1:]
    main(address, secret, *(int(number) for number in numbers))
