"""Rewinding: a run goes back to a step, and what came after it never was.

What is dropped is gone for good, in frames and in sealed segments alike, so no reader needs to
know of it. It is done in this order, so that a failure at any moment leaves the run as it was:

    1. claim the run, as sealing does             nobody seals or merges meanwhile
    2. read what stays of the segments; write new files for those that the step cuts through
    3. read and cut the frames, and see what the run's row says
    4. ONE transaction: check the claim, lock the run; where it has changed since, 3 once more for
       what is new; swap the frames and segments, correct the writers, the summary and the counts

The files that were replaced are dropped by that transaction, and deleted once a grace is over.

Reading ten million rows takes longer than a client waits for an answer. So a rewind belongs to
nobody's request: it goes on when its client has given up, and the client that asks once more waits
for the one that is under way.

The summary is folded anew from the rows that stay; values that were only ever set by hand stay.
The W&B client that asked for it goes on at the line behind the rows that stay, so frames of W&B
clients give their numbers up: they become those of a writer that nobody is. Our own clients keep
theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

import anyio
from aiohttp import web
from anyio import to_thread
from anyio.abc import TaskGroup

from asyncwb.server.history.cut import Cut, CutShortError
from asyncwb.server.history.seal import claim_of
from asyncwb.server.history.sources import Sources
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import State
from asyncwb.server.intake import line_ranges
from asyncwb.server.intake.run_transitions import RunTransition
from asyncwb.server.objects.damage import DamagedError
from asyncwb.server.objects.objects import Objects
from asyncwb.server.process.claims import held
from asyncwb.server.store.claims import Claim, ConflictError
from asyncwb.server.store.database import AsyncConnection, UncertainCommitError
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs import edits as store
from asyncwb.server.store.runs.edits import EditedRun
from asyncwb.server.store.runs.segments import FrameRow

_PATIENCE: Final = 90.0
"""seconds to wait for whoever has claimed the run; one that died has lost it by then"""
_LOOK: Final = 0.1
_ROUNDS: Final = 50
"""times that a run may have changed while its newest frames were cut"""


class _UnderWay:
    """A rewind that is being done; `error` is what it ended with, where it failed."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.error: BaseException | None = None


