"""A long history over a connection that is cut: every row comes, once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import numpy as np
import pytest

import asyncwb
from asyncwb.client.query.rows.download import Cutter
from asyncwb.errors import CommError
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Column, Table
from tests.client.query.test_api import ingest
from tests.fix_server import ServerHandle
from tests.server.ingest_client import rows, start_event

ROWS = 400_000


class CuttingRelay:
    """Passes connections on to a server; `cut` says after how many bytes each next one breaks."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.cut: list[int] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for pump in (self._pump_up, self._pump_down):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _pump_up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)

    def _pump_down(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with closing(client), closing(server), suppress(OSError):
            while data := server.recv(65536):
                passed += len(data)
                if self.cut and passed > self.cut[0]:
                    self.cut.pop(0)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)

    def close(self) -> None:
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def relay(server: ServerHandle) -> Iterator[CuttingRelay]:
    noise = np.random.default_rng(0)
    with ExitStack() as stack:
        for at in range(0, ROWS, 50_000):
            some = Column("noise", "f", noise.random(50_000))
            table = Table.from_columns(50_000, [*rows(at, 50_000).columns, some])
            begin = [(0, start_event())] if at == 0 else []
            ingest(server, "r1", frames.encode(at + (at > 0), table, begin))
        relay = CuttingRelay(server.url)
        stack.callback(relay.close)
        yield relay


def test_a_cut_costs_no_row_and_repeats_none(server: ServerHandle, relay: CuttingRelay) -> None:
    run = asyncwb.Api({"base_url": relay.url}, api_key=server.api_key).run("p/r1")
    relay.cut = [1_000_000, 1_000_000]
    values = [row["loss"] for row in run.scan_history(keys=["loss", "noise"])]
    assert values == list(range(ROWS))
    assert relay.cut == []

    relay.cut = [1_000_000]
    frame = run.history(samples=10**7)
    assert frame["_step"].tolist() == list(range(ROWS))
    assert relay.cut == []


def test_a_server_that_never_gets_far_is_an_error(
    server: ServerHandle, relay: CuttingRelay
) -> None:
    run = asyncwb.Api({"base_url": relay.url}, api_key=server.api_key).run("p/r1")
    relay.cut = [2_000] * 9
    with pytest.raises(CommError, match="no answer"):
        list(run.scan_history())


def test_a_reader_who_leaves_early_leaves_nothing_open(
    server: ServerHandle, relay: CuttingRelay
) -> None:
    run = asyncwb.Api({"base_url": relay.url}, api_key=server.api_key).run("p/r1")
    for _ in range(5):
        for row in run.scan_history():
            assert row["_step"] == 0
            break
    assert sum(1 for _ in run.scan_history(min_step=ROWS - 5)) == 5


def test_frames_are_cut_wherever_the_network_cut_them() -> None:
    encoded = [frames.encode(n, rows(n, 3)) for n in range(4)]
    stream = b"".join(len(frame).to_bytes(4, "little") + frame for frame in encoded)
    for size in (1, 5, 97, len(stream)):
        cutter = Cutter()
        for at in range(0, len(stream), size):
            cutter.feed(stream[at : at + size])
        cutter.end()
        assert cutter.take() == encoded
    cutter.feed(stream[:-1])
    with pytest.raises(CommError, match="cut short"):
        cutter.end()
    with pytest.raises(CommError, match="cannot be"):
        Cutter().feed(b"\xff\xff\xff\xff")
