"""`limit`: the same line with none of the product around it, as the yardstick of what is possible.

    caller's thread   pack time, step and values into a preallocated, memory-mapped segment
    second thread     take every committed row, up to a batch: rows -> columns -> byte shuffle ->
                      zstd level 1 -> POST; wait for the acknowledgement; trim
    server process    append, fdatasync, acknowledge (`limit_server`)

It knows no steps, no types, no second schema, no retry, no crash: a row is float64[2 + metrics] and
its key tuple is checked once a call, which is the least that a `log(dict)` can do. Segments that
were acknowledged are zeroed and used again, so their pages stay mapped, and one segment is always
ready ahead of the caller, so `log` neither faults a page in nor makes a system call.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import sys
import threading
from collections import deque
from pathlib import Path
from time import time
from typing import ClassVar

import aiohttp
import numpy as np
import uvloop
import zstandard

from bench.rivals import limit_server
from bench.rivals.base import AsyncLog, Log, Rival, Row, awaitable
from bench.rivals.process import ServerProcess

_LEVEL = 1
#: Rows a POST, and from this many metrics on the smaller one: 393 KiB and 2 MiB before zstd.
_NARROW_BATCH, _WIDE_BATCH, _WIDE = 4096, 256, 500
_BATCHES_A_SEGMENT = 16
#: How long the second thread sleeps when less than a batch is waiting.
_LINGER = 0.002


class Segment:
    """A preallocated file mapped into memory, a fixed number of float64 rows long."""

    def __init__(self, path: Path, rows: int, width: int) -> None:
        size = rows * width * 8
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(descriptor, 0, size)
        self.map = mmap.mmap(descriptor, size)
        os.close(descriptor)
        self.values = np.frombuffer(self.map, dtype=np.float64).reshape(rows, width)
        self.clear()

    def clear(self) -> None:
        """Zero every row (a row without a time is not committed); this maps every page, too."""
        self.values[:] = 0.0


class Journal:
    """The caller's end: rows go into the current segment, full segments into a queue.

    The caller moves `_offset` and `committed`; the second thread only reads `committed`, takes from
    `filled` and puts into `ready`. Deques are the only thing that both of them change.
    """

    def __init__(self, folder: Path, keys: tuple[str, ...]) -> None:
        width = 2 + len(keys)
        self.batch = _NARROW_BATCH if len(keys) < _WIDE else _WIDE_BATCH
        self.rows_a_segment = self.batch * _BATCHES_A_SEGMENT
        self.row_size = width * 8
        self.committed = 0
        self.filled: deque[Segment] = deque()
        self.ready: deque[Segment] = deque()
        self._folder = folder
        self._keys = keys
        self._pack_into = struct.Struct(f"<{width}d").pack_into
        self._end = self.rows_a_segment * self.row_size
        self._made = 0
        self._width = width
        self.grow()
        self._turn()

    def log(self, row: Row) -> None:
        """Pack one row: 8 bytes a value, no system call unless the second thread fell behind."""
        if tuple(row) != self._keys:
            raise ValueError("limit knows one schema")
        if self._offset == self._end:
            self._turn()
        step = self.committed
        self._pack_into(self._map, self._offset, time(), step, *row.values())
        self._offset += self.row_size
        self.committed = step + 1

    def grow(self) -> None:
        """Make one segment more, ready to be written."""
        path = self._folder / f"{self._made:06d}.seg"
        self._made += 1
        self.ready.append(Segment(path, self.rows_a_segment, self._width))

    def _turn(self) -> None:
        if not self.ready:
            self.grow()
        segment = self.ready.popleft()
        self.filled.append(segment)
        self._map = segment.map
        self._offset = 0


class Uplink:
    """The second thread: drains the journal batch by batch until it is told to finish."""

    def __init__(self, journal: Journal, url: str) -> None:
        self._journal = journal
        self._url = url
        self._acknowledged = 0
        self._finishing = threading.Event()
        self._compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self._thread = threading.Thread(target=lambda: uvloop.run(self._drain()))
        self._thread.start()

    def finish(self) -> None:
        """Wait for the acknowledgement of the last row."""
        self._finishing.set()
        self._thread.join()

    async def _drain(self) -> None:
        async with aiohttp.ClientSession() as session:
            while not (self._finishing.is_set() and self._waiting() == 0):
                if self._waiting() < self._journal.batch and not self._finishing.is_set():
                    await asyncio.sleep(_LINGER)
                    continue
                await self._send(session)

    def _waiting(self) -> int:
        return self._journal.committed - self._acknowledged

    async def _send(self, session: aiohttp.ClientSession) -> None:
        journal = self._journal
        count = min(self._waiting(), journal.batch)
        first = self._acknowledged % journal.rows_a_segment
        count = min(count, journal.rows_a_segment - first)
        rows = journal.filled[0].values[first : first + count]
        body = limit_server.HEADER.pack(*rows.shape) + self._compress(shuffled_columns(rows))
        async with session.post(self._url, data=body) as answer:
            answer.raise_for_status()
        self._acknowledged += count
        if first + count == journal.rows_a_segment:
            self._trim()
        if not journal.ready:
            journal.grow()

    def _trim(self) -> None:
        segment = self._journal.filled.popleft()
        segment.clear()
        self._journal.ready.append(segment)


class LimitRival(Rival):
    """The bare line against its bare server on the same machine."""

    package: ClassVar[str] = "aiohttp"

    def prepare(self) -> None:
        """Start the server in its own process."""
        self._received = self.folder / "received"
        announcement = self.folder / "limit.json"
        self._server = ServerProcess(
            [sys.executable, "-m", limit_server.__name__, str(self._received), str(announcement)],
            announcement,
            self.folder / "limit.log",
        )
        self._url = self._server.start()["url"]

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()

    def version(self) -> str:
        """It has none of its own: the version of the HTTP library says most about it."""
        return f"aiohttp {super().version()}"

    def open(self) -> Log:
        """Map the journal and start the second thread."""
        journal = Journal(self.folder, self.keys)
        self._uplink = Uplink(journal, self._url)
        return journal.log

    async def open_runs(self, count: int) -> list[AsyncLog]:
        """Share one journal among `count` callers: the bare line knows no runs."""
        return [awaitable(self.open())] * count

    def finish(self) -> None:
        """Wait until the server has acknowledged the last row."""
        self._uplink.finish()

    def stored(self) -> int:
        """Decompress what the server wrote and count the rows."""
        return limit_server.count_rows(self._received)


def shuffled_columns(rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> bytes:
    """Return float64[n, width] as columns, each as its first bytes, its second bytes and so on."""
    n, width = rows.shape
    return rows.view(np.uint8).reshape(n, width, 8).transpose(1, 2, 0).tobytes()
