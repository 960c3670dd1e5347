"""Offline runs: the same frames, sealed into a file instead of sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import anyio

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.journal.folder import RunFolder
from asyncwb.engine.journal.sealed import SealedFile

_AT_ONCE: Final = 2**20
"""bytes of frames that are made before the loop gets a turn"""
_GATHER: Final = 1.0
"""seconds for which the rows of a slow run gather: the journal keeps them safe meanwhile, and the
disk has the journals of all runs to force"""


class Sealer:
    """Appends an outbox's frames to a file; each append is on disk before it is acknowledged.

    So are what tells whose frames these are, and the names that lead to them.
    """

    def __init__(self, folder: RunFolder, outbox: Outbox) -> None:
        self._folder = folder
        self._file = SealedFile(folder.sealed)
        self._outbox = outbox

    async def run(self, interval: float) -> None:
        """Seal until the outbox is settled.

        Args:
            interval: after so many seconds it sees that there are rows, or that somebody waits.
        """
        outbox = self._outbox
        while not outbox.settled.is_set():
            if not outbox.fill():
                await anyio.sleep(0.005 if outbox.urgent else interval)
                continue
            while outbox.fill(_AT_ONCE):
                pass
            frames = [prepared.data for prepared in outbox.pending]
            end, has_plenty = outbox.pending[-1].end_seq, outbox.waiting >= _AT_ONCE
            try:
                await asyncio.to_thread(self._append, frames)
            except OSError as error:  # a full disk: the rows stay in the journal
                outbox.progress.error = f"cannot seal into {self._folder.sealed}: {error}"
                await anyio.sleep(1.0)
                continue
            outbox.progress.error = None
            outbox.acknowledge(end)
            if not has_plenty:
                await self._gather(interval)

    def _append(self, frames: Sequence[bytes]) -> None:
        self._folder.sync()
        self._file.append(frames)

    async def _gather(self, interval: float) -> None:
        for _ in range(max(1, round(_GATHER / interval))):
            if self._outbox.urgent:
                return
            await anyio.sleep(interval)
