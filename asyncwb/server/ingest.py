"""POST /api/v1/ingest: rows come in, and are acknowledged once they are committed.

    wait for the sender's request before this one to be at work (`lanes`)
    check and decode every frame     in a thread, before any lock is taken
    wait until that request has ended
    one transaction: lock the runs -> judge and fold (in a thread) -> frames, runs, writers
    commit -> publish to the live page -> answer

A batch holds streams of many runs. A stream that is bad is refused alone; whatever makes the
batch unreadable refuses the request. An answer means that what it acknowledges is on disk.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web

from asyncwb.errors import BatchError, FrameError
from asyncwb.server import bodies
from asyncwb.server.access import Action, may
from asyncwb.server.errors import ApiError, StreamError, repeatable
from asyncwb.server.lanes import Lanes
from asyncwb.server.ledger import Ledger, ReceivedFrame, requires_run, touches_config
from asyncwb.server.state import STATE, USER, State
from asyncwb.server.store import former_names
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.ingest import IngestStore
from asyncwb.server.store.records import RunChange, RunPath, RunRecord
from asyncwb.server.store.users import User
from asyncwb.server.teams import ensure_entities
from asyncwb.server.turns import Turns
from asyncwb.wire import keys, names
from asyncwb.wire.frames import Frame, decode, peek
from asyncwb.wire.ingest import TURN_HEADER, Presence, Stream, decode_batch
from asyncwb.wire.summary import Fold
from asyncwb.wire.values import loads

T = TypeVar("T")

_FOLDS: Final = 256
_MAX_EVENT: Final = 3 * keys.MAX_DEPTH - 10
"""levels of an event: with more, a part of its frame could not be written again"""
_THREAD_ABOVE: Final = 16 * 1024
"""bytes of a batch above which its work is worth the hop to a thread (about 0.1 ms)."""


@dataclass(slots=True)
class Incoming:
    """One stream on its way in; `error` once it is refused."""

    path: RunPath
    writer: str
    presence: Presence = Presence.HERE
    frames: list[ReceivedFrame] = field(default_factory=list)
    error: StreamError | None = None
    next_seq: int = 0
    state: str = "running"
    stop: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the stream's entry in the answer."""
        if self.error is not None:
            return self.error.as_dict()
        answer = {"run": str(self.path), "next": self.next_seq, "state": self.state}
        return {**answer, "stop": self.stop}


def routes() -> list[web.RouteDef]:
    """Return the routes of ingest."""
    handler = Ingest()
    return [web.post("/api/v1/ingest", handler.handle)]


class FoldCache:
    """Folds of runs that are being written to, so that a busy run's is not parsed every time.

    A fold is taken out to be changed and put back after the commit under the run's new version;
    one whose transaction failed is simply not put back.
    """

    def __init__(self, size: int = _FOLDS) -> None:
        self._size = size
        self._folds: OrderedDict[tuple[int, int], Fold] = OrderedDict()

    def take(self, record: RunRecord) -> Fold | None:
        """Take out the fold of exactly this version of the run."""
        return self._folds.pop((record.id, record.version), None)

    def put(self, record: RunRecord, fold: Fold) -> None:
        """Keep the fold of a version that is committed."""
        self._folds[record.id, record.version] = fold
        while len(self._folds) > self._size:
            self._folds.popitem(last=False)


