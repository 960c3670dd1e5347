"""SIGKILL and restart of the server: what it had acknowledged it still has, and nothing twice."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.faults import oracle
from tests.fix_faults import Lab, ServerProcess, Tally, seeds, wait_for

pytestmark = pytest.mark.timeout(120)


@seeds(2)
def test_during_ingest(lab: Lab, server_process: ServerProcess, seed: int, tally: Tally) -> None:
    chance = random.Random(seed)
    target = server_process.target
    running = [lab.train(target, f"run{n}", pace=0.0005) for n in range(2)]
    kills = 3
    for _ in range(kills):
        least = running[0].returned() + chance.randrange(100, 1000)
        running[0].wait_rows(least)
        server_process.kill()
        server_process.start()
    for trainee in running:
        trainee.kill()
    lab.sync_all(target)
    rows = sum(oracle.expect_run(target, t.plan.run, t.returned()) for t in running)
    tally(server_kills=kills, rows=rows)


@seeds(1)
def test_during_sealing(lab: Lab, server_process: ServerProcess, seed: int, tally: Tally) -> None:
    chance = random.Random(seed)
    target, counts = server_process.target, [70_000, 500]
    for n, count in enumerate(counts):
        lab.train(target, f"run{n}", mode="offline", rows=count).end()
    kills = 0
    for folder in lab.run_folders():
        before = _files(server_process)
        assert lab.sync(target, folder).returncode == 0
        for _ in range(2):
            # The file is there, the transaction that names it may or may not be committed.
            wait_for(partial(_sealing, server_process, before), what="the sealer")
            for _ in range(chance.randrange(2000)):
                pass
            server_process.kill()
            kills += 1
            before = _files(server_process)
            _pass_five_minutes(server_process)
            server_process.start()
    wait_for(lambda: _sealed(server_process), what="all to be sealed", every=0.02)
    for n, count in enumerate(counts):
        numbers = oracle.received(target, f"run{n}")
        assert numbers.tolist() == list(range(count))
        assert oracle.info(target, f"run{n}")["rows"] == count
    tally(server_kills_while_sealing=kills, rows=sum(counts))


def _sealing(server: ServerProcess, before: set[Path]) -> bool:
    return bool(_files(server) - before) or _sealed(server)


def _files(server: ServerProcess) -> set[Path]:
    return set((server.data / "objects").rglob("*.parquet"))


def _pass_five_minutes(server: ServerProcess) -> None:
    """Let the lease run out that the killed sealer holds."""
    with closing(sqlite3.connect(server.data / "asyncwb.db")) as database, database:
        database.execute("DELETE FROM leases")


def _sealed(server: ServerProcess) -> bool:
    """Tell whether no frame is left that is not in a file."""
    uri = f"file:{server.data / 'asyncwb.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        (frames,) = database.execute("SELECT count(*) FROM frames").fetchone()
    return bool(frames == 0)
