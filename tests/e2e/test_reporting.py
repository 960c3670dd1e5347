"""Whatever a program has made of stderr, warnings and logging, its runs are sent and end."""

from __future__ import annotations

import pytest

from tests.client.conftest import Ask
from tests.e2e.conftest import Script, end

_LOGS = """
import asyncwb
run = asyncwb.init()
run.log({"i": -1}, step=-1)  # which is warned of
for i in range(100):
    run.log({"i": i, "x": float("nan") if i % 7 else float("inf"), "big": 10**40})
assert run.flush(timeout=30)
run.finish()
"""
_STRANGE = {
    "a full disk": "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
    "closed": "import sys; sys.stderr.close()",
    "None": "import sys; sys.stdout = sys.stderr = None",
    "raises": """
import sys
class Raises:
    def write(self, text): raise RuntimeError("no")
    def flush(self): pass
sys.stderr = Raises()
""",
    "a pipe that nobody reads": """
import os
reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True: os.write(writer, bytes(4096))
except BlockingIOError: pass
os.set_blocking(writer, True)
os.dup2(writer, 2)
""",
    "warnings are errors": "import warnings; warnings.simplefilter('error')",
    "a logging handler that raises": """
import logging
class Raises(logging.Handler):
    def emit(self, record): raise RuntimeError("no")
logging.basicConfig(handlers=[Raises()], level=0)
from asyncwb.client.live.config import Config
config = Config({"a": 1}, lambda new, gone: None)
config.update_locked({"b": 2}, "sweep")
config.update({"b": 3})  # which is logged
""",
}


@pytest.mark.parametrize("strange", _STRANGE)
def test_a_run_is_sent_whoever_can_be_told(script: Script, ask: Ask, strange: str) -> None:
    more = {"no_such_setting": 1} if "logging" in strange else {}  # which is logged
    process = script(_STRANGE[strange] + _LOGS, **more)
    _, err = end(process, None)
    assert process.returncode == 0, err
    info = ask("runs/{entity}/p/r")
    assert (info["rows"], info["lost"], info["state"]) == (100, 1, "finished")
