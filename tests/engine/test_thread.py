"""The engine's thread: whatever is submitted is answered, also while it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from asyncwb.engine import thread
from asyncwb.engine.session import Worker
from asyncwb.engine.thread import Engine
from asyncwb.errors import EngineStopped, Error
from tests.fix_server import ServerHandle

_SHORT_OF_DESCRIPTORS = """
import os, resource, sys
import asyncwb
from asyncwb.engine.thread import Engine

url, key, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
settings = {"base_url": url, "api_key": key, "detach_uploader": False, "silent": True}
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
taken = []
begin = Engine._main

def short(engine):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(left):
            os.close(taken.pop())
    begin(engine)

Engine._main = short
run = asyncwb.init("p", id="first", settings=settings)
run.log({"i": 1})
Engine._current._thread.join(60)
print(run.status().last_error)
Engine._main = begin
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
for fd in taken:
    os.close(fd)
with asyncwb.init("p", id="second", settings=settings) as other:
    other.log({"i": 1})
print(other.status().acknowledged)
run.finish()
print(run.status().journaled)
"""


@pytest.mark.parametrize("left", [0, 1, 3, 6])
def test_an_engine_that_lacks_descriptors_is_tried_again_by_the_next_run(
    server: ServerHandle, left: int
) -> None:
    script = [sys.executable, "-c", _SHORT_OF_DESCRIPTORS, server.url, server.api_key, str(left)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    first, acknowledged, journaled = done.stdout.splitlines()
    assert "the logging engine has stopped (OSError: [Errno 24] Too many open files" in first
    assert (acknowledged, journaled) == ("1", "1")


async def _nothing(worker: Worker) -> None:
    del worker


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_does_not_end_the_engine(
    kind: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    def callback() -> None:
        raise kind("a callback")

    async def work(worker: Worker) -> None:
        del worker
        asyncio.get_running_loop().call_soon(callback)
        raise kind("the work")

    engine = Engine()
    with pytest.raises(Error, match=r"the work.*safe in the journal on disk"):
        engine.submit(work).result(60)
    engine.submit(_nothing).result(60)
    assert engine.problem is None
    engine.stop()
    assert "the logging engine: a callback failed" in capfd.readouterr().err


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
