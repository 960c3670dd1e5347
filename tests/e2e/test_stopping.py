"""A stop that somebody asks for on the page reaches the program that logs."""

from __future__ import annotations

import subprocess
import time

from aiohttp import web

from asyncwb.server import filestream
from asyncwb.server.state import STATE
from asyncwb.server.store.records import RunPath
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
_LOOPS = """
import asyncio, asyncwb.aio as asyncwb
async def main():
    run = await asyncwb.init()
    await run.log({"i": 0})
    await run.flush()
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)
asyncio.run(main())
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


def ask_to_stop(server: ServerHandle, process: subprocess.Popen[str]) -> None:
    """Wait until the program logs, and stop its run."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    async def stop(app: web.Application) -> bool:
        state = app[STATE]
        admin = await state.users.first()
        assert admin is not None
        found = await state.runs.find(RunPath(admin.name, "p", "r"))
        assert found is not None
        return await filestream.request_stop(state, found[0])

    assert server.call(stop)


def test_a_sleeping_program_is_interrupted_once(
    script: Script, ask: Ask, server: ServerHandle
) -> None:
    process = script(_SLEEPS, heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    out, err = end(process, None)
    assert out == "interrupted\n"
    assert err.count("run r is to stop: somebody asked for it on its page") == 1
    assert process.returncode != 0
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("killed", 255)


def test_an_event_loop_is_cancelled(script: Script, ask: Ask, server: ServerHandle) -> None:
    process = script(_LOOPS, heartbeat_seconds=0.1)
    ask_to_stop(server, process)
    out, _ = end(process, None)
    assert out == "cancelled\n"
    assert ask("runs/{entity}/p/r")["state"] == "killed"


def test_a_program_that_will_not_be_stopped_is_told(
    script: Script, ask: Ask, server: ServerHandle
) -> None:
    process = script(_GOES_ON, heartbeat_seconds=0.1, stop_on_request="false")
    ask_to_stop(server, process)
    assert process.stderr is not None
    deadline = time.monotonic() + 20
    said = ""
    while "It goes on: stop_on_request is off." not in said:
        assert time.monotonic() < deadline
        said += process.stderr.readline()
    assert process.poll() is None
    end(process)
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("killed", 0)
