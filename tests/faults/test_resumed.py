"""A run is killed and resumed before what it left is synced: nothing is lost or overwritten."""

from __future__ import annotations

import pytest

import asyncwb
from tests.faults import oracle
from tests.faults.trainee import row
from tests.fix_faults import Lab, ServerProcess

pytestmark = pytest.mark.timeout(120)


def go_on(lab: Lab, server: ServerProcess) -> int:
    """Resume the run in this process and log three rows; returns its first step."""
    target = server.target
    settings = asyncwb.Settings(data_dir=lab.data, base_url=target.url, api_key=target.key)
    with asyncwb.init("faults", id="r", resume="allow", settings=settings) as run:
        first = run.step
        for n in range(first, first + 3):
            run.log(row("a", n))
    return first


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_what_a_killed_process_left_comes_first(
    lab: Lab, server_process: ServerProcess, mode: str
) -> None:
    server_process.kill()
    trainee = lab.train(server_process.target, "r", mode=mode, pace=0.001)
    trainee.wait_rows(200)
    trainee.kill()
    logged = trainee.returned()
    server_process.start()
    first = go_on(lab, server_process)
    assert first in (logged, logged + 1), "a row may be in the journal whose call had not returned"
    told = oracle.info(server_process.target, "r")
    assert (told["state"], told["rows"], told["last_step"]) == ("finished", first + 3, first + 2)
    assert told["summary"]["a_i"] == first + 2
    assert oracle.received(server_process.target, "r").tolist() == [*range(first + 3)]
    lab.sync_all(server_process.target)
    assert oracle.info(server_process.target, "r")["state"] == "finished"
    assert "Nothing waits" in lab.sync(server_process.target).stdout


def test_sync_sends_the_parts_of_a_run_in_their_order(
    lab: Lab, server_process: ServerProcess
) -> None:
    target = server_process.target
    server_process.kill()
    for value in (1, 2, 3):
        settings = asyncwb.Settings(data_dir=lab.data, base_url=target.url, mode="offline")
        with asyncwb.init("faults", id="r", settings=settings) as run:
            for _ in range(600):
                run.log({"a": value})
    server_process.start()
    lab.sync_all(target)
    told = oracle.info(target, "r")
    assert (told["state"], told["summary"]["a"], told["rows"]) == ("finished", 3, 1800)
