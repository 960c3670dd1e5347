"""Noticing runs whose writers died without a word.

A writer that lives sends a heartbeat every few seconds. A running run that has been silent for
`crash_after` is ended; should its writer come back (a suspended laptop, a cut network), ingest
makes it run again, and nothing is lost. A server that was down itself got no heartbeats, so its
patience starts when it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncwb.server.http.state import State
from asyncwb.server.intake.run_transitions import expire
from asyncwb.server.process.background import Tasks, shielded


async def end_silent_runs(state: State, started_at: float) -> int:
    """End the runs that are silent for too long by now; return how many."""
    heard_before = state.clock() - state.config.crash_after
    if started_at > heard_before:
        return 0
    async with state.database.transaction() as connection:
        changes = [expire(run) for run in await state.ingest.silent(connection, heard_before)]
        await state.ingest.apply(connection, changes)
    ended = [change.record for change in changes]
    crashed = sum(record.state == "crashed" for record in ended)
    state.metrics.add("asyncwb_runs_crashed_total", crashed)
    state.hub.publish(record.id for record in ended)
    return len(ended)


@asynccontextmanager
async def watching(state: State, tasks: Tasks) -> AsyncIterator[None]:
    """Look for silent runs for the length of the block, a few times in `crash_after` seconds."""
    started_at, pause = state.clock(), max(0.05, min(5.0, state.config.crash_after / 6))

    async def look() -> float:
        await shielded(end_silent_runs(state, started_at))
        state.metrics.set("asyncwb_runs_running", await shielded(state.runs.running()))
        return pause

    async with tasks.keep("crash detection", look, after=pause):
        yield
