"""wandb, offline: rows go through its own process into a transaction log on disk.

The log has the LevelDB log format: a header of 7 bytes, then blocks of 32 KiB holding chunks of
(crc32, length, type); it is read here without wandb's help, so that counting does not depend on
where a version keeps its reader.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.rivals.base import AsyncLog, Log, Rival, Startup, awaitable

_BLOCK = 32 * 1024
_FILE_HEADER = 7
_CHUNK_HEADER = struct.Struct("<IHB")
_FULL, _LAST = 1, 4


class WandbRival(Rival):
    """wandb with `mode="offline"`, otherwise as it comes."""

    package = "wandb"

    def prepare(self) -> None:
        """Keep its banners out of the terminal; everything else stays at the default."""
        os.environ["WANDB_SILENT"] = "true"

    def open(self) -> Log:
        """Begin an offline run."""
        self._run: Any = self._begin()
        log: Log = self._run.log
        return log

    def finish(self) -> None:
        """End the run: the transaction log is complete."""
        self._run.finish()

    async def open_runs(self, count: int) -> list[AsyncLog]:
        """Begin `count` offline runs in this process (`reinit="create_new"`)."""
        self._runs: list[Any] = [self._begin(reinit="create_new") for _ in range(count)]
        return [awaitable(run.log) for run in self._runs]

    async def finish_runs(self) -> None:
        """End every run, one after the other, as its blocking API does."""
        for run in self._runs:
            run.finish()

    def stored(self) -> int:
        """Count the history records in the transaction logs."""
        proto = import_module("wandb.proto.wandb_internal_pb2")
        logs = self.folder.glob("wandb/offline-run-*/*.wandb")
        return sum(
            proto.Record.FromString(record).HasField("history")
            for log in logs
            for record in records(log)
        )

    def startup(self) -> Startup:
        """The two lines of its quick start, offline."""
        return Startup(
            "import wandb",
            f"run = wandb.init(project='bench', mode='offline', dir={str(self.folder)!r})",
            "run.finish()",
        )

    def _begin(self, **options: str) -> Any:
        wandb = import_module("wandb")
        return wandb.init(project="bench", mode="offline", dir=str(self.folder), **options)


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a LevelDB log, joining those that span chunks."""
    data = path.read_bytes()
    offset, parts = _FILE_HEADER, b""
    while offset + _CHUNK_HEADER.size <= len(data):
        left = _BLOCK - offset % _BLOCK
        if left < _CHUNK_HEADER.size:
            offset += left
            continue
        _crc, length, kind = _CHUNK_HEADER.unpack_from(data, offset)
        offset += _CHUNK_HEADER.size
        parts += data[offset : offset + length]
        offset += length
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
