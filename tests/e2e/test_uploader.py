"""The process that goes on sending when a run has ended and its server is away."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import Ask
from tests.e2e.conftest import Script, end
from tests.fix_faults import wait_for
from tests.fix_server import ServerHandle


@pytest.fixture(autouse=True)
def nobody_left(data_folder: Path) -> Iterator[None]:
    """No uploader outlives its test."""
    yield
    for pid in uploaders(data_folder):
        os.kill(pid, signal.SIGKILL)


def uploaders(data: Path) -> list[int]:
    """The uploaders of a data folder that are alive."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"asyncwb.client.sync.uploader" in words and any(
            word.startswith(str(data).encode()) for word in words
        ):
            found.append(int(process.name))
    return found


def runs_left(script: Script, server: ServerHandle, count: int) -> str:
    """Let runs end whose server is away; return what was said."""
    # The server is told in code, not in the environment: the uploader must know all the same.
    told = {"base_url": server.url, "api_key": server.api_key}
    code = f"""
import asyncwb
for n in range({count}):
    run = asyncwb.init("p", id=f"r{{n}}", settings={told!r})
    for i in range(100):
        run.log({{"i": i}})
    run.finish(timeout=0.05)
"""
    process = script(code, base_url="http://127.0.0.1:9", api_key="wrong", detach_uploader="true")
    return end(process)[1]


def test_one_uploader_delivers_all_once_the_server_is_there(
    script: Script, server: ServerHandle, ask: Ask, data_folder: Path
) -> None:
    object.__setattr__(server.config, "port", int(server.url.rpartition(":")[2]))
    server.stop()
    err = runs_left(script, server, 4)
    folders = [*(data_folder / "runs").iterdir()]
    assert len(folders) == 4
    assert all(f"asyncwb sync {folder}" in err for folder in folders)
    (pid,) = uploaders(data_folder)
    server.start()
    wait_for(lambda: not uploaders(data_folder), 60.0, f"process {pid} to end", every=0.02)
    for n in range(4):
        info = ask(f"runs/{{entity}}/p/r{n}")
        assert (info["rows"], info["state"]) == (100, "finished")
    assert not [*(data_folder / "runs").iterdir()]
    assert not [*(data_folder / "uploads").iterdir()], "it has tidied up"


def test_it_is_gone_when_its_folders_are(
    script: Script, server: ServerHandle, data_folder: Path
) -> None:
    server.stop()
    runs_left(script, server, 1)
    assert len(uploaders(data_folder)) == 1
    shutil.rmtree(data_folder)
    wait_for(lambda: not uploaders(data_folder), 60.0, "the uploader to end", every=0.02)
    assert not data_folder.exists()