class Ingest:
    """The handler, with the folds of the runs it saw last."""

    def __init__(self) -> None:
        self._folds = FoldCache()
        self._turns = Turns()
        self._lanes = Lanes()

    @repeatable
    async def handle(self, request: web.Request) -> web.Response:
        """Take in one batch."""
        state, user, began = request.app[STATE], request[USER], time.perf_counter()
        with self._lanes.place(user.id, request.headers.get(TURN_HEADER)) as place:
            body = await bodies.read(request, state.config.max_body)
            state.metrics.add("asyncwb_ingest_bytes_total", len(body))
            await place.until_begun()
            async with self._turns.turn():
                place.begin()
                streams = await aside(state, len(body), receive, body, user, state.config.max_raw)
                await place.until_done()
                ledgers = await self._commit(state, streams, len(body), user)
        self._after(state, streams, ledgers, time.perf_counter() - began)
        answer = {"streams": [stream.as_dict() for stream in streams]}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def _commit(
        self, state: State, streams: Sequence[Incoming], size: int, user: User
    ) -> list[Ledger]:
        await _find_owners(state, streams, user)
        good = [stream for stream in streams if stream.error is None]
        if not good:
            return []
        async with state.database.transaction() as connection:
            ledgers = await self._ledgers(connection, state, good, user)
            changes = await aside(state, size, _apply, ledgers, good)
            store = state.ingest
            await store.add_frames(connection, [f for led in ledgers.values() for f in led.frames])
            await store.apply(connection, changes)
        return [ledgers[change.record.path] for change in changes]

    async def _ledgers(
        self,
        connection: AsyncConnection,
        state: State,
        streams: Sequence[Incoming],
        user: User,
    ) -> dict[RunPath, Ledger]:
        store, now, crash_after = state.ingest, state.clock(), state.config.crash_after
        records = await self._lock(connection, store, streams)
        missing = {s.path for s in streams if s.path not in records and not requires_run(s.frames)}
        if missing:
            records |= await store.create(connection, missing, now, user.id)
        busy = {s.path for s in streams if s.frames}
        told = {s.path for s in streams if any(touches_config(f.frame) for f in s.frames)}
        ids = [records[path].id for path in told if path in records]
        configs = await store.configs(connection, ids) if ids else {}
        folds = await self._take_folds(
            connection, store, [records[path] for path in busy if path in records]
        )
        return {
            path: Ledger(
                record,
                now,
                crash_after,
                fold=folds.get(record.id),
                config=configs.get(record.id),
                created=path in missing,
            )
            for path, record in records.items()
        }

    async def _lock(
        self, connection: AsyncConnection, store: IngestStore, streams: Sequence[Incoming]
    ) -> dict[RunPath, RunRecord]:
        """Lock the runs of streams; a stream under a former name of a project goes to it."""
        records = await store.lock(connection, {stream.path for stream in streams})
        absent = {stream.path for stream in streams} - records.keys()
        moved = await former_names.follow(connection, absent) if absent else {}
        for stream in streams:
            stream.path = moved.get(stream.path, stream.path)
        return records | (await store.lock(connection, set(moved.values())) if moved else {})

    async def _take_folds(
        self, connection: AsyncConnection, store: IngestStore, records: Sequence[RunRecord]
    ) -> dict[int, Fold]:
        folds: dict[int, Fold] = {}
        cold: list[int] = []
        for record in records:
            fold = Fold() if record.version == 0 else self._folds.take(record)
            if fold is None:
                cold.append(record.id)
            else:
                folds[record.id] = fold
        if cold:
            for run_id, text in (await store.folds(connection, cold)).items():
                folds[run_id] = read_fold(text)
        return folds

    def _after(
        self, state: State, streams: Iterable[Incoming], ledgers: Sequence[Ledger], took: float
    ) -> None:
        for ledger in ledgers:
            if ledger.fold is not None:
                self._folds.put(ledger.record, ledger.fold)
            for frame in ledger.frames:
                state.metrics.add("asyncwb_ingest_rows_total", frame.rows)
            state.metrics.add("asyncwb_ingest_frames_total", len(ledger.frames))
        for stream in streams:
            if stream.error is not None:
                label = f'code="{stream.error.code}"'
                state.metrics.add("asyncwb_ingest_stream_errors_total", label=label)
        state.metrics.add("asyncwb_ingest_seconds_total", took)
        state.hub.publish(ledger.record.id for ledger in ledgers)


def read_fold(text: str) -> Fold:
    """Return the fold of a run from what its row says."""
    state = loads(text.encode())
    return Fold.from_state(state) if state else Fold()


async def aside(state: State, size: int, work: Callable[..., T], *args: Any) -> T:
    """Do the work of a request of so many bytes; in a writer's thread where it is worth the hop.

    Also for work in the midst of a transaction: it waits for no thread (`threads`).
    """
    return await state.writers.run(work, *args) if size > _THREAD_ABOVE else work(*args)


