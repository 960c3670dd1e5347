"""Draining a run folder that some process left behind, or is still writing.

What is in the folder decides, not what it was meant to be: sealed frames first, then the journal
behind them, every record checked. Draining the same folder again, or while the run logs, is safe:
the server knows each row by its number. The files that were saved follow the rows, since they
belong to a run that exists; those of a run that is being logged to are its own uploader's, and are
only sent from here where that one does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from asyncwb.engine.frames.fitting import Fitting
from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.oversized import Aside
from asyncwb.engine.frames.pipeline import FoundSegments, Reader
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.frames.source import AnewSource, BegunSource, JournalSource, SealedSource
from asyncwb.engine.journal.folder import Description, RunFolder
from asyncwb.engine.journal.journal import find_segments
from asyncwb.engine.tasks import any_of
from asyncwb.engine.uplink.dialect import Dialects
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.graphql import ask
from asyncwb.engine.uplink.http import Http
from asyncwb.engine.uplink.uplink import Uplink
from asyncwb.engine.uploads.saved import FileAccount, Saved
from asyncwb.engine.uploads.uploader import Uploader
from asyncwb.errors import CommError, Error
from asyncwb.printable import counted, in_seconds
from asyncwb.wire.stream import StreamHead
from asyncwb.wire.uplink_documents import RUN_STATUS


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of a folder: rows that the server has acknowledged, rows that are gone, whether
    some process still writes it, what went wrong (None: everything readable is there), how many
    files were sent, whether the server took nothing at all for as long as one waits for it, and
    whether it `lacks_start`: what the run said of itself at first, which this machine has not."""

    sent: int
    lost: int
    live: bool
    error: str | None
    files: int = 0
    unreachable: bool = False
    lacks_start: bool = False


async def drain(
    folder: RunFolder,
    where: Address | Embedded,
    http: Http,
    *,
    memory: int,
    patience: float,
    moved: Callable[[Progress], None],
    say: Callable[[str], None] = lambda _: None,
    create: bool = False,
    dialects: Dialects | None = None,
) -> Drained:
    """Send what a folder holds, and clear away what the server has.

    Args:
        folder: whose lock is taken if it is free; if not, the run is live and nothing is deleted.
        where: the server.
        http: connections to use.
        memory: bytes of frames to keep ready.
        patience: seconds without an acknowledgement after which this gives up.
        moved: called whenever the server has acknowledged more.
        say: told in a line, once, that the server cannot be reached and is tried again.
        create: make the run where the server has none, though it was begun with resume="must".
        dialects: what servers speak, where several folders are drained.

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
        journal = JournalSource(Reader(segments, _first_seq(folder, known)), leaves_gaps=live)
        progress = Progress(next_seq=known)
        progress.moved.append(lambda _: moved(progress))
        fell = anyio.Event()
        progress.fell.append(fell.set)
        sealed = SealedSource(folder.sealed, journal, known)
        source = BegunSource(sealed, description.started_at)
        reporter = _Reporter(say)
        aside = Aside(folder.aside)
        outbox = Outbox(
            description.head,
            Fitting(AnewSource(source) if create else source, aside),
            progress,
            folder=folder,
            aside=aside,
            found=True,
            live=live,
            say=reporter.report,
        )
        error = await _send(
            outbox, where, http, reporter, dialects, memory=memory, patience=patience
        )
        damage = error or next(iter([*sealed.damage, *segments.damage.values()]), None)
        if damage is None and not live:
            damage = _overstated(outbox)
        saved, files = Saved(folder), 0
        if error is None:
            head, run = description.head, progress.run_path
            sending = Files(saved, where, http, head, run, live=live, patience=patience)
            problem = await sending.send(again=fell.is_set() or progress.lost > 0)
            files, damage = sending.sent, damage or problem
        if description.mode == "offline":
            folder.write_synced(url, progress.next_seq)
        elif damage is None and not live:
            _clear(folder, saved)
        unreachable = error is not None and not progress.connected and reporter.says_retry
        damage = damage or aside.problem
        return Drained(
            progress.rows, progress.lost, live, damage, files, unreachable, bool(source.begun)
        )
    finally:
        folder.unlock()


def _overstated(outbox: Outbox) -> str | None:
    """Tell that the server claims more than this folder holds, whose end has been read."""
    told = outbox.overstated(outbox.sent_to)
    return told and (
        f"{told}. If this machine lost power while the run logged, the server has what is missing "
        "here: then delete the folder"
    )


def _first_seq(folder: RunFolder, known: int) -> int:
    """Start where the journal starts: what is not in it any more was acknowledged."""
    paths = find_segments(folder.journal)
    if not paths or folder.sealed.exists():
        return known
    segments = FoundSegments(folder.journal, live=True)
    first = segments.after(-1)
    return known if first is None else max(known, first.first_seq)


class _Reporter:
    """What the uplink or the uploader says. `refused`: the key is; nobody who waits helps that."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.refused = anyio.Event()
        self.refusal = ""
        self.says_retry = False
        self._say = say

    def report(self, topic: str, text: str) -> None:
        if topic == "auth" and not self.refused.is_set():
            self.refusal = text
            self.refused.set()
        elif topic == "unreachable" and not self.says_retry:
            self.says_retry = True
            self._say(text)


