"""POST /files/{entity}/{project}/{run}/file_stream: what W&B clients log, into our own tables.

    read and check the body, make columns           in a thread, before any lock is taken
    which lines are new (`line_ranges`)             in a thread, from what was read (`run_changes`)
    fold, merge                                     in the same thread
    one transaction: lock the run -> where it is still that: frames, summary, state, lines of
                     console and system metrics
    commit -> publish to the live page -> answer {} or {"stopped": true}

The rows end as frames in the same tables as those of our own clients, so nobody who reads can
tell who logged. A block that comes twice, overlaps another, or comes before its predecessors
counts once. The run must be there: a client makes it by GraphQL first.

The state of a run follows the rules of `run_transitions`, for one writer: a request is a sign of
life; `complete` with its exit code is the end, and new rows after that are a new beginning.
Whatever else comes late to a run that has ended for good, whoever ended it, is stored and says
nothing of its state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from asyncwb.server.http import body_limits
from asyncwb.server.http.access import Action, require_run, run_not_found
from asyncwb.server.http.errors import ApiError, repeatable
from asyncwb.server.http.state import STATE, USER, State
from asyncwb.server.intake import file_stream_request, line_ranges, lines
from asyncwb.server.intake.file_stream_request import Block, FileStreamRequest
from asyncwb.server.intake.folds import read_fold, summary_event
from asyncwb.server.intake.ingest import Find, aside
from asyncwb.server.intake.run_transitions import ALIVE, ReceivedFrame, RunTransition
from asyncwb.server.objects.damage import DamagedError, document_refusal
from asyncwb.server.process.admission_queue import AdmissionQueue
from asyncwb.server.process.fold_cache import weight
from asyncwb.server.process.run_changes import ChangedError, Connect
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.documents import DamagedText
from asyncwb.server.store.records import RunChange, RunKey, RunRecord
from asyncwb.server.store.runs import lines as lines_store
from asyncwb.server.store.runs.ingest import IngestStore
from asyncwb.server.store.runs.lines import Chunk
from asyncwb.server.store.schema import HEADS
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.rows.frames import Frame, peek
from asyncwb.wire.rows.keys import INTERNAL, TIME
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.summary.fold import Fold
from asyncwb.wire.wandb import metric_events

CLIENT_HEADER: Final = "X-WANDB-ASYNC-CLIENT-ID"
"""how the clients of a shared run tell themselves apart"""
_RULE: Final = 200
"""bytes that a metric's definition has about as much work as"""
_ENDED: Final = ("finished", "failed", "killed", "preempted")
"""ended for good, where nobody that has not finished speaks: who crashed was only slow"""


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Where a client that resumes a run goes on, in each of its files."""

    history: int
    events: int
    output: int


def routes() -> list[web.RouteDef]:
    """Return the route of file_stream."""
    handler = FileStream()
    return [web.post("/files/{entity}/{project}/{run}/file_stream", handler.handle)]


# What other rooms call.


async def line_counts(state: State, run_id: int) -> LineCounts:
    """Return how many lines a run has. Three statements.

    History counts all rows of the run, whoever logged them, because a W&B client takes 0 for a
    run that has not begun.
    """
    async with state.database.connect() as connection:
        rows, end = await state.ingest.history_end(connection, run_id)
        events = await lines_store.end(connection, run_id, lines.EVENTS)
        output = await lines_store.end(connection, run_id, lines.OUTPUT)
    return LineCounts(max(rows, end), events, output)


async def request_stop(state: State, run_id: int) -> bool:
    """Ask for the end of a run: its client is told with the next answer.

    Returns False where the run has ended or is not there.
    """
    async with state.database.transaction() as connection:
        asked = await state.ingest.request_stop(connection, run_id)
    state.hub.publish([run_id])
    return asked


async def begin(state: State, path: RunKey) -> None:
    """Note that a W&B client begins the run or goes on with it; nothing where it is not there."""
    async with state.database.transaction() as connection:
        record = (await state.ingest.lock(connection, {path})).get(path)
        if record is None:
            return
        transition = RunTransition(record, state.clock(), state.config.crash_after)
        main = _main(record, line_ranges.WRITER)
        if main in record.writers:
            record.writers[main].finished_at = record.writers[main].exit_code = None
            transition.take(main, [])
        elif record.state not in ALIVE:
            record.stop_requested, record.finished_at, record.exit_code = False, None, None
        # Not opened before it writes: clients that share a run write under other names.
        record.state, record.heartbeat_at = "running", transition.now
        await state.ingest.apply(connection, [transition.change()])
    state.hub.publish([record.id])


def rules_from_wandb(config: Mapping[str, object]) -> list[JsonObject]:
    """Return the metric definitions in the config of a W&B client, as events.

    Args:
        config: plain, with W&B's own part under `_wandb`, whose list `m` has one object a metric
            with the numbers of its fields as keys.
    """
    ours = config.get(INTERNAL)
    items = ours.get("m") if isinstance(ours, dict) else None
    return metric_events(items) if isinstance(items, list) else []


async def set_rules(state: State, path: RunKey, events: Sequence[Mapping[str, object]]) -> None:
    """Let a run's metrics be defined by these events besides what is defined already.

    Nothing is written where they say nothing new, or where the run is not there.
    """
    if not events:
        return
    done = await state.changes.carry_out(_Rules(state, path, events))
    if done is not None:
        state.hub.publish([done[0].record.id])


class _Rules:
    """The change that new definitions of metrics make; None where they are not new."""

    def __init__(self, state: State, path: RunKey, events: Sequence[Mapping[str, object]]) -> None:
        self._state = state
        self._events = events
        self.paths = [path]

    async def read(self, connect: Connect, *, fresh: bool) -> tuple[RunRecord, int, str] | None:
        async with connect() as connection:
            record = await _only(self._state.ingest.read, connection, self.paths)
            if record is None:
                return None
            texts = await self._state.ingest.folds(connection, [record.id])
            return record, record.version, texts[record.id]

    async def compute(
        self, seen: tuple[RunRecord, int, str] | None
    ) -> tuple[RunTransition, RunChange] | None:
        if seen is None:
            return None
        record, _, text = seen
        size = len(text) + _RULE * len(self._events)
        try:
            return await aside(self._state, size, self._defined, record, text)
        except DamagedError as error:
            raise document_refusal(error, 409, "Nothing was written") from error

    def _defined(self, record: RunRecord, text: str) -> tuple[RunTransition, RunChange] | None:
        fold = read_fold(text)
        before = fold.rules.events()
        transition = RunTransition(
            record, self._state.clock(), self._state.config.crash_after, fold=fold
        )
        fold.apply(empty(), [(0, event) for event in self._events])
        if fold.rules.events() == before:
            return None
        transition.refold()
        return transition, transition.change()

    async def lock(self, connection: AsyncConnection) -> None:
        await self._state.ingest.lock_rows(connection, self.paths)

    async def write(
        self,
        connection: AsyncConnection,
        seen: tuple[RunRecord, int, str] | None,
        done: tuple[RunTransition, RunChange] | None,
    ) -> None:
        if seen is not None and done is not None:
            record, version, _ = seen
            await _check(self._state.ingest, connection, self.paths, record.id, version)
            await self._state.ingest.apply(connection, [done[1]])


class FileStream:
    """The handler."""

    def __init__(self) -> None:
        self._turns = AdmissionQueue()

    @repeatable
    async def handle(self, request: web.Request) -> web.Response:
        """Take in one request of a client."""
        state, match, began = request.app[STATE], request.match_info, time.perf_counter()
        asked = RunKey(match["entity"], match["project"], match["run"])
        path, _ = await require_run(state, request[USER], Action.WRITE, asked)
        body = await body_limits.read(request, state.config.max_body)
        state.metrics.add("asyncwb_ingest_bytes_total", len(body))
        async with self._turns.turn():
            post = await aside(state, len(body), file_stream_request.parse, body, state.clock())
            base = line_ranges.writer_of(request.headers.get(CLIENT_HEADER))
            request_change = _Request(state, path, post, base, len(body))
            transition = (await state.changes.carry_out(request_change)).transition
            if transition.touched:
                state.folds.put(transition.record, transition.fold)
        _after(state, transition, time.perf_counter() - began)
        return web.json_response({"stopped": True} if transition.record.stop_requested else {})


def _after(state: State, transition: RunTransition, took: float) -> None:
    for frame in transition.frames:
        state.metrics.add("asyncwb_ingest_rows_total", frame.rows)
    state.metrics.add("asyncwb_ingest_frames_total", len(transition.frames))
    state.metrics.add("asyncwb_ingest_seconds_total", took)
    state.hub.publish([transition.record.id])


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run as it was read, and what of it a request changes.

    `fold` where this process still had it, or else its text; None where neither is needed. `heads`
    are the digests of line 0; `output` and `events` the chunks that new lines touch; `system` the
    last system metrics as JSON.
    """

    record: RunRecord
    version: int
    fold: Fold | None
    text: str | None
    heads: Sequence[Chunk]
    output: Sequence[Chunk]
    events: Sequence[Chunk]
    system: str


