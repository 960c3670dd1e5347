"""A history on its way from the server: frames, a batch at a time, without holding all of it.

The engine's loop reads the socket and cuts the stream at frame borders, and does no more: the
frames are decoded by whoever asked for them, so that reading a long history never holds up the
uplinks of runs that log. Between two batches nobody reads, and the server waits.
"""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from typing import Final

from asyncwb.client.query.requests.query import Connection, Params, refusal
from asyncwb.engine.session import Worker
from asyncwb.engine.thread import Engine
from asyncwb.errors import CommError
from asyncwb.wire.paths import RunPath
from asyncwb.wire.rows import frames

_SIZE: Final = struct.Struct("<I")
_BATCH: Final = 8 * 2**20
"""decoded bytes in a batch: enough to keep both threads busy, little enough to hold two."""


class Download:
    """The frames of one history request. One reader; ask for the next batch after the last.

    State, touched by the engine's loop only: `_source`, `_busy`, `_closing`.
    """

    def __init__(
        self, connection: Connection, path: RunPath, params: Params, *, afresh: bool = False
    ) -> None:
        self._connection = connection
        self._path = path
        self._params = params
        self._afresh = afresh
        self._engine = Engine.current()
        self._source: AsyncGenerator[list[bytes], None] | None = None
        self._busy = False
        self._closing = False

    def next(self) -> Future[list[bytes]]:
        """Read the next frames; an empty list is the end.

        The future raises CommError, with status None where the connection was cut: what came
        before is sound.
        """
        return self._engine.submit(self._next)

    def close(self) -> None:
        """Give the connection back; never waits, and may be called more than once."""
        if self._engine.pid == os.getpid():
            self._engine.submit(self._close)

    async def _next(self, worker: Worker) -> list[bytes]:
        if self._source is None:
            self._source = self._batches(worker)
        self._busy = True
        try:
            return await self._connection.bounded(anext(self._source, []))
        finally:
            self._busy = False
            if self._closing:
                await self._source.aclose()

    async def _close(self, _worker: Worker) -> None:
        self._closing = True
        if self._source is not None and not self._busy:
            await self._source.aclose()

    async def _batches(self, worker: Worker) -> AsyncGenerator[list[bytes], None]:
        address = await self._connection.address(worker, afresh=self._afresh)
        url = await self._connection.history_url(address, worker, self._path)
        key = self._connection.key(address)
        cutter = Cutter()
        try:
            async with worker.http.stream(url, key=key, params=self._params) as chunks:
                async for chunk in chunks:
                    cutter.feed(chunk)
                    if cutter.weight >= _BATCH:
                        yield cutter.take()
            cutter.end()
        except CommError as error:
            if error.status is not None:
                raise refusal(error, address.url) from error
            if cutter.weight:  # what came in whole before the cut is sound
                yield cutter.take()
            raise
        if cutter.weight:
            yield cutter.take()


class Cutter:
    """Cuts a byte stream into frames, each after its size in 4 bytes, little-endian.

    `weight` is what the frames that are ready decompress to, in bytes.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._buffer = bytearray()
        self._ready: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; raises CommError where they hold no frames."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._buffer, at)
            if not frames.HEADER_SIZE <= size <= frames.MAX_RAW:
                raise CommError(f"the server sent a frame of {size} bytes, which cannot be", 200)
            end = at + _SIZE.size + size
            if end > len(self._buffer):
                break
            frame = bytes(memoryview(self._buffer)[at + _SIZE.size : end])
            self.weight += max(1, frames.peek(frame).raw_size)
            self._ready.append(frame)
            at = end
        del self._buffer[:at]

    def take(self) -> list[bytes]:
        """Return the frames that are ready."""
        ready, self._ready, self.weight = self._ready, [], 0
        return ready

    def end(self) -> None:
        """Raise CommError where the stream ended inside a frame."""
        if self._buffer:
            raise CommError("the server's answer was cut short")
