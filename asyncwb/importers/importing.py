"""Bringing runs of other trackers into an asyncwb server: what all sources share.

    source                      a log, a folder of event files, another server
      parts -> items            in an order that is the same each time   (`items`)
    here                        numbers them, sends what the server lacks, says what came over
      target                    ingest, files, lines                     (`target`)

An import may be interrupted anywhere and run again. Each part of a run has a writer of its own,
named after what is in it, so the server knows which numbers it has; what ends the run is said by
one more writer, named after what it says. One bad run does not stop the others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import anyio

from asyncwb.engine.journal.folder import new_writer
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http
from asyncwb.errors import CommError, Error, UsageError
from asyncwb.importers.items import (
    Event,
    Found,
    Item,
    Line,
    Part,
    RemotePart,
    Row,
    Source,
    pack,
    summary_event,
)
from asyncwb.importers.target import Target
from asyncwb.importers.tensorboard_anew import Anew
from asyncwb.importers.tensorboard_run import TensorboardRun
from asyncwb.tasks import first_error
from asyncwb.wire import names
from asyncwb.wire.paths import RunPath
from asyncwb.wire.rows.values import dumps
from asyncwb.wire.stream import StreamHead

_AT_ONCE: Final = 2_000
"""items of a part that are in memory at a time"""
_BYTES_AT_ONCE: Final = 4 * 2**20
"""bytes of values and attached files, roughly, that are in memory at a time"""


_REFUSED: Final = frozenset((400, 413, 415, 422))


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far one run is: numbered items that the server has; `said`: what has to be known now."""

    label: str
    done: int
    said: str | None = None


@dataclass(slots=True)
class ImportResult:
    """What became of one run.

    `rows` and `files` are what this call sent (what was there is not sent again), `left` what
    could not be carried over, by name, `notes` what else is to be known, `error` why the run is
    not complete; `failure` is the exception that says so, where it is one of ours.
    """

    label: str
    path: RunPath | None = None
    rows: int = 0
    files: int = 0
    lines: int = 0
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    failure: Error | None = None


Report: TypeAlias = Callable[[ImportProgress], None]


async def import_runs(
    sources: Sequence[Source] | AsyncIterator[Source],
    target: Target,
    *,
    jobs: int,
    report: Report,
    into_existing: bool = False,
) -> list[ImportResult]:
    """Import runs, `jobs` at a time; the results are in the order of the sources.

    Args:
        sources: the runs, at once or as they are found.
        target: the server.
        jobs: how many runs at a time.
        report: called with every step forward.
        into_existing: whether rows may be added to a run that the server has from elsewhere.
    """
    results: list[ImportResult] = []
    slots = anyio.Semaphore(jobs)

    async def move(source: Source, result: ImportResult) -> None:
        try:
            await Move(source, target, result, report, into_existing=into_existing).run()
        finally:
            slots.release()

    try:
        async with anyio.create_task_group() as moving:
            async for source in _each(sources):
                result = ImportResult(source.label)
                results.append(result)
                await slots.acquire()
                moving.start_soon(move, source, result)
        return results
    except BaseExceptionGroup as errors:
        error = first_error(errors)
    raise error


async def _each(sources: Sequence[Source] | AsyncIterator[Source]) -> AsyncIterator[Source]:
    if isinstance(sources, Sequence):
        for source in sources:
            yield source
        return
    async for source in sources:
        yield source


