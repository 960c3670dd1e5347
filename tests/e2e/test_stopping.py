"""A stop that somebody asks for on the page reaches the program that logs."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
from aiohttp import web

from asyncwb.server.http.state import STATE
from asyncwb.server.intake import file_stream
from asyncwb.server.store.records import RunKey
from tests.client.conftest import Ask
from tests.e2e.conftest import Script, end
from tests.fix_server import ServerHandle

_SLEEPS = """
import asyncwb, time
run = asyncwb.init()
run.log({"i": 0})
run.flush()
print("ready", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    for i in range(5):
        time.sleep(0.1)  # and not once more
    raise
"""
_WAITS = """
import asyncwb, socket
run = asyncwb.init()
run.log({"i": 0})
run.flush()
print("ready", flush=True)
one, other = socket.socketpair()
one.recv(1)
"""
_LOOPS = """
import asyncio, uvloop, asyncwb.aio as asyncwb
async def main():
    run = await asyncwb.init()
    await run.log({"i": 0})
    await run.flush()
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)
%s(main())
"""
_GOES_ON = """
import asyncwb, sys
run = asyncwb.init()
run.log({"i": 0})
run.flush()
print("ready", flush=True)
for line in sys.stdin:
    pass
"""

_BEFORE = {
    "": "",
    "ignored": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n",
}
"""what a program begins with; a shell starts it so with `&` in a script, and `nohup` does"""


def ask_to_stop(server: ServerHandle, process: subprocess.Popen[str]) -> None:
    """Wait until the program logs, and stop its run."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    async def stop(app: web.Application) -> bool:
        state = app[STATE]
        admin = await state.users.first()
        assert admin is not None
        found = await state.runs.find(RunKey(admin.name, "p", "r"))
        assert found is not None
        return await file_stream.request_stop(state, found[0])

    assert server.call(stop)


@pytest.mark.parametrize("before", _BEFORE)
def test_a_sleeping_program_is_interrupted_once(
    script: Script, ask: Ask, server: ServerHandle, before: str
) -> None:
    process = script(_BEFORE[before] + _SLEEPS, heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    out, err = end(process, None)
    assert out == "interrupted\n"
    assert err.count("run r is to stop: somebody asked for it on its page") == 1
    assert process.returncode != 0
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("killed", 255)


@pytest.mark.parametrize("before", _BEFORE)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_event_loop_is_cancelled(
    script: Script, ask: Ask, server: ServerHandle, before: str, loop: str
) -> None:
    process = script(_BEFORE[before] + _LOOPS % f"{loop}.run", heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    out, _ = end(process, -signal.SIGINT)
    assert out == "cancelled\n"
    assert ask("runs/{entity}/p/r")["state"] == "killed"


@pytest.mark.parametrize("before", _BEFORE)
def test_a_program_that_waits_for_a_socket_is_interrupted(
    script: Script, ask: Ask, server: ServerHandle, before: str
) -> None:
    process = script(_BEFORE[before] + _WAITS, heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    end(process, -signal.SIGINT)
    assert ask("runs/{entity}/p/r")["state"] == "killed"


def test_the_program_s_own_handler_is_called(
    script: Script, ask: Ask, server: ServerHandle
) -> None:
    handles = "import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n"
    process = script(handles + _WAITS, heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    end(process, 7)
    assert ask("runs/{entity}/p/r")["exit_code"] == 7


def test_what_cannot_be_interrupted_is_terminated(script: Script, server: ServerHandle) -> None:
    elsewhere = """
import threading
thread = threading.Thread(target=lambda: exec(code, globals()))
thread.start()
thread.join()
"""
    code = f"code = {_WAITS!r}\n{elsewhere}"
    process = script(_BEFORE["ignored"] + code, heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    _, err = end(process, -signal.SIGTERM)
    assert "The program ignores SIGINT: SIGTERM ends it. The data is in " in err


def test_nobody_else_interrupts_a_program_that_ignores_it(script: Script) -> None:
    ends = "import os, signal\nos.kill(os.getpid(), signal.SIGINT); signal.raise_signal(%s)"
    prepared = _BEFORE["ignored"] + "import asyncwb\nwith asyncwb.init():\n    "
    end(script(prepared + ends.replace("\n", "\n    ") % "signal.SIGURG"), 0)


def test_a_program_that_will_not_be_stopped_is_told(
    script: Script, ask: Ask, server: ServerHandle
) -> None:
    process = script(_GOES_ON, heartbeat_seconds=0.1, stop_on_request="false")
    ask_to_stop(server, process)
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    said = ""
    while "It goes on: stop_on_request is off." not in said:
        assert time.monotonic() < deadline
        said += process.stderr.readline()
    assert process.poll() is None
    end(process)
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("killed", 0)
