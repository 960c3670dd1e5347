"""Frames that fit a request, whatever an older release has left in a folder.

`log()` takes no row that is too large for a server; a folder that was written before it did may
hold one, and it must not keep back all that stands behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asyncwb.engine import durable
from asyncwb.engine.source import Prepared, Source, stand_in
from asyncwb.wire.frames import MAX_FRAME, MAX_RAW, Frame, decode, peek
from asyncwb.wire.values import dumps


class Fitting:
    """A source whose frames all fit a request, made from one whose frames need not.

    What fits none by itself is written to `folder` as JSON, and a frame stands in for it.

    Mutable state: `aside`, the files written, by sequence number; `_rest`, the parts of a frame
    that are still to be given.
    """

    def __init__(self, source: Source, folder: Path, aside: dict[int, Path] | None = None) -> None:
        self.aside: dict[int, Path] = {} if aside is None else aside
        self._source = source
        self._folder = folder
        self._rest: Iterator[Prepared] = iter(())

    @property
    def problem(self) -> str | None:
        """What was set aside, in words; None: nothing."""
        if not self.aside:
            return None
        count = len(self.aside)
        what = "1 row or event is" if count == 1 else f"{count} rows or events are"
        return (
            f"{what} larger than any server takes, and set aside in {self._folder} as JSON; "
            "all others were sent"
        )

    def next(self) -> Prepared | None:
        part = next(self._rest, None)
        if part is not None:
            return part
        prepared = self._source.next()
        if prepared is None or (len(prepared.data) <= MAX_FRAME and prepared.raw <= MAX_RAW):
            return prepared
        self._rest = self._parts(decode(prepared.data, max_raw=prepared.raw))
        return next(self._rest)

    def _parts(self, frame: Frame) -> Iterator[Prepared]:
        data = frame.encode()
        raw = peek(data).raw_size
        if len(data) <= MAX_FRAME and raw <= MAX_RAW:
            yield Prepared(frame.first_seq, frame.count, frame.table.n, frame.lost, raw, data)
        elif frame.count == 1:
            self._set_aside(frame)
            yield stand_in(frame.first_seq, 1, "too_large")
        else:
            yield from self._parts(frame.first(frame.count // 2))
            yield from self._parts(frame.skip(frame.count // 2))

    def _set_aside(self, frame: Frame) -> None:
        content = [*frame.table.iter_rows(), *(event for _, event in frame.events)]
        path = self._folder / f"{frame.first_seq:012d}.json"
        self._folder.mkdir(exist_ok=True)
        durable.replace(path, dumps(content[0]))
        durable.force_names(self._folder.parent)
        self.aside[frame.first_seq] = path

    def restart(self, seq: int) -> Fitting:
        return Fitting(self._source.restart(seq), self._folder, self.aside)
