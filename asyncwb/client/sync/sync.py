"""`asyncwb sync`: bring what lies in run folders to the server, several at a time.

One bad folder does not stop the others. It may run while the runs log, again and again, after a
crash and after damage to the disk: the server counts every row once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from asyncwb.client.sync.backlog import UnsentRun, look
from asyncwb.engine.drain import drain
from asyncwb.engine.frames.progress import Progress
from asyncwb.engine.journal.folder import Description, RunFolder, is_run_folder_name, run_folders
from asyncwb.engine.uplink.dialect import Dialects
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http
from asyncwb.errors import Error
from asyncwb.settings import Settings
from asyncwb.tasks import gather


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How far one folder is: `sent` of `total` rows are acknowledged; `trouble`: why it waits."""

    path: Path
    run: str
    sent: int
    total: int
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What became of one folder: rows `sent` and `lost`, what went wrong, if anything, `files`
    that were sent, whether the server was `unreachable`, and whether it `lacks_start`: what the run
    said of itself at first (config, name, tags, ...) is not on this machine any more."""

    path: Path
    run: str
    sent: int
    lost: int
    error: str | None
    files: int = 0
    unreachable: bool = False
    lacks_start: bool = False


@dataclass(frozen=True, slots=True)
class _Ways:
    """How servers are reached, the same for all folders: what one has found out, all know."""

    http: Http
    embedded: Embedded
    dialects: Dialects


Report = Callable[[SyncProgress], None]


def is_there(path: Path) -> bool:
    """Tell whether a path can be synced: a folder, or where a run's was that has been sent."""
    return path.is_dir() or (is_run_folder_name(path.name) and path.parent.is_dir())


async def sync(
    paths: Sequence[Path],
    *,
    settings: Settings,
    jobs: int,
    report: Report,
    create: bool = False,
) -> list[SyncResult]:
    """Send everything that waits in these folders.

    Args:
        paths: run folders, or folders of run folders.
        settings: which server (an explicit `base_url` wins over the one that a run was started
            with), which key, how patient.
        jobs: folders to send at a time.
        report: called with every step forward.
        create: make runs that the server has not, though they were begun with resume="must".
    """
    http = Http(settings.http_timeout)
    ways = _Ways(
        http,
        Embedded(settings.server_dir, http, idle_timeout=settings.server_idle_timeout),
        Dialects(),
    )
    limiter = anyio.CapacityLimiter(jobs)
    runs: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
    gone: dict[str, str] = {}

    async def one(waiting: UnsentRun) -> SyncResult:
        async with runs[waiting.run], limiter:  # what was logged to a run first arrives first
            return await _one(waiting, settings, ways, report, gone, create=create)

    try:
        found = await to_thread.run_sync(_find, paths)
        return await gather([partial(one, waiting) for waiting in found])
    finally:
        await http.close()


def _find(paths: Sequence[Path]) -> list[UnsentRun]:
    """Find what waits in the folders, the oldest first."""
    found = []
    for path in paths:
        folders = [path] if (path / "run.json").exists() else run_folders(path)
        found += [waiting for folder in folders if (waiting := look(folder)) is not None]
    return sorted(found, key=lambda waiting: waiting.started_at)


async def _one(
    waiting: UnsentRun,
    settings: Settings,
    ways: _Ways,
    report: Report,
    gone: dict[str, str],
    *,
    create: bool,
) -> SyncResult:
    """Send one folder; `gone`: servers that were waited for in vain, and with what outcome."""
    folder = RunFolder(waiting.path)

    def moved(progress: Progress) -> None:
        report(SyncProgress(waiting.path, waiting.run, progress.rows, waiting.rows))

    def say(trouble: str) -> None:
        report(SyncProgress(waiting.path, waiting.run, 0, waiting.rows, trouble))

    try:
        description = folder.describe()
        where = _address(description, settings) or ways.embedded
        server = where.url if isinstance(where, Address) else "the embedded server"
        if server in gone:
            reason = f"not tried: {gone[server]}"
            return SyncResult(waiting.path, waiting.run, 0, 0, reason, unreachable=True)
        report(SyncProgress(waiting.path, waiting.run, 0, waiting.rows))
        drained = await drain(
            folder,
            where,
            ways.http,
            memory=settings.memory_max_bytes,
            patience=settings.finish_timeout,
            moved=moved,
            say=say,
            dialects=ways.dialects,
            create=create,
        )
    except (Error, OSError) as error:
        there = await to_thread.run_sync(waiting.path.exists)  # if not, somebody else has sent it
        return SyncResult(waiting.path, waiting.run, 0, 0, str(error) if there else None)
    if drained.unreachable and drained.error is not None:
        gone[server] = drained.error
    return SyncResult(
        waiting.path,
        waiting.run,
        drained.sent,
        drained.lost,
        drained.error,
        drained.files,
        drained.unreachable,
        drained.lacks_start,
    )


def _address(description: Description, settings: Settings) -> Address | None:
    """The server that the user names now, else the one that the run was started with; None: the
    embedded one."""
    url = settings.base_url
    key = settings.api_key
    if "base_url" not in settings.given and description.base_url is not None:
        url = description.base_url
        key = Settings.resolve({"base_url": url, "data_dir": settings.data_dir}).api_key
    return None if url is None else Address(url, key)