class Move:
    """Moves one run. Mutable state: its result, the next number of each stream and part."""

    def __init__(
        self,
        source: Source,
        target: Target,
        result: ImportResult,
        report: Report,
        *,
        into_existing: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._result = result
        self._report = report
        self._into_existing = into_existing
        self._lines: Counter[str] = Counter()
        self._seq: Counter[str] = Counter()
        self._done = 0

    async def run(self) -> None:
        """Move the run; what goes wrong is in the result."""
        try:
            await self._move()
        except (Error, OSError) as error:
            self._result.error = str(error)
            self._result.failure = error if isinstance(error, Error) else None
        except (ValueError, KeyError, TypeError) as error:  # an answer of another shape
            self._result.error = f"what it gave cannot be read: {type(error).__name__}: {error}"

    async def _move(self) -> None:
        source, result = self._source, self._result
        entity = await self._target.owner(source.entity)
        path = result.path = RunPath(entity, source.project, source.run)
        _check_names(entity, path.project, path.run)
        media = await self._target.keeps_files(path)
        anew: Anew | None = None
        if isinstance(source, TensorboardRun):
            anew = Anew(source, self._target, path, self._say)
            await anew.find()
        parts = await source.parts(media=media)
        there = await self._target.info(path)
        last_step = None if there is None else there.get("last_step")
        known = [await self._target.next_seq(self._head(path, part.writer)) for part in parts]
        ours = self._into_existing or any(known) or (anew is not None and anew.is_again)
        if there is not None and there["rows"] and not ours:
            raise UsageError(
                f"the server has a run {path} already, with rows of another origin. Nothing was "
                "imported; name another project, or add to it with --into-existing"
            )
        heads = dict(zip((part.writer for part in parts), known, strict=True))
        if anew is not None:
            parts = await anew.settle(parts, media=media)
        live = _Live(self._target, path) if source.grows else None
        while True:
            for part in parts:
                if part.writer not in heads:
                    heads[part.writer] = await self._target.next_seq(self._head(path, part.writer))
                await self._part(path, part, heads[part.writer], last_step)
                if anew is not None:
                    await anew.beat()
            if live is not None:
                await live.beat()
            if await source.settled():
                break
            parts = await source.parts(media=media)
            if anew is not None:
                parts = await anew.settle(parts, media=media)
        for part in parts:
            result.left += part.found.left
            result.notes += part.found.notes
        await self._files(path, media=media)
        await self._close(path, parts)
        if live is not None:
            await live.end()
        if anew is not None:
            await anew.end()
            result.notes += [anew.note] if anew.note else []

    def _say(self, text: str) -> None:
        self._result.notes.append(text)
        self._report(ImportProgress(self._source.label, self._done, text))

    @staticmethod
    def _head(path: RunPath, writer: str) -> StreamHead:
        return StreamHead(path.entity, path.project, path.run, writer)

    async def _part(
        self, path: RunPath, part: Part | RemotePart, done: int, last_step: int | None
    ) -> None:
        head = self._head(path, part.writer)
        if isinstance(part, Part):
            chunks = _chunks(part, self._seq[part.writer])
        else:
            chunks = part.chunks(done, last_step)
        async for seq, items in chunks:
            numbered = [item for item in items if not isinstance(item, Line)]
            fresh = numbered[max(0, done - seq) :]
            first = max(seq, done)
            if first == 0 and fresh and not isinstance(fresh[0], Row):
                # Alone, since the run has to be there before its files.
                await self._send(head, 0, fresh[:1])
                first, fresh = 1, fresh[1:]
            await self._attachments(path, fresh)
            await self._send(head, first, fresh)
            await self._send_lines(path, [item for item in items if isinstance(item, Line)])
            self._seq[part.writer] = seq + len(numbered)
            self._done += len(numbered)
            self._report(ImportProgress(self._source.label, self._done))
        for row in part.found.overtaken:
            await self._overtaken(path, part.writer, row)

    async def _overtaken(self, path: RunPath, writer: str, row: Row) -> None:
        """Send the end of a part before the parts that may replace it; once, as it is now."""
        said = dumps([writer, row.step, dict(row.values)])
        head = self._head(path, f"tail-{hashlib.sha256(said).hexdigest()[:16]}")
        if not await self._target.next_seq(head):
            await self._attachments(path, [row])
            start: Event = {"t": "start", "at": row.at, "config": {}, "resume": "must"}
            start["joins"] = True
            await self._send(head, 0, [start, row, {"t": "leave", "at": row.at}])

    async def _send(self, head: StreamHead, first_seq: int, items: Sequence[Row | Event]) -> None:
        if items:
            frame = await asyncio.to_thread(_encode, first_seq, items)
            await self._target.send(head, frame)
            self._result.rows += sum(isinstance(item, Row) for item in items)

    async def _attachments(self, path: RunPath, items: Sequence[Item]) -> None:
        for item in items:
            for file in item.files if isinstance(item, Row) else ():
                await self._put_file(path, file.name, file.data)

    async def _put_file(self, path: RunPath, name: str, data: Path | bytes) -> None:
        try:
            await self._target.put_file(path, name, data)
        except CommError as error:
            if error.status not in _REFUSED:
                raise
            # This file will never be taken, whatever its name or size is; the rest may be.
            self._result.left[f"file {name!r} ({error.code or error.status})"] += 1
        else:
            self._result.files += 1

    async def _send_lines(self, path: RunPath, lines: Sequence[Line]) -> None:
        for stream in sorted({line.stream for line in lines}):
            texts = [line.text for line in lines if line.stream == stream]
            if await self._target.put_lines(path, stream, self._lines[stream], texts):
                self._result.lines += len(texts)
            else:
                self._result.left[f"line of {stream} (this server keeps none)"] += len(texts)
            self._lines[stream] += len(texts)

    async def _files(self, path: RunPath, *, media: bool) -> None:
        async for file in self._source.files():
            if not media:
                self._result.left["file (this server keeps none)"] += 1
            elif not await self._target.has_file(path, file):
                async with file.fetch as here:
                    await self._put_file(path, file.name, here)

    async def _close(self, path: RunPath, parts: Sequence[Part | RemotePart]) -> None:
        """Say the rows that may yet be added to, the summary, and how the run ended."""
        closing = await self._source.closing()
        tail = [row for part in parts for row in part.found.tail]
        said = dumps([closing.summary, closing.closing, [[r.step, dict(r.values)] for r in tail]])
        names = ",".join(part.writer for part in parts).encode()
        digest = hashlib.sha256(names + said).hexdigest()[:16]
        head = self._head(path, f"end-{digest}")
        self._result.left += closing.left
        self._result.notes += closing.notes
        if await self._target.next_seq(head):
            return
        await self._attachments(path, tail)
        items: list[Row | Event] = [*tail]
        items += await self._summary(path, closing, tail)
        # The first event of a writer may say that the run has to be there already.
        starts = [event for event in closing.closing if event["t"] == "start"]
        ends = [event for event in closing.closing if event["t"] != "start"]
        if self._result.lines:
            codes = (event["exit_code"] for event in ends if event["t"] == "finish")
            await self._target.end_lines(path, next(codes, None))
        await self._send(head, 0, [*starts, *items, *ends])

    async def _summary(self, path: RunPath, closing: Found, tail: Sequence[Row]) -> list[Event]:
        if closing.summary is None:
            return []
        there = await self._target.info(path) or {}
        logged = [metric["key"] for metric in there.get("metrics", ())]
        logged += [name for row in tail for name in row.values]
        event = summary_event(closing.summary, there.get("summary", {}), logged)
        return [] if event is None else [event]


class _Live:
    """Keeps a run alive that is followed: a writer that says nothing but that it is at work."""

    def __init__(self, target: Target, path: RunPath) -> None:
        self._target = target
        self._head = StreamHead(path.entity, path.project, path.run, f"live-{new_writer()}")
        self._begun = False

    async def beat(self) -> None:
        """Say that the run is still followed."""
        if self._begun:
            await self._target.next_seq(self._head)
        else:
            start: Event = {"t": "start", "config": {}, "resume": "must", "joins": True}
            await self._target.send(self._head, pack(0, [start]).encode())
            self._begun = True

    async def end(self) -> None:
        """Say that it is followed no longer."""
        await self._target.send(self._head, pack(1, [{"t": "leave"}]).encode())


async def _chunks(part: Part, seq: int) -> AsyncIterator[tuple[int, list[Item]]]:
    """Read a part that lies on this machine, a piece at a time, on a thread."""
    items = part.items()
    while chunk := await asyncio.to_thread(_take, items):
        yield seq, chunk
        seq += sum(not isinstance(item, Line) for item in chunk)


def _encode(first_seq: int, items: Sequence[Row | Event]) -> bytes:
    return pack(first_seq, items).encode()


def _take(items: Iterator[Item]) -> list[Item]:
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += _weight(item)
        if len(chunk) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
            break
    return chunk


def _weight(item: Item) -> int:
    if isinstance(item, Line):
        return len(item.text)
    if not isinstance(item, Row):
        return 64
    large = (value for value in item.values.values() if isinstance(value, (str, list, dict)))
    files = sum(len(file.data) for file in item.files)
    return 16 * len(item.values) + files + sum(len(dumps(value)) for value in large)


async def sync_tensorboard(
    root_dir: str | Path,
    run_id: str | None = None,
    project: str | None = None,
    entity: str | None = None,
    *,
    http: Http,
    address: Address,
    patience: float = 60.0,
    quiet: float = 0.0,
    report: Report | None = None,
) -> ImportResult:
    """Bring a folder of TensorBoard event files into the server, as one run.

    Called again it sends what was added since. Reads the files on threads.

    Args:
        root_dir: the folder; the folders in it are namespaces.
        run_id: the run's id; left out: one that belongs to the folder's path, the same each time.
        project: left out: "uncategorized".
        entity: left out: the key's own user.
        http: connections to use; they belong to the loop of the caller.
        address: the server, and the key for it.
        patience: seconds for which a server that does not answer is tried again.
        quiet: follow files that still grow until nothing was added for so many seconds; 0: take
            what is there now.
        report: called with every step forward.

    Returns:
        What became of it; its `path` is the run's, its `error` why it is not complete.

    Raises:
        UsageError: there is no such folder, no event file in it, or no such name can be.
        UnsupportedError: the extra `tensorboard` is not installed.
    """
    source = await asyncio.to_thread(
        TensorboardRun.open, Path(root_dir), run_id, project or "uncategorized", entity
    )
    _check_names(entity, source.project, source.run)
    source.quiet = quiet
    target = Target(http, address, patience=patience)
    results = await import_runs(
        [source], target, jobs=1, report=report or _silent, into_existing=True
    )
    return results[0]


def _check_names(entity: str | None, project: str, run: str) -> None:
    problem = names.problem("entity", entity) if entity is not None else None
    problem = problem or names.problem("project", project) or names.problem("run", run)
    if problem is not None:
        raise UsageError(f"{problem}. Nothing was imported; name another.")


def _silent(_progress: ImportProgress) -> None:
    """Take a step forward without a word."""
