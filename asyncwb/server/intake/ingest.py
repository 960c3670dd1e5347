"""POST /api/v1/ingest: rows come in, and are acknowledged once they are committed.

    wait for the sender's request before this one to be at work (`request_order`)
    check and decode every frame     in a thread, before any lock is taken
    wait until that request has ended
    judge and fold (`run_changes`)   in a thread, from what the runs were when they were read
    one transaction: lock the runs -> where they are still that: frames, runs, writers
    commit -> publish to the live page -> answer

A batch holds streams of many runs. A stream that is bad is refused alone; whatever makes the
batch unreadable refuses the request. An answer means that what it acknowledges is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar, TypeVarTuple

import orjson
from aiohttp import web

from asyncwb.errors import BatchError, FrameError, FrameTooLargeError
from asyncwb.server.http import body_limits
from asyncwb.server.http.access import Action, may
from asyncwb.server.http.errors import ApiError, StreamError, repeatable
from asyncwb.server.http.state import STATE, USER, State
from asyncwb.server.intake.folds import read_fold
from asyncwb.server.intake.pace import Pace
from asyncwb.server.intake.request_order import RequestOrder
from asyncwb.server.intake.run_transitions import (
    ReceivedFrame,
    RunTransition,
    requires_run,
    touches_config,
)
from asyncwb.server.objects.damage import DamagedError, document_refusal, sound
from asyncwb.server.people.teams import missing_teams
from asyncwb.server.process.admission_queue import AdmissionQueue
from asyncwb.server.process.fold_cache import Known, weight
from asyncwb.server.process.run_changes import ChangedError, Connect
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.people.users import User
from asyncwb.server.store.records import RunChange, RunKey, RunRecord
from asyncwb.server.store.runs import former_names
from asyncwb.server.store.runs.ingest import NEW, new_record
from asyncwb.typing import JsonObject
from asyncwb.wire import names
from asyncwb.wire.ingest import TURN_HEADER, Presence, Stream, decode_batch
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.frames import Frame, decode, peek
from asyncwb.wire.rows.value_count import MAX_VALUES
from asyncwb.wire.rows.values import loads
from asyncwb.wire.summary.fold import Fold

T = TypeVar("T")
Args = TypeVarTuple("Args")
Find: TypeAlias = Callable[
    [AsyncConnection, Collection[RunKey]], Awaitable[dict[RunKey, RunRecord]]
]

_MAX_EVENT: Final = 3 * keys.MAX_DEPTH - 10
"""levels of an event: with more, a part of its frame could not be written again"""
_THREAD_ABOVE: Final = 16 * 1024
"""bytes of a batch above which its work is worth the hop to a thread (about 0.1 ms)."""
_RATIO: Final = 4
"""how many times their bytes frames of numbers decompress to, at most; of a long list of zeros it
may be a thousand times"""


@dataclass(slots=True)
class Incoming:
    """One stream on its way in; `error` once it is refused."""

    path: RunKey
    writer: str
    presence: Presence = Presence.HERE
    frames: list[ReceivedFrame] = field(default_factory=list)
    error: StreamError | None = None
    next_seq: int = 0
    state: str = "running"
    stop: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return the stream's entry in the answer."""
        if self.error is not None:
            return self.error.as_dict()
        answer = {"run": str(self.path), "next": self.next_seq, "state": self.state}
        return {**answer, "stop": self.stop}


def routes() -> list[web.RouteDef]:
    """Return the routes of ingest."""
    handler = Ingest()
    return [web.post("/api/v1/ingest", handler.handle)]


