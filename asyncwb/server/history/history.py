"""A run's numbers over HTTP: series for charts, and whole histories as a stream.

    GET .../series     buckets of one or more keys, JSON          (chart.py)
    GET .../history    all rows, or a sample, merged by step      (rows.py)

A history is streamed window by window in one of four formats: `frames` (wire frames, each
behind its length as a little-endian u32: what our client reads), `arrow` (an IPC stream),
`parquet` (a file, a row group a window: what our client exports) and `jsonl` (one object a line;
NaN and infinities are bare tokens). A failure after the first byte cuts the connection, so that a
short answer cannot be taken for a whole one.

Rows that are damaged in the store are left out and named: among `frames` by a frame that stands in
for what is lost, in a series by `missing`. The other formats have no place for that, so a history
of which a part is damaged is refused in them, unless `damaged=skip` asks for the rest.

`background` is what the application runs in the background: it makes the `Sources` and `Rewinds`
that the handlers share, and keeps sealing.
"""

from __future__ import annotations

import logging
import math
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, nullcontext
from typing import Final, Protocol

import anyio
import orjson
from aiohttp import web
from xxhash import xxh3_128_hexdigest

from asyncwb.server.history import chart, rows, sample
from asyncwb.server.history.chart import AXES, Query
from asyncwb.server.history.parquet import ArrowStream, ParquetStream, kinds_of
from asyncwb.server.history.rewind import REWINDS, Rewinds
from asyncwb.server.history.rows import Selection
from asyncwb.server.history.sample import Spec, paths_of
from asyncwb.server.history.seal import Sealer
from asyncwb.server.history.sources import Sources
from asyncwb.server.http.access import run_not_found
from asyncwb.server.http.auth import takes_nul
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.parameters import whole_number
from asyncwb.server.http.state import STATE
from asyncwb.server.objects.damage import Missing, refusal
from asyncwb.server.objects.garbage_collection import collecting
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.process.background import TASKS
from asyncwb.server.runs.runs import run_of
from asyncwb.server.store.runs.segments import RunRef, Segments
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Table
from asyncwb.wire.rows.values import dumps

log = logging.getLogger("asyncwb.server")

SOURCES: web.AppKey[Sources] = web.AppKey("sources", Sources)
SEALER: web.AppKey[Sealer] = web.AppKey("sealer", Sealer)

MAX_KEYS: Final = 200
"""keys in one request: more would not fit the length of an address anyway."""
MAX_BUCKETS: Final = 100_000
MAX_SAMPLES: Final = 1_000_000
_STEP_LIMIT: Final = 2**63


def routes() -> list[web.RouteDef]:
    """Return the routes of series and histories."""
    run = "/api/v1/runs/{entity}/{project}/{run}"
    return [
        web.get(f"{run}/series", get_series),
        web.get(f"{run}/history", get_history, allow_head=False),
    ]


async def background(app: web.Application) -> AsyncIterator[None]:
    """Seal in the background (a cleanup context of aiohttp)."""
    state = app[STATE]
    store, objects = Segments(state.database, state.claims), app[OBJECTS]
    app[SOURCES] = Sources(store, objects)
    app[SEALER] = Sealer(store, objects, clock=state.clock, metrics=state.metrics)
    try:
        async with anyio.create_task_group() as rewinds:
            app[REWINDS] = Rewinds(state, app[SOURCES], objects, rewinds)
            try:
                async with (
                    app[TASKS].keep("sealing", app[SEALER].work),
                    collecting(state, objects, app[TASKS]),
                ):
                    yield
            finally:
                app[REWINDS].stop()
    finally:
        app[SOURCES].threads.close()


