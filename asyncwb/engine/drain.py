"""Draining a run folder that some process left behind, or is still writing.

What is in the folder decides, not what it was meant to be: sealed frames first, then the journal
behind them, every record checked. Draining the same folder again, or while the run logs, is safe:
the server knows each row by its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncwb.engine.embedded import Address, Embedded
from asyncwb.engine.folder import Description, RunFolder
from asyncwb.engine.http import Http
from asyncwb.engine.journal import find_segments
from asyncwb.engine.outbox import Outbox
from asyncwb.engine.pipeline import FoundSegments, Reader
from asyncwb.engine.progress import Progress
from asyncwb.engine.source import JournalSource, SealedSource
from asyncwb.engine.uplink import Uplink
from asyncwb.errors import CommError, Error, FrameError


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of a folder: rows that the server has acknowledged, rows that are gone, whether
    some process still writes it, and what went wrong (None: everything readable is there)."""

    sent: int
    lost: int
    live: bool
    error: str | None


async def drain(
    folder: RunFolder,
    where: Address | Embedded,
    http: Http,
    *,
    memory: int,
    patience: float,
    moved: Callable[[Progress], None],
) -> Drained:
    """Send what a folder holds, and clear away what the server has.

    Args:
        folder: whose lock is taken if it is free; if not, the run is live and nothing is deleted.
        where: the server.
        http: connections to use.
        memory: bytes of frames to keep ready.
        patience: seconds without an acknowledgement after which this gives up.
        moved: called whenever the server has acknowledged more.

    Raises:
        Error: `run.json` cannot be read.
    """
    description = folder.describe()
    live = not folder.lock()
    try:
        # The address is part of what is remembered: what one server has, another one may lack.
        url = where.url if isinstance(where, Address) else "embedded"
        known = folder.read_synced().get(url, 0)
        segments = FoundSegments(folder.journal, live=live)
        journal = JournalSource(Reader(segments, _first_seq(folder, known)))
        progress = Progress(next_seq=known)
        progress.moved.append(lambda _: moved(progress))
        sealed = SealedSource(folder.sealed, journal, known)
        outbox = Outbox(description.head, sealed, progress, folder=folder, found=True, live=live)
        error = await _send(outbox, where, http, memory=memory, patience=patience)
        damage = error or next(iter([*sealed.damage, *segments.damage.values()]), None)
        if description.mode == "offline":
            folder.write_synced(url, progress.next_seq)
        elif damage is None and not live:
            _clear(folder)
        return Drained(progress.rows, progress.lost, live, damage)
    finally:
        folder.unlock()


def _first_seq(folder: RunFolder, known: int) -> int:
    """Start where the journal starts: what is not in it any more was acknowledged."""
    paths = find_segments(folder.journal)
    if not paths or folder.sealed.exists():
        return known
    segments = FoundSegments(folder.journal, live=True)
    first = segments.after(-1)
    return known if first is None else max(known, first.first_seq)


async def _send(
    outbox: Outbox, where: Address | Embedded, http: Http, *, memory: int, patience: float
) -> str | None:
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def say(topic: str, text: str) -> None:
        if topic == "auth" and not refused.done():
            refused.set_result(text)  # nobody who waits here can put it right

    uplink = Uplink(
        where,
        http,
        flush_interval=0.0,
        heartbeat=float("inf"),
        memory=memory,
        say=say,
    )
    outbox.close()
    uplink.add(outbox)
    sending = asyncio.ensure_future(uplink.run())
    settled = asyncio.ensure_future(outbox.settled.wait())
    ends: set[asyncio.Future[Any]] = {sending, settled, refused}
    try:
        while not settled.done():
            before = outbox.progress.next_seq
            done, _ = await asyncio.wait(
                ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if sending in done:
                return _failure(sending)
            if refused.done():
                return refused.result()
            if not done and outbox.progress.next_seq == before:
                return outbox.progress.error or f"no acknowledgement for {patience:.0f} s"
        return outbox.progress.refused
    finally:
        for task in (sending, settled):
            task.cancel()
        await asyncio.gather(sending, settled, return_exceptions=True)


def _failure(task: asyncio.Task[None]) -> str:
    error = task.exception()
    if isinstance(error, (FrameError, CommError, Error)):
        return error.message
    if error is not None:
        raise error
    return "the uplink stopped"


def _clear(folder: RunFolder) -> None:
    """Everything is acknowledged: the journal has done its work; the user's files stay."""
    for path in find_segments(folder.journal):
        path.unlink(missing_ok=True)
    for place in (folder.journal, folder.sealed):
        if place.exists():
            for path in place.iterdir():
                path.unlink(missing_ok=True)
            place.rmdir()
    (folder.path / "sync.log").unlink(missing_ok=True)
    folder.remove_if_empty()


__all__ = ["Description", "Drained", "drain"]
