"""The module-level calls: each is the method of the current run, in both faces."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asyncwb.client.live import current
from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.engine.uploads.saved import Policy
from asyncwb.errors import UsageError
from asyncwb.wire.summary.metrics import MetricRule


class _NoRunError(UsageError, AttributeError):
    """There is no such attribute just now: what `hasattr` and `getattr` with a default ask."""


def of_current_run(name: str) -> Any:
    """Return the current run (or None), or its config or summary."""
    if name == "run":
        return current.current()
    try:
        run = current.need(f"asyncwb.{name}")
    except UsageError as error:
        raise _NoRunError(error.message) from None
    return getattr(run, name)


def log(data: Mapping[str, object], step: int | None = None, commit: bool | None = None) -> None:
    """Record a row in the current run; see `Run.log`."""
    _sync("asyncwb.log()").log(data, step, commit)


async def log_async(
    data: Mapping[str, object], step: int | None = None, commit: bool | None = None
) -> None:
    """Record a row in the current run; see `AsyncRun.log`."""
    await _async("asyncwb.aio.log()").log(data, step, commit)


def log_nowait(
    data: Mapping[str, object], step: int | None = None, commit: bool | None = None
) -> bool:
    """Record a row in the current run without ever waiting; see `Run.log_nowait`."""
    return _sync("asyncwb.log_nowait()").log_nowait(data, step, commit)


def flush(*, durable: bool = False, timeout: float | None = None) -> bool:
    """Wait until everything logged so far is acknowledged; see `Run.flush`."""
    return _sync("asyncwb.flush()").flush(durable=durable, timeout=timeout)


async def flush_async(*, durable: bool = False, timeout: float | None = None) -> bool:
    """Wait until everything logged so far is acknowledged; see `AsyncRun.flush`."""
    return await _async("asyncwb.aio.flush()").flush(durable=durable, timeout=timeout)


def save(
    glob_str: str | bytes | os.PathLike[str],
    base_path: str | os.PathLike[str] | None = None,
    policy: Policy = "live",
    *,
    glob: bool = True,
) -> list[str]:
    """Store files with the current run; see `Run.save`."""
    return _sync("asyncwb.save()").save(glob_str, base_path, policy, glob=glob)


async def save_async(
    glob_str: str | bytes | os.PathLike[str],
    base_path: str | os.PathLike[str] | None = None,
    policy: Policy = "live",
    *,
    glob: bool = True,
) -> list[str]:
    """Store files with the current run; see `AsyncRun.save`."""
    return await _async("asyncwb.aio.save()").save(glob_str, base_path, policy, glob=glob)


def finish(
    exit_code: int | None = None, quiet: bool | None = None, *, timeout: float | None = None
) -> None:
    """Finish the current run; without one this does nothing. See `Run.finish`."""
    if current.current() is not None:
        _sync("asyncwb.finish()").finish(exit_code, quiet, timeout=timeout)


async def finish_async(
    exit_code: int | None = None, quiet: bool | None = None, *, timeout: float | None = None
) -> None:
    """Finish the current run; without one this does nothing. See `AsyncRun.finish`."""
    if current.current() is not None:
        await _async("asyncwb.aio.finish()").finish(exit_code, quiet, timeout=timeout)


def define_metric(
    name: str,
    step_metric: str | MetricRule | None = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | Sequence[str] | None = None,
    goal: str | None = None,
    overwrite: bool | None = None,
) -> MetricRule:
    """Say how a metric of the current run is charted and summarised; see `Run.define_metric`."""
    run = _sync("asyncwb.define_metric()")
    return run.define_metric(name, step_metric, step_sync, hidden, summary, goal, overwrite)


def _sync(what: str) -> Run:
    run = current.need(what)
    return run if isinstance(run, Run) else Run(run._state)


def _async(what: str) -> AsyncRun:
    run = current.need(what)
    return run if isinstance(run, AsyncRun) else AsyncRun(run._state)
