"""The current run: what `asyncwb.run`, `asyncwb.log` and `asyncwb.config` mean.

It is a context variable, so concurrent tasks each have the run that they started. Where a context
has none (a worker thread, say), the run that was started last in this process stands in.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from asyncwb.client.live.state import RunState
from asyncwb.errors import UsageError


class Face(Protocol):
    """A run of this process, by either of its faces."""

    @property
    def _state(self) -> RunState:
        """What both faces share."""


_of_context: ContextVar[Face | None] = ContextVar("asyncwb_run", default=None)
_started: list[Face] = []
"""open runs of this process, in the order of their start."""
_inherited: list[Face] = []
"""in a forked child: its parent's open runs, which it may log to and does not finish."""


def enter(run: Face) -> None:
    """Make a run the current one of this context."""
    _started.append(run)
    _of_context.set(run)


def leave(run: Face) -> None:
    """Forget a run that has finished, by whichever of its faces."""
    for runs in (_started, _inherited):
        runs[:] = [other for other in runs if other._state is not run._state]
    mine = _of_context.get()
    if mine is not None and mine._state is run._state:
        _of_context.set(None)


def open_runs() -> list[Face]:
    """Return the runs of this process that have not finished."""
    return list(_started)


def forget_all() -> None:
    """In a forked child: the parent's runs are the parent's to finish."""
    _inherited.extend(_started)
    _started.clear()


def current() -> Face | None:
    """Return the current run, or None."""
    run = _of_context.get()
    known = [*_inherited, *_started]
    if run is not None and run in known:
        return run
    return known[-1] if known else None


def need(what: str) -> Face:
    """Return the current run; raises UsageError that names the call where there is none."""
    run = current()
    if run is None:
        raise UsageError(
            f"{what} needs a run, and none was started here: nothing was recorded. "
            "Call asyncwb.init() first."
        )
    return run