class Rewinds:
    """The rewinds that are under way in this process. Mutable state: `_running`, `_stop`.

    Args:
        state: the server's parts.
        sources: where rows are read.
        objects: where the files go.
        tasks: what they are done in; whoever closes it calls `stop` first.
    """

    def __init__(self, state: State, sources: Sources, objects: Objects, tasks: TaskGroup) -> None:
        self._state = state
        self._sources = sources
        self._objects = objects
        self._tasks = tasks
        self._running: dict[tuple[int, int], _UnderWay] = {}
        self._stop = threading.Event()

    async def rewind(self, path: RunKey, run_id: int, step: int) -> None:
        """Drop all rows of a run after `step`; the row of the step itself stays.

        Costs reading the sealed rows that stay, once, for the summary. Where the caller is
        cancelled the rewind goes on; one of the same run to the same step waits for it.

        Args:
            path: the run's name; there must be one.
            run_id: its inner id.
            step: a whole number from -1; below the first step, the whole history goes.

        Raises:
            ApiError: 503, the run is being sealed or logged to and does not become free; nothing
                was changed.
        """
        key = run_id, step
        found = self._running.get(key)
        if found is None:
            found = self._running[key] = _UnderWay()
            self._tasks.start_soon(self._run, found, path, run_id, step, name=f"rewind {run_id}")
        await found.ended.wait()
        if found.error is not None:
            raise found.error

    def stop(self) -> None:
        """Let those that are under way end; one not in its transaction yet changes nothing."""
        self._stop.set()

    async def _run(self, under_way: _UnderWay, path: RunKey, run_id: int, step: int) -> None:
        try:
            with anyio.CancelScope(shield=True):  # it is `stop` that ends it
                await self._rewind(path, run_id, step)
        except BaseException as error:
            under_way.error = error  # for those who wait for it
            if not isinstance(error, Exception):
                raise
        finally:
            del self._running[run_id, step]
            under_way.ended.set()

    async def _rewind(self, path: RunKey, run_id: int, step: int) -> None:
        give_up = time.monotonic() + _PATIENCE
        claims = self._state.claims
        while True:
            async with held(claims, claim_of(run_id)) as claim:
                if claim is not None:
                    await self._claimed(claim, path, Cut(run_id, step), run_id)
                    break
            if time.monotonic() > give_up or self._stop.is_set():
                raise _busy("The run's history is being sealed.")
            await anyio.sleep(_LOOK)
        self._state.hub.publish([run_id])

    async def _claimed(self, claim: Claim, path: RunKey, cut: Cut, run_id: int) -> None:
        async with self._state.database.connect() as connection:
            former = _there(await store.look(connection, run_id)).fold
        segments = await self._sources.store.segments(run_id)
        try:
            cut.follow(former)
            await to_thread.run_sync(
                cut.segments, self._sources, self._objects, segments, self._stop
            )
            await self._swap(claim, path, cut, run_id)
        except UncertainCommitError:
            raise  # the new files may be a part of the run by now; if not, they are collected
        except Exception as error:
            await self._delete([new.path for new, _ in cut.new])
            if isinstance(error, CutShortError):
                raise _busy("The server is stopping.") from error
            if isinstance(error, DamagedError):
                raise _damaged(error) from error
            if isinstance(error, ConflictError):
                raise _busy("Another process is at work on it.") from error
            raise

    async def _swap(self, claim: Claim, path: RunKey, cut: Cut, run_id: int) -> None:
        for _ in range(_ROUNDS):
            async with self._state.database.connect() as connection:
                run = _there(await store.look(connection, run_id))
                after = cut.old[-1] if cut.old else -1
                frames = await store.frames_after(connection, run_id, after)
            columns = await to_thread.run_sync(_prepared, cut, frames, run.fold)
            if self._stop.is_set():
                raise CutShortError
            if await self._commit(claim, path, cut, run, columns):
                return
        raise _busy("The run is being logged to.")

    async def _commit(
        self, claim: Claim, path: RunKey, cut: Cut, seen: EditedRun, columns: dict[str, object]
    ) -> bool:
        """Write it all down; False where the run has changed since it was `seen`."""
        state, run_id = self._state, seen.id
        async with state.database.transaction() as connection:
            now = state.clock()
            await state.claims.check(connection, claim)
            run = _there(await store.lock(connection, run_id))
            if run.version != seen.version:
                return False
            gone = [row.id for row in cut.gone]
            await store.replace_segments(connection, run_id, now, gone, cut.new)
            await store.replace_frames(connection, run_id, cut.old, cut.frames)
            await store.lower_writers(connection, run_id, line_ranges.WRITER, cut.rows)
            await store.write(connection, run, columns)
            await _number_anew(connection, state, path, cut.rows)
        return True

    async def _delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            await to_thread.run_sync(self._objects.delete, path)


REWINDS: web.AppKey[Rewinds] = web.AppKey("rewinds", Rewinds)


def _prepared(
    cut: Cut, frames: Sequence[tuple[FrameRow, int, int]], former: str
) -> dict[str, object]:
    cut.tail(frames)
    return cut.columns(former)


async def _number_anew(connection: AsyncConnection, state: State, path: RunKey, line: int) -> None:
    """Let W&B clients go on at a line, although lines of higher numbers came before."""
    record = (await state.ingest.lock(connection, {path})).get(path)
    # Where none has written, and all rows are gone, one begins at 0 as ever.
    if record is not None and (
        line or any(w.startswith(line_ranges.WRITER) for w in record.writers)
    ):
        transition = RunTransition(record, state.clock(), state.config.crash_after)
        line_ranges.begin_generation(transition, line_ranges.WRITER, line)
        await state.ingest.apply(connection, [transition.change()])


def _there(run: EditedRun | None) -> EditedRun:
    if run is None:
        raise ApiError(404, "run_not_found", "The run has been deleted meanwhile.")
    return run


def _damaged(error: DamagedError) -> ApiError:
    message = (
        f"A part of the run's history is damaged in the store ({error}), so what would stay of it "
        "cannot be told. Nothing was changed; put the object back from a backup first."
    )
    return ApiError(409, "history_damaged", message)


def _busy(why: str) -> ApiError:
    message = f"{why} Nothing was changed; try again in a minute."
    return ApiError(503, "busy", message, {"Retry-After": "10"})
