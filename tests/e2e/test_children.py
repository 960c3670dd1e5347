"""What children leave that did not end by themselves: their parent sends it, or says what waits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncwb.client.sync.sync import sync
from asyncwb.settings import Settings
from tests.client.conftest import Ask
from tests.e2e.conftest import Script, end
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Rows = Callable[[str], list[dict[str, Any]]]

_BEGIN = """
import asyncwb, multiprocessing, os, time
fork = multiprocessing.get_context("fork")
run = asyncwb.init()
def work(n):
    run.log({f"process {os.getpid()}": n})  # rows of one step are merged
def leaves():
    for n in range(200):
        work(n)
    os._exit(0)
def stays(ready):
    for n in range(200):
        work(n)
    ready.set()
    time.sleep(60)
"""
_ENDINGS = {
    "a pool that is left": """
with fork.Pool(2) as pool:
    pool.map(work, range(200))
run.finish()
""",
    "a pool that nobody ends": """
pool = fork.Pool(2)
pool.map(work, range(200))
""",
    "a pool that works when the run is finished": """
pool = fork.Pool(2)
pool.map(work, range(200))
run.finish()
""",
    "a pool that works on behind the end of the run": """
pool = fork.Pool(2)
pool.map(work, range(100))
run.finish()
pool.map(work, range(100, 200))
""",
    "a daemon": """
ready = fork.Event()
fork.Process(target=stays, args=(ready,), daemon=True).start()
ready.wait()
""",
    "os._exit, and a child of its own lives on": """
parent, lives = os.pipe()
def leaves_a_child():
    for n in range(200):
        work(n)
    if os.fork() == 0:
        os.close(lives)
        for standard in range(3):
            os.close(standard)
        os.read(parent, 1)  # until the first process ends
    os._exit(0)
child = fork.Process(target=leaves_a_child)
child.start()
child.join()
run.finish()
""",
    "os._exit, when the clock was set back": """
now = time.time
time.time = lambda: now() - 3600
child = fork.Process(target=leaves)
child.start()
child.join()
run.finish()
""",
    "os._exit": """
child = fork.Process(target=leaves)
child.start()
child.join()
run.finish()
""",
}


@pytest.mark.parametrize("ending", _ENDINGS)
@pytest.mark.parametrize("interval", [0.01, 60.0], ids=["some sent", "nothing sent"])
def test_what_children_leave_is_sent(
    script: Script, ask: Ask, rows_of: Rows, data_folder: Path, ending: str, interval: float
) -> None:
    _, err = end(script(_BEGIN + _ENDINGS[ending], flush_interval=interval))
    found = [row[key] for row in rows_of("r") for key in row if key.startswith("process")]
    assert sorted(found) == list(range(200)), err
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"]) == (200, 0), err
    assert (info["state"], info["exit_code"]) == ("finished", 0), err
    assert not [*(data_folder / "runs").iterdir()], err
    assert "left behind was sent" in err
    assert "asyncwb sync" not in err


_AWAY = """
pool = fork.Pool(2)
with pool:
    pool.map(work, range(200))
run.log({"parent": 1})
run.finish()
"""


def test_what_cannot_be_sent_is_said_to_the_row(
    script: Script, ask: Ask, server: ServerHandle, data_folder: Path
) -> None:
    _, err = end(script(_BEGIN + _AWAY, base_url="http://127.0.0.1:9", finish_timeout=0.2))
    assert "0 of 1 row has arrived" in err
    assert "finished" not in err
    found = re.search(
        r"of \d other writer\w* that .*, (\d+) rows are not .* asyncwb sync (.*)", err
    )
    assert found is not None, err
    assert found[1] == "200"
    own = re.search(r"row has arrived.*The data is in (\S+);", err)
    assert own is not None
    folders = [Path(path) for path in [own[1], *found[2].split()]]
    assert sorted(folders) == sorted((data_folder / "runs").iterdir())
    settings = Settings(base_url=server.url, api_key=server.api_key)
    results = asyncio.run(sync(folders, settings=settings, jobs=2, report=lambda _: None))
    assert [result.error for result in results] == [None] * len(folders)
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["state"]) == (201, 0, "finished")


_IN_THE_WAY = """
import pathlib
child = fork.Process(target=leaves)
child.start()
child.join()
mine = pathlib.Path(run.dir).parent
[other] = [path for path in mine.parent.iterdir() if path != mine]
(other / "journal" / "in the way").mkdir()
with asyncwb.init(id="beside") as beside:
    beside.log({"x": 1})
"""


@pytest.mark.parametrize("how", ["run.finish()", ""], ids=["finish", "exit"])
def test_a_folder_that_cannot_be_cleared_away_is_said(
    script: Script, ask: Ask, data_folder: Path, how: str
) -> None:
    _, err = end(script(_BEGIN + _IN_THE_WAY + how))
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["state"]) == (200, "finished"), err
    assert "Traceback" not in err
    [left] = (data_folder / "runs").iterdir()
    assert f"asyncwb sync {left}" in err
