"""The bare server of `limit`: append the body, fdatasync, acknowledge. Nothing else.

`python -m bench.rivals.limit_server FILE ANNOUNCEMENT` listens on a free port of the loopback and
writes {"url"} to ANNOUNCEMENT. A body is `HEADER` (rows, width) and a zstd frame; in FILE each has
its length before it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
from pathlib import Path

import uvloop
import zstandard
from aiohttp import web

HEADER = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_MAX_BODY = 64 * 1024 * 1024


def application(descriptor: int) -> web.Application:
    """Return the application that appends to `descriptor`."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        os.writev(descriptor, [_LENGTH.pack(len(body)), body])
        os.fdatasync(descriptor)
        return web.Response()

    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_post("/rows", receive)
    return app


def count_rows(path: Path) -> int:
    """Decompress every body of a file and return the rows in them; ValueError if one is short."""
    data = path.read_bytes()
    decompress = zstandard.ZstdDecompressor().decompress
    offset, total = 0, 0
    while offset < len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        body = data[offset + _LENGTH.size : offset + _LENGTH.size + length]
        rows, width = HEADER.unpack_from(body)
        if len(decompress(body[HEADER.size :])) != rows * width * 8:
            raise ValueError("a batch is not what its header says")
        total += rows
        offset += _LENGTH.size + length
    return total


async def serve(path: Path, announcement: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    runner = web.AppRunner(application(descriptor), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    partial = announcement.with_suffix(".partial")
    partial.write_text(json.dumps({"url": f"http://127.0.0.1:{port}/rows"}))
    partial.rename(announcement)
    await stop.wait()
    await runner.cleanup()
    os.close(descriptor)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