class Ingest:
    """The handler: who may come in now, in which order, and how soon again."""

    def __init__(self) -> None:
        self._turns = AdmissionQueue()
        self._lanes = RequestOrder()
        self._pace = Pace()

    @repeatable
    async def handle(self, request: web.Request) -> web.Response:
        """Take in one batch."""
        state, user, began = request.app[STATE], request[USER], time.perf_counter()
        with self._lanes.place(user.id, request.headers.get(TURN_HEADER)) as place:
            body = await body_limits.read(request, state.config.max_body)
            state.metrics.add("asyncwb_ingest_bytes_total", len(body))
            await place.until_begun()
            async with self._turns.turn():
                place.begin()
                streams = await _receive(state, body, user)
                await place.until_done()
                transitions = await _commit(state, streams, len(body), user)
        _after(state, streams, transitions, time.perf_counter() - began)
        answer: dict[str, object] = {"streams": [stream.as_dict() for stream in streams]}
        if gather := self._pace.gather():
            answer["gather"] = round(gather, 3)
        return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _commit(
    state: State, streams: Sequence[Incoming], size: int, user: User
) -> Sequence[RunTransition]:
    teams = await _find_owners(state, streams, user)
    good = [stream for stream in streams if stream.error is None]
    if not good:
        return []
    raw = sum(received.info.raw_size for stream in good for received in stream.frames)
    size = max(size, raw // _RATIO)
    done = await state.changes.carry_out(_Batch(state, good, size, user, teams))
    state.teams.made(teams)
    for transition in done.transitions:
        state.folds.put(transition.record, transition.fold)
    return done.transitions


def _after(
    state: State, streams: Iterable[Incoming], transitions: Sequence[RunTransition], took: float
) -> None:
    for transition in transitions:
        for frame in transition.frames:
            state.metrics.add("asyncwb_ingest_rows_total", frame.rows)
        state.metrics.add("asyncwb_ingest_frames_total", len(transition.frames))
    for stream in streams:
        if stream.error is not None:
            state.metrics.add("asyncwb_ingest_stream_errors_total", code=stream.error.code)
    state.metrics.add("asyncwb_ingest_seconds_total", took)
    state.hub.publish(transition.record.id for transition in transitions)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The runs of a batch as they were read.

    `stood` says of every stream where it goes, and of that run (id, version), None where there was
    none. `folds` that this process still had, by the runs' names; `texts` of the others, and
    `configs`, by their ids.
    """

    now: float
    stood: list[tuple[RunKey, tuple[int, int] | None]]
    records: dict[RunKey, RunRecord]
    folds: dict[RunKey, Fold]
    texts: dict[int, str]
    configs: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Done:
    """What is to be written: runs that are made, and those that change, in one order."""

    create: set[RunKey]
    transitions: list[RunTransition]
    changes: list[RunChange]


class _Batch:
    """The change that a batch makes, with the teams that it needs; answers are noted on its
    streams."""

    def __init__(
        self,
        state: State,
        streams: Sequence[Incoming],
        size: int,
        user: User,
        teams: Collection[str],
    ) -> None:
        self._state = state
        self._streams = streams
        self._size = size
        self._user = user
        self._teams = teams
        self.paths = [stream.path for stream in streams]

    async def read(self, connect: Connect, *, fresh: bool) -> _Seen:
        self._put_back()
        wanted = {stream.path for stream in self._streams}
        known = {} if fresh else self._known(wanted)
        records = {path: one.record for path, one in known.items()}
        folds = {path: one.fold for path, one in known.items() if one.fold is not None}
        texts: dict[int, str] = {}
        configs: dict[int, str] = {}
        told = any(touches_config(f.frame) for s in self._streams for f in s.frames)
        if told or len(records) < len(wanted):
            store = self._state.ingest
            async with connect() as connection:
                records |= await self._find(connection, store.read, wanted - records.keys())
                busy = {s.path for s in self._streams if s.frames} & records.keys()
                texts = await store.folds(
                    connection, [records[path].id for path in busy - folds.keys()]
                )
                configs = await store.configs(connection, self._told(records))
        return _Seen(self._state.clock(), self._standing(records), records, folds, texts, configs)

    def _put_back(self) -> None:
        """Let streams go where they asked to go, until it is found where that is now."""
        for stream, path in zip(self._streams, self.paths, strict=True):
            stream.path = path

    def _standing(
        self, records: Mapping[RunKey, RunRecord]
    ) -> list[tuple[RunKey, tuple[int, int] | None]]:
        found = ((stream.path, records.get(stream.path)) for stream in self._streams)
        return [(path, None if one is None else (one.id, one.version)) for path, one in found]

    def _known(self, paths: Iterable[RunKey]) -> dict[RunKey, Known]:
        busy = {stream.path for stream in self._streams if stream.frames}
        found = ((path, self._state.folds.take(path)) for path in paths)
        return {
            path: known
            for path, known in found
            if known is not None and (known.fold is not None or path not in busy)
        }

    def _told(self, records: Mapping[RunKey, RunRecord]) -> list[int]:
        told = {s.path for s in self._streams if any(touches_config(f.frame) for f in s.frames)}
        return [records[path].id for path in told if path in records]

    async def _find(
        self, connection: AsyncConnection, find: Find, paths: Collection[RunKey]
    ) -> dict[RunKey, RunRecord]:
        """Find runs; a stream under a former name of a project goes to it."""
        records = await find(connection, paths)
        absent = set(paths) - records.keys()
        moved = await former_names.follow(connection, absent) if absent else {}
        for stream in self._streams:
            stream.path = moved.get(stream.path, stream.path)
        return records | (await find(connection, set(moved.values())) if moved else {})

    async def compute(self, seen: _Seen) -> _Done:
        texts = (*seen.texts.values(), *seen.configs.values())
        size = self._size + sum(map(len, texts)) + sum(map(weight, seen.folds.values()))
        return await aside(self._state, size, self._apply, seen)

    def _apply(self, seen: _Seen) -> _Done:
        records = dict(seen.records)
        create = {s.path for s in self._streams if not requires_run(s.frames)} - records.keys()
        records |= {path: new_record(path, seen.now) for path in create}
        transitions: dict[RunKey, RunTransition] = {}
        damaged: dict[RunKey, DamagedError] = {}
        for path, record in records.items():
            try:
                transitions[path] = self._transition(record, seen)
            except DamagedError as error:
                damaged[path] = error
        for stream in self._streams:
            _take(transitions.get(stream.path), stream, damaged.get(stream.path))
        touched = [transition for transition in transitions.values() if transition.touched]
        return _Done(create, touched, [transition.change() for transition in touched])

    def _transition(self, record: RunRecord, seen: _Seen) -> RunTransition:
        fold = seen.folds.get(record.path)
        if record.id in seen.texts:
            fold = read_fold(seen.texts[record.id])
        config: JsonObject | None = {} if record.id == NEW else None
        if record.id in seen.configs:
            config = loads(sound(seen.configs[record.id], "the run's config"))
        return RunTransition(
            record,
            seen.now,
            self._state.config.crash_after,
            fold=Fold() if record.id == NEW else fold,
            config=config,
            created=record.id == NEW,
        )

    async def lock(self, connection: AsyncConnection) -> None:
        self._put_back()
        await self._find(connection, self._state.ingest.lock_rows, set(self.paths))

    async def write(self, connection: AsyncConnection, seen: _Seen, done: _Done) -> None:
        store = self._state.ingest
        self._put_back()
        records = await self._find(connection, store.lock_rows, set(self.paths))
        if self._standing(records) != seen.stood:
            raise ChangedError
        await self._state.teams.add(connection, self._teams, seen.now, admin_id=self._user.id)
        if done.create:
            made = await store.create(connection, done.create, seen.now, self._user.id)
            if any(record.version for record in made.values()):
                raise ChangedError  # another process has made it meanwhile
            for transition in done.transitions:
                if transition.created:
                    transition.number(made[transition.record.path].id)
        await store.apply(connection, done.changes)


async def aside(state: State, size: int, work: Callable[[*Args], T], *args: *Args) -> T:
    """Do the work on so many bytes (of the request, and of what is stored of its runs); in a
    writer's thread where it is worth the hop."""
    return await state.writers.run(work, *args) if size > _THREAD_ABOVE else work(*args)


async def _receive(state: State, body: bytes, user: User) -> list[Incoming]:
    """Check and decode a batch; what is wrong with one stream is noted on it.

    Raises:
        ApiError: the batch itself cannot be read.
    """
    most = state.config.max_raw
    if len(body) > _THREAD_ABOVE:
        return await state.writers.run(lambda: _decode(_take_apart(body), user, most))
    streams = _take_apart(body)
    raw = sum(_raw_size(data) for stream in streams for data in stream.frames)
    return await aside(state, raw // _RATIO, _decode, streams, user, most)


def _take_apart(body: bytes) -> list[Stream]:
    try:
        return decode_batch(body)
    except BatchError as error:
        raise ApiError(400, "bad_batch", f"{error}. Nothing was written.") from error


def _raw_size(data: bytes | memoryview) -> int:
    """Return how many bytes a frame says that it becomes; 0 for what is none."""
    try:
        return peek(data).raw_size
    except FrameError:
        return 0


def _decode(streams: Iterable[Stream], user: User, max_raw: int) -> list[Incoming]:
    budget, received = max_raw, []
    for stream in streams:
        incoming = _addressed(stream, user)
        if incoming.error is None:
            budget = _decode_frames(stream, incoming, budget)
        received.append(incoming)
    return received


async def _find_owners(state: State, streams: Sequence[Incoming], user: User) -> set[str]:
    """Find the teams to make for an admin's streams, which make runs in them; note on a stream that
    there can be none."""
    teams: set[str] = set()
    for stream in streams:
        unknown = stream.path.entity not in user.roles
        if stream.error is None and unknown and not requires_run(stream.frames):
            try:
                teams.update(await missing_teams(state, user, {stream.path.entity}))
            except ApiError as error:
                stream.error = StreamError("bad_name", error.message)
    return teams


def _addressed(stream: Stream, user: User) -> Incoming:
    head = stream.head
    entity = head.entity or user.entity
    incoming = Incoming(RunKey(entity, head.project, head.run), head.writer, head.presence)
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
            frame = decode(data, max_raw=budget, max_values=MAX_VALUES)
            _check_depth(frame)
            incoming.frames.append(ReceivedFrame(info, frame, bytes(data)))
            budget -= info.raw_size
        except FrameTooLargeError as error:
            incoming.error = _too_large(error)
        except FrameError as error:
            message = f"{error}. Nothing of this stream was written; send its frames again."
            incoming.error = StreamError("bad_frame", message, retry=True)
        except StreamError as error:
            incoming.error = error
        if incoming.error is not None:
            break
    return budget


def _check_depth(frame: Frame) -> None:
    """Let only values pass that every reader can take; what a config says is the transition's."""
    deep = any(keys.is_too_deep(event, _MAX_EVENT) for _, event in frame.events)
    for column in frame.table.texts:
        deep = deep or any(keys.is_too_deep(v) for v in column.values if type(v) in (list, dict))
    if deep:
        raise StreamError(
            "too_deep",
            f"a value is nested deeper than {keys.MAX_DEPTH} levels. "
            "Nothing of this stream was written; log a flatter value.",
        )


def _too_large(error: FrameTooLargeError) -> StreamError:
    return StreamError(
        "frame_too_large",
        f"the batch becomes more than this server takes: {error}. Nothing of this stream was "
        "written; send less at once.",
        retry=True,
    )


def _take(transition: RunTransition | None, stream: Incoming, damage: DamagedError | None) -> None:
    stream.error = None
    try:
        if damage is not None:
            message = document_refusal(damage, 503, "Nothing of this stream was written").message
            raise StreamError("document_damaged", message, retry=True)
        if transition is None:
            raise _not_found(stream)
        stream.next_seq = transition.take(stream.writer, stream.frames, stream.presence)
        stream.state = transition.record.state
        stream.stop = transition.record.stop_requested
    except StreamError as error:
        stream.error = error


def _not_found(stream: Incoming) -> StreamError:
    return StreamError(
        "run_not_found",
        f"there is no run {stream.path}. Nothing was written; send its frames from 0, or check "
        "the id if it must exist.",
        next_seq=0,
    )
