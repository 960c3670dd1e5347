"""Frames that fit a request: what is too large is cut, and what cannot be cut is set aside.

How much a request may hold is what a server takes, or less: a proxy in front of it has a limit of
its own, which the uplink learns. `log()` takes no row that is too large for a server; a folder
that an older release has written may hold one, and a proxy may take less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.source import Prepared, Source, prepare, stand_in
from asyncwb.wire.rows.frames import MAX_FRAME, MAX_RAW, decode

_TOO_LARGE: Final = "larger than any server takes"


def cut(prepared: Prepared, most: int, most_raw: int = MAX_RAW) -> Iterator[Prepared]:
    """Cut a frame into such of at most `most` bytes, `most_raw` when decompressed.

    What has more than that by itself, one row or event, stays one frame.
    """
    pieces = max(-(-len(prepared.data) // most), -(-prepared.raw // most_raw))
    if pieces == 1 or prepared.count == 1 or prepared.lost:
        yield prepared
        return
    frame = decode(prepared.data, max_raw=prepared.raw)
    step = max(1, frame.count // pieces)
    while frame.count > step:
        yield from cut(prepare(frame.first(step)), most, most_raw)
        frame = frame.skip(step)
    yield from cut(prepare(frame), most, most_raw)


def set_aside(prepared: Prepared, aside: Aside, why: str) -> Prepared:
    """Keep a frame of one row or event as JSON; returns the one that stands in for it.

    Raises:
        OSError: the disk does not take it.
    """
    frame = decode(prepared.data, max_raw=prepared.raw)
    content: list[object] = [*frame.table.iter_rows(), *(event for _, event in frame.events)]
    aside.put(f"{prepared.first_seq:012d}", content[0], why)
    # The server counts it as lost; here it is not, it lies in its file.
    return replace(stand_in(prepared.first_seq, 1, "too_large"), lost=0)


class Fitting:
    """A source whose frames all fit a server's request, made from one whose frames need not.

    Mutable state: `_rest`, the parts of a frame that are still to be given.
    """

    def __init__(self, source: Source, aside: Aside) -> None:
        self._source = source
        self._aside = aside
        self._rest: Iterator[Prepared] = iter(())

    def next(self) -> Prepared | None:
        part = next(self._rest, None)
        if part is None:
            prepared = self._source.next()
            if prepared is None:
                return None
            self._rest = cut(prepared, MAX_FRAME)
            part = next(self._rest)
        if len(part.data) <= MAX_FRAME and part.raw <= MAX_RAW:
            return part
        return set_aside(part, self._aside, _TOO_LARGE)

    def restart(self, seq: int) -> Fitting:
        return Fitting(self._source.restart(seq), self._aside)