@dataclass(frozen=True, slots=True)
class _Done:
    """What is to be written: of the run, its writers that are no more, and lines by stream."""

    transition: RunTransition
    change: RunChange | None
    gone: list[str]
    lines: Mapping[str, list[Chunk]]


class _Request:
    """The change that one request makes."""

    def __init__(
        self, state: State, path: RunKey, post: FileStreamRequest, base: str, size: int
    ) -> None:
        self._state = state
        self._post = post
        self._base = base
        self._size = size
        self.paths = [path]

    async def read(self, connect: Connect, *, fresh: bool) -> _Seen:
        state, post = self._state, self._post
        (path,) = self.paths
        folds = bool(post.rows) or post.summary is not None
        known = None if fresh else state.folds.take(path)
        if known is not None and folds and known.fold is None:
            known = None
        async with connect() as connection:
            record = (
                await _only(state.ingest.read, connection, self.paths)
                if known is None
                else known.record
            )
            if record is None:
                raise run_not_found(path)
            fold, text = (None if known is None else known.fold), None
            if folds and fold is None:
                text = (await state.ingest.folds(connection, [record.id]))[record.id]
            heads: Sequence[Chunk] = ()
            if self._has_head():
                latest = line_ranges.generation_of(record, self._base)
                heads = await lines_store.between(connection, record.id, HEADS, 0, latest + 1)
            output = await _touched(connection, record.id, lines.OUTPUT, post.output)
            events = await _touched(connection, record.id, lines.EVENTS, post.events)
            system = "{}"
            if post.events is not None:
                system = (await state.ingest.systems(connection, [record.id]))[record.id]
        return _Seen(record, record.version, fold, text, heads, output, events, system)

    def _has_head(self) -> bool:
        return self._base == line_ranges.WRITER and self._post.first_line is not None

    async def compute(self, seen: _Seen) -> _Done:
        size = self._size + len(seen.text or "") + weight(seen.fold)
        try:
            return await aside(self._state, size, self._apply, seen)
        except DamagedError as error:
            raise document_refusal(error, 503, "Nothing was written") from error

    def _apply(self, seen: _Seen) -> _Done:
        state, post = self._state, self._post
        fold = seen.fold if seen.text is None else read_fold(seen.text)
        transition = RunTransition(seen.record, state.clock(), state.config.crash_after, fold=fold)
        new: dict[str, list[Chunk]] = {}
        main = self._generation(transition, seen.heads, new)
        gone = _take(transition, main, post, _has_new_rows(transition, main, post))
        if post.output is not None:
            block = post.output
            new[lines.OUTPUT] = lines.merged(seen.output, block.offset, block.content)
        if post.events is not None:
            block = post.events
            new[lines.EVENTS] = lines.merged(seen.events, block.offset, block.content)
            damaged = isinstance(seen.system, DamagedText)  # one row of many, which are all lines
            newer = _newer({} if damaged else loads(seen.system), post.system)
            transition.fields["system"] = dumps(newer).decode()
        if new:
            transition.touch(main)  # whatever is written of a run, its version grows
        return _Done(transition, transition.change() if transition.touched else None, gone, new)

    def _generation(
        self, transition: RunTransition, heads: Sequence[Chunk], new: dict[str, list[Chunk]]
    ) -> str:
        """Return the writer whose lines these are; a new one where line 0 is another now."""
        record, base, digest = transition.record, self._base, self._post.first_line
        latest = line_ranges.generation_of(record, base)
        if digest is None or not self._has_head():
            return line_ranges.name_of(base, latest)
        known = {chunk.data: chunk.first for chunk in heads}
        if digest in known:
            return line_ranges.name_of(base, known[digest])
        if latest in known.values():
            latest += 1
            line_ranges.begin_generation(transition, base, 0)
        new[HEADS] = [Chunk(latest, 1, digest)]
        return line_ranges.name_of(base, latest)

    async def lock(self, connection: AsyncConnection) -> None:
        await self._state.ingest.lock_rows(connection, self.paths)

    async def write(self, connection: AsyncConnection, seen: _Seen, done: _Done) -> None:
        store, run_id = self._state.ingest, seen.record.id
        await _check(store, connection, self.paths, run_id, seen.version)
        old = {lines.OUTPUT: seen.output, lines.EVENTS: seen.events}
        for stream, chunks in done.lines.items():
            await lines_store.replace(connection, run_id, stream, old.get(stream, ()), chunks)
        if done.change is not None:
            await store.apply(connection, [done.change])
        if done.gone:
            await store.forget_writers(connection, run_id, done.gone)


