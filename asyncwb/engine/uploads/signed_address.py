"""Sends a file to a signed address: a URL that is itself the right to put one file there.

Knows nothing of GraphQL or of runs; it serves the uploads of runs and the query API alike.
Imports no aiohttp: the query API is used on the caller's thread.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias

from asyncwb.engine.uploads.saved import Seen

if TYPE_CHECKING:
    from asyncwb.engine.uplink.http import Reply


Moved: TypeAlias = Callable[[int], None]
"""called with the size of every piece that was taken, in bytes"""


class Uploads(Protocol):
    """HTTP, as far as this room needs it."""

    async def upload(
        self, url: str, body: IO[bytes], headers: Mapping[str, str], moved: Moved | None = None
    ) -> Reply:
        """PUT what a file holds."""


async def put(
    http: Uploads, url: str, source: Path, headers: Sequence[str], moved: Moved | None = None
) -> tuple[Reply, Seen]:
    """PUT a file; returns the answer, whatever its status, and the version that was sent.

    Args:
        http: the connections.
        url: the signed address.
        source: the file. What is sent is as long as it was when it was opened.
        headers: as servers give them, "Name: value"; no others are added but Content-Length.
        moved: called with the size of every piece that was taken, in bytes.

    Raises:
        NoAnswer: the server could not be reached, or did not take it all.
        OSError: it cannot be read, is no regular file, or became shorter meanwhile.
    """
    named = (header.partition(":") for header in headers)
    pairs = {name.strip(): value.strip() for name, _, value in named}
    file = await asyncio.to_thread(_open, source)
    try:
        about = os.fstat(file.fileno())
        reply = await http.upload(url, file, pairs, moved)
    finally:
        file.close()
    return reply, (about.st_size, about.st_mtime_ns)


def _open(path: Path) -> IO[bytes]:
    # A pipe without a writer would block the thread for ever.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no regular file")
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise
