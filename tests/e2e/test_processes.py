"""How a process ends, forks and spawns: what it logged is there, and its run says how it ended."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncwb.client.sync.sync import sync
from asyncwb.settings import Settings
from tests.client.conftest import Ask
from tests.conftest import stop_embedded
from tests.e2e.conftest import Script, end
from tests.fix_server import ServerHandle

Rows = Callable[[str], list[dict[str, Any]]]

_LOGS = """
import asyncwb, sys
run = asyncwb.init()
for i in range(100):
    run.log({"i": i})
"""


@pytest.mark.parametrize(
    ("ending", "process_code", "run_code"),
    [
        ("", 0, 0),
        ("raise ValueError('boom')", 1, 1),
        ("sys.exit(3)", 3, 3),
        ("sys.exit('a message')", 1, 1),
        ("sys.exit()", 0, 0),
        ("raise SystemExit(3)", 3, 3),
        ("exit(4)", 4, 4),
        ("from sys import exit as leave\nleave(4)", 4, 4),
        ("try: sys.exit(3)\nexcept SystemExit as e: assert e.code == 3", 0, 0),
        ("import threading\nt = threading.Thread(target=sys.exit, args=(3,))\nt.start()", 0, 0),
        ("sys.excepthook = lambda *_: None\nraise ValueError('hidden')", 1, 1),
        ("sys.excepthook = lambda *_: None\nraise KeyboardInterrupt", -2, 255),
        ("async def f(): raise SystemExit(5)\nimport asyncio\nasyncio.run(f())", 5, 5),
        ("run.finish(7)", 0, 7),
        ("import asyncio\nasync def f(): sys.exit(5)\nasyncio.run(f())", 5, 5),
    ],
    ids=[
        *("end", "exception", "exit 3", "exit text", "exit", "SystemExit", "exit()", "from sys"),
        *("caught", "a thread's", "own hook", "own hook interrupted", "SystemExit in a loop"),
        *("finish 7", "in a loop"),
    ],
)
def test_a_run_that_nobody_finishes_ends_with_its_process(
    script: Script, ask: Ask, ending: str, process_code: int, run_code: int
) -> None:
    _, err = end(script(_LOGS + ending), process_code)
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("failed" if run_code else "finished", run_code)
    assert info["rows"] == 100
    assert ("boom" in err) == ("boom" in ending)
    assert err.count("Traceback") == ("boom" in ending)


def test_a_run_that_cannot_be_finished_keeps_no_other_from_it(script: Script, ask: Ask) -> None:
    program = """
import asyncwb
first, second = (asyncwb.init(id=id) for id in ("bad", "good"))
def fails(**_):
    raise RuntimeError("the disk has gone")
first._session.release = fails  # stands for whatever may go wrong on the engine's side
for run in (first, second):
    run.log({"x": 1})
"""
    _, err = end(script(program))
    info = ask("runs/{entity}/p/good")
    assert (info["rows"], info["state"], info["exit_code"]) == (1, "finished", 0), err
    assert "run good finished: 1 row, all acknowledged" in err
    assert "run bad could not be finished as it should be (RuntimeError: the disk has gone)" in err
    assert "Traceback" not in err


_LOOPS = {
    "asyncio": "import asyncio\nasyncio.run(main())",
    "uvloop": "import uvloop\nuvloop.run(main())",
    "trio": "import trio\ntrio.run(main)",
}


@pytest.mark.parametrize("loop", _LOOPS)
def test_a_finish_that_was_cancelled_is_waited_for_at_the_end(
    script: Script, ask: Ask, loop: str
) -> None:
    code = """
import anyio, asyncwb
async def main():
    run = await asyncwb.init_async()
    for i in range(100):
        await run.log({"i": i})
    with anyio.move_on_after(0):
        await run.finish(7)
"""
    _, err = end(script(code + _LOOPS[loop]))
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["state"], info["exit_code"]) == (100, "failed", 7)
    assert err.count("finished: 100 rows, all acknowledged.") == 1


@pytest.mark.parametrize(("ending", "exit_code"), [("", 0), ("raise ValueError('boom')", 1)])
@pytest.mark.parametrize("loop", _LOOPS)
def test_a_run_that_a_loop_left_open_is_finished_at_the_end(
    script: Script, ask: Ask, loop: str, ending: str, exit_code: int
) -> None:
    code = f"""