async def _only(find: Find, connection: AsyncConnection, paths: list[RunKey]) -> RunRecord | None:
    return (await find(connection, paths)).get(paths[0])


async def _check(
    store: IngestStore,
    connection: AsyncConnection,
    paths: list[RunKey],
    run_id: int,
    version: int,
) -> None:
    """Lock a run's row; ChangedError where it is not what was read."""
    now = await _only(store.lock_rows, connection, paths)
    if now is None or (now.id, now.version) != (run_id, version):
        raise ChangedError


async def _touched(
    connection: AsyncConnection, run_id: int, stream: str, block: Block | None
) -> list[Chunk]:
    if block is None:
        return []
    return await lines.touched(connection, run_id, stream, block.offset, block.content)


def _main(record: RunRecord, base: str) -> str:
    return line_ranges.name_of(base, line_ranges.generation_of(record, base))


def _has_new_rows(transition: RunTransition, main: str, post: FileStreamRequest) -> bool:
    """Tell whether a request brings rows that the run did not have."""
    if post.history is None:
        return False
    here = line_ranges.received(transition.record, main)
    return any(line_ranges.holes(here, post.history.offset, post.history.stop))


def _take(transition: RunTransition, main: str, post: FileStreamRequest, news: bool) -> list[str]:
    """Apply a request to its run; returns the writers that are no more."""
    alive = _show_life(transition, main, news)
    gone = _take_rows(transition, main, post) if post.rows else []
    if post.summary is not None:
        _take_summary(transition, main, post.summary)
    if post.preempting and alive:
        transition.tell(main, {"t": "preempt"})
    if post.complete and alive:
        transition.tell(main, {"t": "finish", "exit_code": post.exit_code, "at": transition.now})
    return gone