def receive(body: bytes, user: User, max_raw: int) -> list[Incoming]:
    """Check and decode a batch; what is wrong with one stream is noted on it.

    Raises:
        ApiError: the batch itself cannot be read.
    """
    try:
        streams = decode_batch(body)
    except BatchError as error:
        raise ApiError(400, "bad_batch", f"{error}. Nothing was written.") from error
    budget, received = max_raw, []
    for stream in streams:
        incoming = _addressed(stream, user)
        if incoming.error is None:
            budget = _decode_frames(stream, incoming, budget)
        received.append(incoming)
    return received


async def _find_owners(state: State, streams: Sequence[Incoming], user: User) -> None:
    """Make the teams that an admin's streams are for; note on a stream that there can be none."""
    for stream in streams:
        if stream.error is None and stream.path.entity not in user.roles:
            try:
                await ensure_entities(state, user, {stream.path.entity})
            except ApiError as error:
                stream.error = StreamError("bad_name", error.message)


def _addressed(stream: Stream, user: User) -> Incoming:
    head = stream.head
    entity = head.entity or user.entity
    incoming = Incoming(RunPath(entity, head.project, head.run), head.writer, head.presence)
    problem = names.problem_of(*incoming.path)
    if problem is not None:
        incoming.error = StreamError("bad_name", f"{problem}. Nothing was written.")
    elif not may(user, Action.WRITE, entity):
        incoming.error = StreamError(
            "forbidden",
            f"this key may not write to {entity}. Nothing was written; use a key of that entity.",
        )
    return incoming


def _decode_frames(stream: Stream, incoming: Incoming, budget: int) -> int:
    """Decode the frames of one stream; return what is left of the bytes they may become."""
    for data in stream.frames:
        try:
            info = peek(data)
            if info.size != len(data):
                raise FrameError("bytes follow the frame")
            if info.raw_size > budget:
                raise _too_large(info.raw_size)
            frame = decode(data, max_raw=budget)
            _check_depth(frame)
            incoming.frames.append(ReceivedFrame(info, frame, bytes(data)))
            budget -= info.raw_size
        except FrameError as error:
            message = f"{error}. Nothing of this stream was written; send its frames again."
            incoming.error = StreamError("bad_frame", message, retry=True)
        except StreamError as error:
            incoming.error = error
        if incoming.error is not None:
            break
    return budget


def _check_depth(frame: Frame) -> None:
    """Let only values pass that every reader can take; what a config says is the ledger's."""
    deep = any(keys.is_too_deep(event, _MAX_EVENT) for _, event in frame.events)
    for column in frame.table.texts:
        deep = deep or any(keys.is_too_deep(v) for v in column.values if type(v) in (list, dict))
    if deep:
        raise StreamError(
            "too_deep",
            f"a value is nested deeper than {keys.MAX_DEPTH} levels. "
            "Nothing of this stream was written; log a flatter value.",
        )


def _too_large(size: int) -> StreamError:
    return StreamError(
        "frame_too_large",
        f"the batch decompresses to more than this server takes (a frame of {size} bytes). "
        "Nothing of this stream was written; send smaller batches.",
        retry=True,
    )


def _apply(ledgers: dict[RunPath, Ledger], streams: Sequence[Incoming]) -> list[RunChange]:
    for stream in streams:
        ledger = ledgers.get(stream.path)
        try:
            if ledger is None:
                raise _not_found(stream)
            stream.next_seq = ledger.take(stream.writer, stream.frames, stream.presence)
            stream.state = ledger.record.state
            stream.stop = ledger.record.stop_requested
        except StreamError as error:
            stream.error = error
    return [ledger.change() for ledger in ledgers.values() if ledger.touched]


def _not_found(stream: Incoming) -> StreamError:
    return StreamError(
        "run_not_found",
        f"there is no run {stream.path}. Nothing was written; send its frames from 0, or check "
        "the id if it must exist.",
        next_seq=0,
    )