import asyncwb.aio as asyncwb
async def main():
    await asyncwb.init()
    for i in range(100):
        await asyncwb.log({{"i": i}})
    {ending}
"""
    _, err = end(script(code + _LOOPS[loop]), exit_code)
    info = ask("runs/{entity}/p/r")
    state = "failed" if exit_code else "finished"
    assert (info["rows"], info["state"], info["exit_code"]) == (100, state, exit_code)
    assert "100 rows, all acknowledged." in err


def test_ctrl_c_while_the_engine_imports_ends_the_program(script: Script, ask: Ask) -> None:
    # The lock is as CPython leaves it where the signal comes while a thread waits for it.
    code = """
import _imp, asyncwb
with asyncwb.init() as run:
    run.log({"i": 0})
    _imp.acquire_lock()
    raise KeyboardInterrupt
"""
    _, err = end(script(code), -signal.SIGINT)
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["state"]) == (1, "failed")
    assert "1 row, all acknowledged." in err


@pytest.mark.parametrize("loop", _LOOPS)
def test_ctrl_c_in_a_block_ends_its_run_and_the_program(
    script: Script, ask: Ask, loop: str
) -> None:
    code = """
import sys, anyio, asyncwb
async def main():
    async with asyncwb.init_async() as run:
        await run.log({"i": 0})
        print("ready", flush=True)
        await anyio.sleep_forever()
"""
    process = script(code + _LOOPS[loop])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = end(process, -signal.SIGINT)
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["state"]) == (1, "failed")
    assert "1 row, all acknowledged." in err


def test_ctrl_c_is_exit_code_255(script: Script, ask: Ask) -> None:
    process = script(_LOGS + "print('ready', flush=True)\nwhile True: run.log({'i': 0})")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    end(process, -signal.SIGINT)
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"]) == ("failed", 255)
    assert info["rows"] >= 100


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_a_keyboard_interrupt_ends_the_process_as_always(script: Script, mode: str) -> None:
    _, err = end(script(_LOGS + "raise KeyboardInterrupt", mode=mode), -signal.SIGINT)
    assert err.count("Traceback") == 1
    caught = "try: raise KeyboardInterrupt\nexcept KeyboardInterrupt: "
    end(script(_LOGS + caught + "sys.exit(130)", mode=mode, run_id="other"), 130)


# Each logs 20 rows more once the program has ended, as far as asyncwb could tell.
_LATE = {
    "an executor's jobs": """
import concurrent.futures.thread, threading
open_gate = threading.Event()
threading._register_atexit(open_gate.set)
run = asyncwb.init()
jobs = concurrent.futures.ThreadPoolExecutor(2)
for i in range(20):
    jobs.submit(lambda i=i: open_gate.wait() and run.log({"late": i}))
""",
    "a thread": """
import threading
def late():
    threading.main_thread().join()
    for i in range(20):
        run.log({"late": i})
run = asyncwb.init()
threading.Thread(target=late).start()
""",
    "atexit": """
import atexit
run = asyncwb.init()
@atexit.register
def late():
    for i in range(20):
        run.log({"late": i})
""",
    "a thread of a child process": """
import multiprocessing, threading
def late():
    threading.main_thread().join()
    for i in range(20):
        run.log({"late": i})
def child():
    run.log({"early": 1})
    threading.Thread(target=late).start()
run = asyncwb.init()
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
""",
}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("late", _LATE)
def test_what_the_program_logs_while_it_ends_is_kept(
    script: Script, server: ServerHandle, ask: Ask, rows_of: Rows, late: str, loop: str
) -> None:
    code = "import asyncwb, sys\n" + ("sys.modules['uvloop'] = None\n" * (loop == "asyncio"))
    where = server.url.replace("127.0.0.1", "localhost")  # a name, which a thread has to resolve
    _, err = end(script(code + _LATE[late] + "sys.exit(3)", base_url=where), 3)
    found = [row["late"] for row in rows_of("r") if "late" in row]
    assert sorted(found) == list(range(20)), err
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["exit_code"], info["lost"]) == ("failed", 3, 0)
    assert "Error" not in err


def test_what_os_exit_leaves_behind_is_synced(
    script: Script, ask: Ask, server: ServerHandle, data_folder: Path
) -> None:
    end(script(_LOGS + "import os; os._exit(9)"), 9)
    settings = Settings(base_url=server.url, api_key=server.api_key)
    runs = [data_folder / "runs"]
    results = asyncio.run(sync(runs, settings=settings, jobs=2, report=lambda _: None))
    assert [result.error for result in results] == [None]
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["state"]) == (100, 0, "crashed")


_FORKS = """
import asyncwb, os, sys, multiprocessing
run = asyncwb.init()

