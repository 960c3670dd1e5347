"""The format of W&B's `.wandb` log: records in blocks, each with its checksum.

    file      7 bytes ":W&B", 0xBEE1, version 0; then blocks of 32 KiB, the first one includes them
    chunk     crc32 (of the type byte and the data), uint16 size, type: 1 whole, 2 first, 3 middle,
              4 last; fewer than 7 bytes at the end of a block are zeros
    record    the chunks' data joined

The layout is LevelDB's log
(https://github.com/google/leveldb/blob/main/doc/log_format.md) with another checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from asyncwb.errors import Error

_HEADER: Final = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK: Final = 32 * 1024
_CHUNK: Final = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class LogReader:
    """Reads the records of one log, in order.

    `damage` says, once they are read, why the end was not reached; None: all of it was read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Give the records up to the end, or to the first damage.

        Raises:
            Error: this is no such log.
        """
        with self.path.open("rb") as file:
            if file.read(len(_HEADER)) != _HEADER:
                raise Error(f"{self.path} is no W&B log: its first bytes are others. It was left.")
            self.damage = None
            whole = b""
            open_since: int | None = None
            while True:
                at = file.tell()
                found = self._chunk(file)
                if found is None:
                    break
                kind, data = found
                if (kind in (_MIDDLE, _LAST)) != (open_since is not None):
                    self._stop(at, "is out of order")
                    break
                whole += data
                open_since = at if open_since is None else open_since
                if kind in (_WHOLE, _LAST):
                    yield whole
                    whole, open_since = b"", None
            if open_since is not None and self.damage is None:
                self._stop(open_since, "is cut short")

    def _chunk(self, file: BinaryIO) -> tuple[int, bytes] | None:
        at = file.tell()
        left = _BLOCK - at % _BLOCK
        if left < _CHUNK.size:
            file.seek(left, 1)
            at += left
        head = file.read(_CHUNK.size)
        if not head:
            return None
        if len(head) < _CHUNK.size:
            self._stop(at, "is cut short")
            return None
        crc, size, kind = _CHUNK.unpack(head)
        data = file.read(size)
        if len(data) < size:
            self._stop(at, "is cut short")
            return None
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or zlib.crc32(head[6:] + data) != crc:
            self._stop(at, "fails its checksum")
            return None
        return kind, data

    def _stop(self, at: int, what: str) -> None:
        """Note where and why reading ends."""
        size = self.path.stat().st_size
        self.damage = (
            f"the record at byte {at:,} {what}: the last {size - at:,} of {size:,} bytes were "
            "not read"
        )
