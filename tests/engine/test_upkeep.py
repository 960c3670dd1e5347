"""The upkeep of many journals: a slow disk is worked with, not waited for one run at a time."""

from __future__ import annotations

import threading

import pytest

import asyncwb
from asyncwb.client.live._sync.run import Run
from asyncwb.engine.session import Session
from asyncwb.settings import Settings
from tests.engine.lab import session_of
from tests.fix_faults import wait_for

_GROUPED = Settings(mode="offline", flush_interval=1.0, sync_interval=0.2)


def is_synced(run: Run) -> bool:
    """Whether the disk has all that the run has said."""
    session = session_of(run)
    return session.synced_seq >= session.inbox.next_seq


def test_four_runs_are_forced_to_the_disk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    force, lock, inside, full = Session.sync, threading.Lock(), [0], threading.Event()

    def slowly(session: Session) -> None:
        with lock:
            inside[0] += 1
            if inside[0] == 4:
                full.set()
        assert full.wait(60), "one waits for the other"
        force(session)
        with lock:
            inside[0] -= 1

    monkeypatch.setattr(Session, "sync", slowly)
    runs = [asyncwb.init("p", id=f"r{n}", settings=_GROUPED) for n in range(6)]
    for run in runs:
        run.log({"i": 1})
    wait_for(lambda: all(map(is_synced, runs)), what="the group sync")
    for run in runs:
        run.finish()


def test_a_disk_that_hangs_holds_up_its_own_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    force, go_on = Session.sync, threading.Event()

    def hang(session: Session) -> None:
        if session.head.run == "hangs":
            assert go_on.wait(60)
        force(session)

    monkeypatch.setattr(Session, "sync", hang)
    hangs, runs_on = (asyncwb.init("p", id=id, settings=_GROUPED) for id in ("hangs", "runs-on"))
    try:
        for i in range(3):
            runs_on.log({"i": i})
            wait_for(lambda: is_synced(runs_on), what="the other run's group sync")
        assert not is_synced(hangs)
    finally:
        go_on.set()
    wait_for(lambda: is_synced(hangs), what="the late group sync")
    hangs.finish()
    runs_on.finish()