def child(n):
    assert "i" not in dict(run.summary)
    for i in range(50):
        run.log({"child": n, "i": i})
    assert run.summary["i"] == 49
    assert run.status().accepted == 50

if __name__ == "__main__":
    for i in range(100):
        run.log({"parent": i})
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(n,)) for n in range(3)]
    for c in children:
        c.start()
    for i in range(100, 200):
        run.log({"parent": i})
    for c in children:
        c.join()
        assert c.exitcode == 0, c.exitcode
    run.log({"parent": 200})
"""


@pytest.mark.parametrize(
    ("ending", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("raise ValueError('boom')", 1)]
)
def test_a_run_of_a_child_process_ends_with_its_code(
    script: Script, ask: Ask, ending: str, code: int
) -> None:
    program = f"""
import asyncwb, multiprocessing
def child():
    run = asyncwb.init()
    run.log({{"i": 1}})
    {ending}
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == {code}
"""
    end(script(program), 0)
    assert ask("runs/{entity}/p/r")["exit_code"] == code


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_logs_as_another_writer(script: Script, ask: Ask, rows_of: Rows) -> None:
    _, err = end(script(_FORKS))
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"]) == (201 + 150, 0), err
    assert (info["state"], info["exit_code"]) == ("finished", 0)
    found = rows_of("r")
    assert [row["parent"] for row in found if "parent" in row] == list(range(201))


_SPAWNS = """
import asyncwb, multiprocessing

def child(n):
    with asyncwb.init(id=f"child{n}") as run:
        for i in range(50):
            run.log({"i": i})

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with asyncwb.init() as run:
        children = [context.Process(target=child, args=(n,)) for n in range(2)]
        for c in children:
            c.start()
        run.log({"parent": 1})
        for c in children:
            c.join()
            assert c.exitcode == 0, c.exitcode
"""


def test_spawned_children_have_runs_of_their_own(script: Script, ask: Ask) -> None:
    end(script(_SPAWNS))
    for name, rows in (("r", 1), ("child0", 50), ("child1", 50)):
        info = ask(f"runs/{{entity}}/p/{name}")
        assert (info["rows"], info["state"]) == (rows, "finished")


def test_without_an_address_a_server_is_started(
    script: Script, data_folder: Path, server: ServerHandle, request: pytest.FixtureRequest
) -> None:
    # One that was killed left its address, where another user's server listens by now.
    left = data_folder / "server"
    left.mkdir(parents=True)
    (left / "server.json").write_bytes((server.data / "server.json").read_bytes())
    (left / "api_key").write_text("k" * 40)
    (left / "server.lock").touch()
    request.addfinalizer(lambda: stop_embedded(data_folder))
    code = """
import asyncwb
with asyncwb.init() as run:
    for i in range(100):
        run.log({"i": i})
api = asyncwb.Api()
print(len(list(api.run(run.path).scan_history())), run.url)
"""
    out, err = end(script(code, base_url="embedded", api_key="", server_idle_timeout=60))
    assert out.startswith("100 http://127.0.0.1:"), err
    assert stop_embedded(data_folder)


_CHANGED_BEFORE_A_FORK = """
import os, asyncwb
run = asyncwb.init(config={"lr": 1, "seed": 7}, name="first", resume="never")
run.config.update({"lr": 2}, allow_val_change=True)
run.name, run.tags = "second", ["late"]
run.flush()
early, late = os.pipe()
if (pid := os.fork()) == 0:
    os.read(early, 1)
    run.log({"b": 1})
    run.finish()
    os._exit(0)