def _show_life(transition: RunTransition, main: str, news: bool) -> bool:
    """Let the writer live; False for one that comes too late to a run that has ended.

    New rows bring such a run back to life, and so does a client that said by GraphQL that it
    begins; what was sent again, a sign of life, console lines and the like do not.
    """
    record = transition.record
    writer = record.writers.get(main)
    late = record.state in _ENDED if writer is None else writer.finished_at is not None
    if late and not news and record.state not in ALIVE:
        if writer is None:
            transition.open(main, 0, left=True)
        return False
    if writer is None:
        writer = transition.open(main, 0)
    writer.finished_at = writer.exit_code = None
    transition.take(main, [])
    return True


def _take_rows(transition: RunTransition, main: str, post: FileStreamRequest) -> list[str]:
    assert post.history is not None
    record, block = transition.record, post.history
    converted = post.converted
    if converted is None:
        next_step = 0 if record.last_step is None else record.last_step + 1
        converted = file_stream_request.convert(post.rows, next_step, transition.now)
    new = list(line_ranges.holes(line_ranges.received(record, main), block.offset, block.stop))
    if new and record.started_at is None:
        at = transition.now if converted.began is None else converted.began
        transition.tell(main, {"t": "start", "at": at})
    for start, stop in new:
        table = converted.table.slice(start - block.offset, stop - block.offset)
        frame = Frame(start, table)
        data = frame.encode()
        writer = line_ranges.writer_at(transition, main, start)
        transition.take(writer, [ReceivedFrame(peek(data), frame, data)])
    gone = line_ranges.join(transition, main)
    if len(line_ranges.received(record, main)) > line_ranges.MAX_SPANS:
        raise ApiError(
            400,
            "too_many_holes",
            "The run's history has too many holes. Nothing was written; send what is missing.",
        )
    return gone


def _take_summary(transition: RunTransition, main: str, summary: Mapping[str, object]) -> None:
    assert transition.fold is not None
    event = summary_event(transition.fold, summary)
    if event["set"] or event["delete"]:
        transition.tell(main, event)


def _newer(before: JsonObject, after: JsonObject) -> JsonObject:
    """Merge system metrics; those of a request that was sent again are not the newer ones."""
    old, new = before.get(TIME), after.get(TIME)
    late = isinstance(old, (int, float)) and isinstance(new, (int, float)) and new < old
    return {**after, **before} if late else {**before, **after}
