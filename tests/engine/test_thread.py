"""The engine's thread: whatever is submitted is answered, also while it ends."""

from __future__ import annotations

import threading

import pytest

from asyncwb.engine import thread
from asyncwb.engine.session import Worker
from asyncwb.engine.thread import Engine
from asyncwb.errors import EngineStopped


async def _nothing(worker: Worker) -> None:
    del worker


def test_what_is_submitted_to_a_closed_loop_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, go_on = threading.Event(), threading.Event()
    end = Engine._end

    def held(engine: Engine, error: BaseException | None) -> None:
        closed.set()
        go_on.wait(60)
        end(engine, error)

    monkeypatch.setattr(Engine, "_end", held)
    monkeypatch.setattr(thread, "_STOP_TIMEOUT", 0.0)
    engine = Engine()
    engine.submit(_nothing).result(60)
    assert engine._worker is not None
    assert engine._loop is not None
    engine._loop.call_soon_threadsafe(engine._worker.stopping.set)
    assert closed.wait(60)
    late = engine.submit(_nothing)
    engine.stop()
    go_on.set()
    with pytest.raises(EngineStopped):
        late.result(60)
    engine._thread.join(60)
