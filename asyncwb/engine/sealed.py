"""Sealed files: frames one after the other, as they would have gone over the wire.

A third of the journal's size, readable from any point by their headers, and checked by their own
checksums. An append is whole or absent: what a full disk cut short is taken back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from asyncwb.errors import FrameError
from asyncwb.wire.frames import HEADER_SIZE, FrameInfo, peek, verify

_NAME: Final = "frames.awf"


def append(folder: Path, frames: Sequence[bytes]) -> None:
    """Add frames to the folder's sealed file; they are on the disk when this returns.

    Raises:
        OSError: they could not be written; the file is as it was.
    """
    with (folder / _NAME).open("ab") as file:
        start = file.tell()
        try:
            file.write(b"".join(frames))
            file.flush()
            os.fdatasync(file.fileno())
        except OSError:
            file.truncate(start)
            raise


def sealed_frames(folder: Path) -> Iterator[tuple[FrameInfo, bytes]]:
    """Yield the frames of a sealed file that are whole, in order; stops at the first damage.

    Raises:
        FrameError: a frame is damaged, and bytes follow it (after the good ones were yielded).
    """
    path = folder / _NAME
    if not path.exists():
        return
    with path.open("rb") as file:
        while head := file.read(HEADER_SIZE):
            try:
                info = peek(head)
                data = head + file.read(info.body_size)
                verify(data)
            except FrameError as error:
                raise FrameError(f"{path}, byte {file.tell()}: {error}") from error
            yield info, data
