"""Fixtures by theme: each `fix_*` module holds those of one subject.

What stands here holds for every test: it has a data folder of its own and nobody else's settings,
and it leaves nothing running.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

_THEMES = (
    *("fix_clock", "fix_disk", "fix_faults", "fix_people", "fix_postgres", "fix_server"),
    *("fix_wandb", "fix_proxy", "fix_web"),
)
pytest_plugins = [f"tests.{name}" for name in _THEMES if find_spec(f"tests.{name}")]

_STOP_WITHIN = 60.0
"""seconds that a forgotten server may take to stop"""

# Of a busy machine neither says anything about what is tested. (A test that suppresses another
# check names this one again: its list takes the place of this one.)
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# Each program that imports aiohttp reads the system's certificate authorities, and nobody here
# speaks TLS with the world. (Tests of TLS name an authority of their own.)
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started by `nohup`, or with `&` in a script: programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, which is what the engine and the server run on."""
    return "asyncio"


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give every test a data folder of its own; fail one that leaves its server running."""
    folder = tmp_path / "data"
    for name in list(os.environ):
        ours = name.startswith(("ASYNCWB_", "WANDB_"))
        if ours and not name.startswith(("ASYNCWB_TEST_", "ASYNCWB_BENCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASYNCWB_DATA_DIR", str(folder))
    monkeypatch.setenv("ASYNCWB_CONFIG_DIR", str(tmp_path / "config"))
    yield folder
    _stop_engine()
    if stop_embedded(folder):
        pytest.fail(f"The embedded server in {folder} was left running (it is stopped now).")


def _stop_engine() -> None:
    """End the engine's thread where there is one; runs that are still open are forgotten."""
    thread = sys.modules.get("asyncwb.engine.thread")
    if thread is None or thread.Engine._current is None:
        return
    thread.Engine._current.stop()
    thread.Engine._current = None
    current = sys.modules.get("asyncwb.client.live.current")
    if current is not None:
        current.forget_all()


def stop_embedded(folder: Path) -> bool:
    """Stop the embedded server of a data folder; tell whether there was one."""
    announced = folder / "server" / "server.json"
    try:
        os.kill(json.loads(announced.read_text())["pid"], signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        return False
    deadline = time.monotonic() + _STOP_WITHIN
    while announced.exists():
        assert time.monotonic() < deadline, "the embedded server does not stop"
        time.sleep(0.02)
    return True
