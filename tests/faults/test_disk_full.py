"""Full disks: training goes on, what is lost is counted and said, and nothing else is lost."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.faults import oracle
from tests.fix_faults import (
    PASS,
    Answer,
    HttpFront,
    Lab,
    Network,
    ServerProcess,
    SmallDisk,
    Tally,
    Target,
    Trainee,
    wait_for,
)
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)

NOWHERE = Target("http://127.0.0.1:9", "k" * 40)
MIB = 2**20
PACE = 0.0005
NOISE = 40
"""floats of noise a row: some 350 bytes that do not compress."""


class Gate:
    """An outage of the server, which ends when the test says so."""

    def __init__(self) -> None:
        self.is_open = False

    def __call__(self, number: int) -> str | Answer:
        return PASS if self.is_open else Answer(503, (("Retry-After", "0.2"),))


def allow_files(pid: int, size: int) -> None:
    """Let each file of a process have so many bytes; beyond, writing fails as on a full disk."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def expect_counted(target: Target, trainee: Trainee) -> tuple[int, int]:
    """Check that what did not arrive was counted, by both ends; returns (arrived, dropped)."""
    said, logged = trainee.heard(), trainee.returned()
    trainee.end()
    numbers = oracle.received(target, "run")
    dropped = sum(said["dropped"].values())
    assert dropped > 0
    assert said["accepted"] + dropped == logged
    assert len(numbers) == said["accepted"] == said["acknowledged"]
    assert np.all(np.diff(numbers) > 0)
    about = oracle.info(target, "run")
    assert (about["rows"], about["lost"]) == (len(numbers), dropped)
    assert about["state"] == "finished"
    assert f"{dropped:,} rows were lost" in trainee.stderr()
    return len(numbers), dropped


def test_under_the_journal_until_the_server_makes_room(
    lab: Lab,
    server: ServerHandle,
    network: Network,
    small_disk: Callable[[int], SmallDisk],
    tally: Tally,
) -> None:
    target, gate = Target(server.url, server.api_key), Gate()
    front = Target(network.listen(HttpFront(target, gate)).url, target.key)
    lab.data = small_disk(2).path
    trainee = lab.train(front, "run", pace=PACE, noise=NOISE, after_full=300)
    full_at = trainee.heard()["full_at"]
    trainee.wait_rows(full_at + 200)  # training goes on
    wait_for(lambda: "cannot grow" in trainee.stderr(), what="the full disk to be said", every=0.02)
    gate.is_open = True
    rows, dropped = expect_counted(target, trainee)
    tally(full_disks=1, rows=rows, rows_lost_and_counted=dropped)


@pytest.mark.parametrize("rows_before", [0, 500])
def test_under_the_journal_until_there_is_space(
    lab: Lab, server: ServerHandle, rows_before: int, tally: Tally
) -> None:
    target = Target(server.url, server.api_key)
    trainee = lab.train(target, "run", pace=PACE, noise=NOISE, after_full=300)
    if rows_before:
        trainee.wait_rows(rows_before)
    allow_files(trainee.process.pid, 64 * 1024)  # no segment fits
    full_at = trainee.heard()["full_at"]
    trainee.wait_rows(full_at + 200)
    wait_for(lambda: "cannot grow" in trainee.stderr(), what="the full disk to be said", every=0.02)
    allow_files(trainee.process.pid, resource.RLIM_INFINITY)
    rows, dropped = expect_counted(target, trainee)
    tally(full_disks=1, rows=rows, rows_lost_and_counted=dropped)


def test_under_the_sealed_file_until_there_is_space(
    lab: Lab, server: ServerHandle, tally: Tally
) -> None:
    trainee = lab.train(NOWHERE, "run", mode="offline", rows=6_000, pace=PACE, noise=NOISE)
    trainee.wait_rows(500)
    (folder,) = lab.run_folders()
    sealed = folder / "sealed" / "frames.awf"
    for extra in (1_000, 100, 10_000):  # an append is cut short somewhere
        wait_for(lambda: sealed.exists() and sealed.stat().st_size, what="something to be sealed")
        logged = trainee.returned()
        allow_files(trainee.process.pid, sealed.stat().st_size + extra)
        trainee.wait_rows(logged + 400)
        allow_files(trainee.process.pid, resource.RLIM_INFINITY)
    said = trainee.heard()
    trainee.end()
    lab.sync_all(Target(server.url, server.api_key), base_url=server.url)
    numbers = oracle.received(Target(server.url, server.api_key), "run")
    assert len(numbers) == said["accepted"] == said["acknowledged"]
    assert said["accepted"] + sum(said["dropped"].values()) == 6_000
    tally(full_disks=3, rows=len(numbers), rows_lost_and_counted=sum(said["dropped"].values()))


def test_no_space_until_the_end(
    lab: Lab, server: ServerHandle, small_disk: Callable[[int], SmallDisk], tally: Tally
) -> None:
    lab.data = small_disk(1).path
    trainee = lab.train(NOWHERE, "run", rows=8_000, noise=NOISE, settings={"finish_timeout": 0.2})
    said = trainee.heard()
    trainee.end()
    assert said["accepted"] + said["dropped"]["disk_full"] == 8_000
    assert f"{said['dropped']['disk_full']:,} rows were lost" in trainee.stderr()
    target = Target(server.url, server.api_key)
    lab.sync_all(target, base_url=server.url)
    numbers = oracle.received(target, "run")
    assert numbers.tolist() == list(range(said["accepted"]))
    tally(full_disks=1, rows=len(numbers), rows_lost_and_counted=said["dropped"]["disk_full"])


def _hold_server(
    lab: Lab, server: ServerProcess, tally: Tally, make_room: Callable[[], None]
) -> None:
    front_door = server.target
    trainee = lab.train(front_door, "run", pace=PACE, noise=5 * NOISE, rows=4_000)
    wait_for(
        lambda: "storage failed" in server.log.read_text(),
        40,
        what="the server's disk to be full",
        every=0.02,
    )
    full_at = trainee.returned()
    trainee.wait_rows(full_at + 100)  # training goes on
    assert oracle.info(front_door, "run")["state"] == "running"  # it answers
    make_room()
    said = trainee.heard()
    trainee.end()
    assert (said["acknowledged"], said["dropped"]) == (4_000, {})
    tally(full_disks=1, rows=oracle.expect_run(front_door, "run", 4_000))


def test_under_the_server(
    lab: Lab, tmp_path: Path, small_disk: Callable[[int], SmallDisk], tally: Tally
) -> None:
    disk = small_disk(3)
    server = ServerProcess(disk.path / "server")
    server.log = tmp_path / "server.log"
    server.start()
    try:
        _hold_server(lab, server, tally, lambda: disk.resize(200))
    finally:
        server.stop()


def test_under_the_server_by_a_quota(lab: Lab, server_process: ServerProcess, tally: Tally) -> None:
    allow_files(server_process.pid, 2 * MIB)
    make_room = partial(allow_files, server_process.pid, resource.RLIM_INFINITY)
    _hold_server(lab, server_process, tally, make_room)