@takes_nul
async def get_series(request: web.Request) -> web.Response:
    """Answer buckets of the keys asked for, all from one moment of the run.

    `Server-Timing`, here and with a sample, says how many milliseconds it took.
    """
    began = time.perf_counter()
    run = await _run(request)
    queries = _queries(request, run)
    sources = request.app[SOURCES]
    series = b",".join(await chart.read_json(sources, run.id, queries))
    body = b'{"x":%b,"series":[%b]}' % (orjson.dumps(queries[0].axis), series)
    # A browser keeps the answer, and asks with the tag whether it is still the same.
    tag = xxh3_128_hexdigest(body)
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache", **_took("series", began)}
    if any(known.value == tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


def _took(what: str, began: float) -> dict[str, str]:
    return {"Server-Timing": f"{what};dur={1e3 * (time.perf_counter() - began):.3f}"}


@takes_nul
async def get_history(request: web.Request) -> web.StreamResponse:
    """Stream the rows asked for."""
    began = time.perf_counter()
    run = await _run(request)
    selection, samples = (
        _selection(request),
        _whole(request, "samples", 1, MAX_SAMPLES),
    )
    sources = request.app[SOURCES]
    encoder = await _encoder(request, sources, run, selection)
    missing: list[Missing] = []
    if not isinstance(encoder, _Frames) and samples is None and not _skips(request):
        missing += await rows.damage(sources, run, selection)
    response = web.StreamResponse(headers={"Content-Type": encoder.content_type})
    if samples is not None:
        names = _names(request)
        sampled = await _sampled(sources, run, selection, samples, names, missing)
        response.headers.update(_took("sample", began))
    if missing and not isinstance(encoder, _Frames) and not _skips(request):
        raise refusal(missing)
    if samples is not None:
        await _stream(request, response, encoder, _one(sampled), missing)
        return response
    async with aclosing(rows.read(sources, run, selection, missing)) as tables:
        await _stream(request, response, encoder, tables, missing)
    return response


def _skips(request: web.Request) -> bool:
    match request.query.get("damaged", "refuse"):
        case "refuse":
            return False
        case "skip":
            return True
    raise _bad("damaged must be refuse or skip.")


async def _sampled(
    sources: Sources,
    run: RunRef,
    selection: Selection,
    samples: int,
    names: tuple[str, ...],
    missing: list[Missing],
) -> Table:
    if names:
        spec = Spec(names, samples, selection.min_step, selection.max_step)
        return await sample.table_with_keys(sources, run, spec, missing)
    if selection == Selection():
        return await sample.of_history(sources, run, samples, missing)
    async with aclosing(rows.read(sources, run, selection, missing)) as tables:
        return await rows.sample(tables, samples)


async def _one(table: Table) -> AsyncIterator[Table]:
    if table.n:
        yield table


async def _stream(
    request: web.Request,
    response: web.StreamResponse,
    encoder: Encoder,
    tables: AsyncIterator[Table],
    missing: Sequence[Missing],
) -> None:
    """Send what there is; `missing` grows meanwhile, where the format has a place to tell it."""
    told = 0
    try:
        async for table in tables:
            sources = request.app[SOURCES]
            async with sources.in_python if encoder.in_python else nullcontext():
                data = await sources.threads.run(encoder.encode, table)
            if not response.prepared:  # not before: an error of the first window is a 5xx
                await response.prepare(request)
            await response.write(b"".join(map(encoder.lost, missing[told:])) + data)
            told = len(missing)
        if not response.prepared:
            await response.prepare(request)
        await response.write(b"".join(map(encoder.lost, missing[told:])) + encoder.end())
        await response.write_eof()
    except ConnectionResetError:
        raise
    except Exception as error:
        if not response.prepared:
            raise
        log.exception("%s ended early", request.path)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the history could not be read to its end") from error


class Encoder(Protocol):
    """One format of a history. `encode` blocks; tables come in order."""

    content_type: str
    in_python: bool
    """whether it is Python that encodes, row by row: several at once would only take each other,
    and the event loop, the interpreter"""

    def encode(self, table: Table) -> bytes:
        """Return the bytes of the next rows."""

    def lost(self, missing: Missing) -> bytes:
        """Return the bytes that say what is left out here; none where the format has no place."""

    def end(self) -> bytes:
        """Return what follows the last row."""


class _Frames:
    content_type = "application/vnd.asyncwb.frames"
    in_python = False

    def __init__(self) -> None:
        self._rows = 0

    def encode(self, table: Table) -> bytes:
        frame = frames.encode(self._rows, table)
        self._rows += table.n
        return struct.pack("<I", len(frame)) + frame

    def lost(self, missing: Missing) -> bytes:
        frame = frames.encode_lost(self._rows, max(1, missing.rows), str(missing))
        return struct.pack("<I", len(frame)) + frame

    def end(self) -> bytes:
        return b""


class _JsonLines:
    content_type = "application/x-ndjson"
    in_python = True

    def encode(self, table: Table) -> bytes:
        return b"".join(dumps(row) + b"\n" for row in table.iter_rows())

    def lost(self, missing: Missing) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


class _Arrow(ArrowStream):
    content_type = "application/vnd.apache.arrow.stream"
    in_python = False

    def lost(self, missing: Missing) -> bytes:
        return b""


class _Parquet(ParquetStream):
    content_type = "application/vnd.apache.parquet"
    in_python = False

    def lost(self, missing: Missing) -> bytes:
        return b""


async def _encoder(
    request: web.Request, sources: Sources, run: RunRef, selection: Selection
) -> Encoder:
    match request.query.get("format", "frames"):
        case "frames":
            return _Frames()
        case "jsonl":
            return _JsonLines()
        case "arrow":
            return _Arrow(list(kinds_of(await rows.kinds(sources, run, selection))))
        case "parquet":
            return _Parquet(list(kinds_of(await rows.kinds(sources, run, selection))))
    raise _bad("format must be frames, arrow, parquet or jsonl.")


async def _run(request: web.Request) -> RunRef:
    path, _ = await run_of(request)
    run = await request.app[SOURCES].store.locate(path)
    if run is None:  # deleted meanwhile
        raise run_not_found(path)
    return run


def _names(request: web.Request) -> tuple[str, ...]:
    return tuple(dict.fromkeys(request.query.getall("name", [])))


def _selection(request: web.Request) -> Selection:
    named = (path for name in _names(request) for path in paths_of(name))
    asked = [*request.query.getall("key", []), *named]
    for several in request.query.getall("keys", []):
        asked += [key for key in several.split(",") if key]
    keys = tuple(dict.fromkeys(asked)) or None
    if keys is not None and len(keys) > MAX_KEYS:
        raise _bad(f"Ask for at most {MAX_KEYS} keys; leave out key for all.")
    low = _whole(request, "min_step", -_STEP_LIMIT, _STEP_LIMIT - 1)
    high = _whole(request, "max_step", -_STEP_LIMIT, _STEP_LIMIT - 1)
    return Selection(keys, low, high)


def _queries(request: web.Request, run: RunRef) -> list[Query]:
    keys = list(dict.fromkeys(request.query.getall("key", [])))
    if not keys or len(keys) > MAX_KEYS:
        raise _bad(f"Name 1 to {MAX_KEYS} keys, each as key=NAME.")
    buckets = _whole(request, "buckets", 2, MAX_BUCKETS)
    axis = next((axis for axis in AXES if axis == request.query.get("x", AXES[0])), None)
    if axis is None:
        raise _bad(f"x must be one of {', '.join(AXES)}.")
    low, high = _real(request, "min"), _real(request, "max")
    if low is not None and high is not None and low >= high:
        raise _bad("min must be below max.")
    return [Query(key, axis, buckets or 1000, low, high, run.began) for key in keys]


def _whole(request: web.Request, name: str, least: int, most: int) -> int | None:
    return whole_number(request.query.get(name), name, default=None, least=least, most=most)


def _real(request: web.Request, name: str) -> float | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad(f"{name} must be a finite number.")
    return value


def _bad(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)
