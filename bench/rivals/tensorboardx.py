"""tensorboardX: one scalar a call, through a queue into an event file (TFRecord framing)."""

from __future__ import annotations

import struct
from importlib import import_module
from itertools import count
from typing import Any

from bench.rivals.base import Log, Rival, Row, Startup

_LENGTH = struct.Struct("<Q")
_CRC = 4


class TensorboardXRival(Rival):
    """tensorboardX's `SummaryWriter`; a row is one `add_scalar` a metric, for it has no other."""

    package = "tensorboardX"

    def open(self) -> Log:
        """Open an event file and return a `log` that writes a row as scalars of one step."""
        self._writer: Any = import_module("tensorboardX").SummaryWriter(str(self.folder / "tb"))
        add_scalar = self._writer.add_scalar
        steps = count()

        def log(row: Row) -> None:
            step = next(steps)
            for key, value in row.items():
                add_scalar(key, value, step)

        return log

    def finish(self) -> None:
        """Write out the queue and close the file."""
        self._writer.close()

    def stored(self) -> int:
        """Count the event records (the first one is a header) and divide by the row's width."""
        (path,) = (self.folder / "tb").glob("events.*")
        data = path.read_bytes()
        offset, events = 0, 0
        while offset < len(data):
            (length,) = _LENGTH.unpack_from(data, offset)
            offset += _LENGTH.size + _CRC + length + _CRC
            events += 1
        return (events - 1) // len(self.keys)

    def startup(self) -> Startup:
        """The two lines of its quick start."""
        return Startup(
            "import tensorboardX",
            f"writer = tensorboardX.SummaryWriter({str(self.folder / 'tb')!r})",
            "writer.close()",
        )