async def _send(
    outbox: Outbox,
    where: Address | Embedded,
    http: Http,
    reporter: _Reporter,
    dialects: Dialects | None,
    *,
    memory: int,
    patience: float,
) -> str | None:
    uplink = Uplink(
        where,
        http,
        flush_interval=0.0,
        heartbeat=float("inf"),
        memory=memory,
        dialects=dialects,
    )
    outbox.close()
    uplink.add(outbox)
    async with anyio.create_task_group() as group:
        group.start_soon(uplink.run)
        problem = await _until_settled(outbox, reporter, patience)
        group.cancel_scope.cancel()
    return problem


async def _until_settled(outbox: Outbox, reporter: _Reporter, patience: float) -> str | None:
    while not outbox.settled.is_set():
        before = outbox.progress.next_seq
        with anyio.move_on_after(patience) as waiting:
            await any_of(outbox.settled.wait, reporter.refused.wait)
        if reporter.refused.is_set():
            return reporter.refusal
        if waiting.cancelled_caught and outbox.progress.next_seq == before:
            return outbox.progress.error or f"no acknowledgement for {in_seconds(patience)}"
    return outbox.progress.refused


class Files:
    """Sends the saved files of a folder.

    Args:
        saved: the files.
        where: the server.
        http: connections to use.
        head: whose files these are.
        run_path: "entity/project/run", None where the server has not said it.
        live: some process is still at work on the run, and says itself when it ends.
        patience: seconds without progress after which this gives up.

    `sent` counts what the server has taken.
    """

    def __init__(
        self,
        saved: Saved,
        where: Address | Embedded,
        http: Http,
        head: StreamHead,
        run_path: str | None,
        *,
        live: bool,
        patience: float,
    ) -> None:
        self.sent = 0
        self._saved = saved
        self._where = where
        self._name = where.url if isinstance(where, Address) else "embedded"
        self._http = http
        self._head = head
        self._run_path = run_path
        self._live = live
        self._patience = patience

    async def send(self, *, again: bool = False) -> str | None:
        """Send what waits; returns what went wrong, None where the server has all of it.

        `again`: send everything, since the server may have lost what it had.
        """
        try:
            if again:
                self._saved.unmark(self._name)
            if not self._saved.read():
                return None
            with anyio.fail_after(self._patience):
                self._run_path = self._run_path or await self._find_run()
        except (Error, OSError) as error:
            return str(error) or "the server does not say whether it has the run"
        account, reporter = FileAccount(), _Reporter(lambda _: None)
        uploader = Uploader(
            self._saved,
            self._http,
            where=self._name,
            address=self._address,
            run_path=lambda: self._run_path,
            account=account,
            say=reporter.report,
            retry=True,
        )
        uploader.end(for_now=self._live)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(uploader.run)
                problem = await self._wait(uploader, account, reporter)
                group.cancel_scope.cancel()
        finally:
            self.sent = uploader.sent
        failed = [f"{name}: {reason}" for name, reason in sorted(account.failed.items())]
        more = f" (and {counted(len(failed) - 1, 'more file')})" if len(failed) > 1 else ""
        return problem or (f"{failed[0]}{more}" if failed else None)

    async def _wait(
        self, uploader: Uploader, account: FileAccount, reporter: _Reporter
    ) -> str | None:
        """Wait until all is sent; returns why it is not, where this gives up."""
        while True:
            left = uploader.active_at + self._patience - time.monotonic()
            with anyio.move_on_after(max(0.0, left)):
                await any_of(uploader.settled.wait, reporter.refused.wait)
            if reporter.refused.is_set():
                return reporter.refusal
            if uploader.settled.is_set():
                return None
            if time.monotonic() >= uploader.active_at + self._patience:
                return account.error or f"no file has arrived for {in_seconds(self._patience)}"

    async def _address(self) -> Address:
        where = self._where
        return where if isinstance(where, Address) else await where.find_or_start()

    async def _find_run(self) -> str:
        """Ask the server for the run, where no row of it was sent just now."""
        head = self._head
        who = {"project": head.project, "entity": head.entity, "name": head.run}
        data = await ask(self._http, await self._address(), RUN_STATUS, who)
        try:
            model = data["model"]
            return f"{model['entity']['name']}/{model['name']}/{model['bucket']['name']}"
        except (KeyError, TypeError) as error:
            raise CommError(
                f"the server has no run {head.project}/{head.run} that these files could belong to"
            ) from error


def _clear(folder: RunFolder, saved: Saved) -> None:
    """Everything is acknowledged: the journal has done its work; the user's files stay."""
    saved.clear()
    for path in find_segments(folder.journal):
        path.unlink(missing_ok=True)
    for place in (folder.journal, folder.sealed):
        if place.exists():
            for path in place.iterdir():
                path.unlink(missing_ok=True)
            place.rmdir()
    folder.remove_if_empty()


__all__ = ["Description", "Drained", "drain"]