run.config.update({"seed": 8}, allow_val_change=True)
run.log({"a": 1})
run.flush()
os.write(late, b"x")
os.waitpid(pid, 0)
run.finish()
about = asyncwb.Api().run(run.path)
print(about.config, about.name, about.tags, about.summary["b"])
"""


def test_a_forked_child_changes_nothing_of_what_the_run_is(script: Script) -> None:
    out, err = end(script(_CHANGED_BEFORE_A_FORK))
    assert out == "{'lr': 2, 'seed': 8} second ['late'] 1\n", err


_GOES_ON = """
import sys, time, asyncwb
run = asyncwb.init(config={"lr": 1, "seed": 7})
run.config.update({"lr": 2}, allow_val_change=True)
run.name, run.tags = "renamed", ["a"]
run.define_metric("i", summary="max")
run.summary["by hand"] = "yes"
first = run._session.journal.segments[0]
i = 0
while first in run._session.journal.segments:  # until the server has it and it is let go of
    run.log({"i": i})
    i += 1
    if i % 1000 == 0:
        run.flush()
run.flush()
print("ready", flush=True)
sys.stdin.readline()
run.log({"i": i})
run.finish()
about = asyncwb.Api().run(run.path)
print(about.config, about.name, about.tags, about.summary["by hand"], about.summary["i"])
"""


def test_a_server_whose_folder_was_deleted_is_told_again_what_the_run_is(
    script: Script, data_folder: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: stop_embedded(data_folder))
    given = {"base_url": "embedded", "api_key": "", "server_idle_timeout": 60}
    process = script(_GOES_ON, **given)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    assert stop_embedded(data_folder)
    shutil.rmtree(data_folder / "server")
    process.stdin.write("\n")
    process.stdin.flush()
    out, err = end(process)
    assert out.startswith("{'lr': 2, 'seed': 7} renamed ['a'] yes {'max': "), (out, err)
    assert stop_embedded(data_folder)


_IMPORTS = """
import sys, threading
import asyncwb.engine.worker
asyncwb.engine.worker.load()  # what the engine's thread imports before a fork may go on

late = []

class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            late.append(name)

sys.meta_path.insert(0, Finder())
with asyncwb.init() as run:
    for i in range(100):
        run.log({"i": i, "text": "x"})
    assert run.flush() and run.flush(durable=True)
assert not late, late
"""


_WITHOUT_STREAMS = """
import os
os.closerange(0, 3)
import asyncwb
run = asyncwb.init()
for i in range(100):
    run.log({"i": i})
    os.write(2, b"what a library prints")
run.finish()
"""


def test_what_is_printed_without_streams_stays_out_of_the_journal(
    script: Script, rows_of: Rows
) -> None:
    end(script(_WITHOUT_STREAMS, finish_timeout=5))
    assert [row["i"] for row in rows_of("r")] == [*range(100)]


_ENDS = """
import os, sys
import asyncwb
run = asyncwb.init()
run.log({"i": 0})
assert run.flush()  # the engine has spoken to the server
child = os.fork()
if not child:
    %s
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), flush=True)
run.finish()
"""


@pytest.mark.parametrize(
    ("ending", "code", "rows"),
    [
        ("sys.exit(3)", 3, 1),
        ("run.finish(); sys.exit(4)", 4, 1),
        ("asyncwb.log({'i': 1}); sys.exit(5)", 5, 2),
    ],
    ids=["silent", "finishes", "logs by the module"],
)
def test_a_forked_child_ends_as_it_says(
    script: Script, ask: Ask, ending: str, code: int, rows: int
) -> None:
    out, err = end(script(_ENDS % ending), 0)
    assert out.split()[-1] == str(code), err
    assert "Traceback" not in err
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["rows"]) == ("finished", rows)


_FORKS_IN_A_THREAD = """
import os, sys, threading
import asyncwb
run = asyncwb.init()
run.log({"i": 0})

def late():
    threading.main_thread().join()
    run.log({"late": 1})

def work():
    child = os.fork()
    if not child:
        for i in range(50):
            run.log({"child": i})
        threading.Thread(target=late).start()
        %s
    else:
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("ending", ["return", "sys.exit(0)", "raise ValueError('boom')"])
def test_a_child_that_a_thread_forked_ends_with_it(
    script: Script, ask: Ask, rows_of: Rows, ending: str
) -> None:
    out, err = end(script(_FORKS_IN_A_THREAD % ending), 0)
    assert out == "0\n", err
    info = ask("runs/{entity}/p/r")
    assert (info["state"], info["rows"], info["lost"]) == ("finished", 52, 0)
    assert [row["child"] for row in rows_of("r") if "child" in row] == list(range(50))


def test_the_engine_imports_nothing_that_a_fork_could_fall_into(script: Script) -> None:
    end(script(_IMPORTS))
