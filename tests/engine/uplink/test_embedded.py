"""The server of a data folder is told nothing before it has proved to be that."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from asyncwb.cli.native import ask
from asyncwb.client.sync.local_server import announced
from asyncwb.engine.uplink.embedded import Embedded
from asyncwb.engine.uplink.http import Http, NoAnswer
from asyncwb.errors import CommError
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def impostor(
    port: int,
    answer: Callable[[bytes], bytes] = lambda _: b"HTTP/1.1 200 OK\r\n\r\n",
    host: str = "127.0.0.1",
) -> AsyncIterator[list[bytes]]:
    """Listen on a port, and note all that is told there."""
    heard: list[bytes] = []
    ended: list[asyncio.Future[None]] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.get_running_loop().create_future()
        ended.append(gone)
        with contextlib.suppress(ConnectionError):  # what was answered need not be read
            while said := await reader.read(2**16):
                heard.append(said)
                writer.write(await asyncio.to_thread(answer, said))
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()
        gone.set_result(None)

    listening = await asyncio.start_server(listen, host, port)
    async with listening:
        yield heard
        await asyncio.gather(*ended)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http(20.0)
    yield made
    await made.close()


async def test_an_announcement_is_believed_only_while_the_lock_is_held(
    server: ServerHandle, tmp_path: Path, http: Http
) -> None:
    found = await Embedded(server.data, http, idle_timeout=1.0).find()
    assert found is not None
    assert (found.url, found.key) == (server.url, server.api_key)
    left = tmp_path / "left"
    shutil.copytree(server.data, left)
    assert await Embedded(left, http, idle_timeout=1.0).find() is None
    with (left / "server.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert await Embedded(left, http, idle_timeout=1.0).find() is not None
        (left / "secret").write_text("another folder's")  # whose server listens there by now
        assert await Embedded(left, http, idle_timeout=1.0).find() is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_who_takes_the_port_of_a_server_that_died_is_told_nothing(
    start_server: Callable[..., ServerHandle], http: Http, host: str
) -> None:
    server = start_server(host=host)
    address = await Embedded(server.data, http, idle_timeout=1.0).find()
    assert address is not None
    kept = {n: (server.data / n).read_bytes() for n in ("server.json", "api_key", "secret")}
    secrets = [kept["api_key"].strip(), kept["secret"].strip(), b"the rows"]
    assert (
        await http.request("GET", f"{address.url}/api/v1/viewer", key=address.key)
    ).status == 200
    server.stop()
    for name, data in kept.items():
        (server.data / name).write_bytes(data)
    async with impostor(urlsplit(address.url).port or 0, host=host) as heard:
        with pytest.raises(NoAnswer, match="not the server of this data folder"):
            await http.request("POST", address.url, key=address.key, data=b"the rows")
        local = announced(server.data)
        with pytest.raises(CommError, match="not the server of this data folder"):
            await asyncio.to_thread(
                ask, local.url, "/api/v1/users", key=local.key, opener=local.opener
            )
    assert len(heard) == 2
    assert not any(secret in said for secret in secrets for said in heard)


async def test_a_question_that_is_passed_on_to_the_server_is_answered_in_vain(
    server: ServerHandle, start_server: Callable[..., ServerHandle], http: Http
) -> None:
    address = await Embedded(server.data, http, idle_timeout=1.0).find()
    assert address is not None
    server.stop()
    anew = start_server(data=server.data)

    def pass_on(said: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", urlsplit(anew.url).port or 0)) as there:
            there.sendall(said)
            return there.recv(2**16)

    assert anew.url != address.url
    async with impostor(urlsplit(address.url).port or 0, pass_on) as heard:
        with pytest.raises(NoAnswer, match="not the server of this data folder"):
            await http.request("POST", address.url, key=address.key, data=b"the rows")
    assert len(heard) == 1


def _program(folder: Path, code: str) -> tuple[str, Path]:
    """Make a program that stands for Python; returns it, and where it notes its starts."""
    program, starts = folder / "python", folder / "starts"
    program.write_text(f"#!/bin/sh\necho started >> {starts}\n{code}\n")
    program.chmod(0o755)
    return str(program), starts


async def test_those_who_wait_together_start_one_server_and_share_its_failure(
    tmp_path: Path, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, starts = _program(tmp_path, "echo no disk >&2; exit 1")
    monkeypatch.setattr(sys, "executable", program)
    embedded = Embedded(tmp_path / "data", http, idle_timeout=1.0)
    said = []

    async def search() -> None:
        with pytest.raises(CommError, match="could not be started: no disk") as caught:
            await embedded.find_or_start()
        said.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(search)
    assert len(said) == 5
    assert starts.read_text() == "started\n"
    await search()
    assert starts.read_text() == "started\n" * 2, "who asks later has another try"


async def test_a_server_that_somebody_started_and_did_not_wait_for_is_waited_for_by_the_next(
    tmp_path: Path, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    os.mkfifo(started)
    os.mkfifo(gate)
    program, starts = _program(tmp_path, f"echo up > {started}; read x < {gate}; exit 1")
    monkeypatch.setattr(sys, "executable", program)
    embedded = Embedded(tmp_path / "data", http, idle_timeout=1.0)
    async with anyio.create_task_group() as group:
        group.start_soon(embedded.find_or_start)
        await anyio.to_thread.run_sync(started.read_text)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:

        async def search() -> None:
            with pytest.raises(CommError, match="could not be started"):
                await embedded.find_or_start()

        group.start_soon(search)
        await anyio.to_thread.run_sync(gate.write_text, "go\n")
    assert starts.read_text() == "started\n"
