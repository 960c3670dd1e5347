"""The imports that the command line offers: each finds its runs, connects, and moves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http
from asyncwb.errors import Error, UsageError
from asyncwb.importers.importing import ImportResult, Report, import_runs, sync_tensorboard
from asyncwb.importers.target import Target
from asyncwb.importers.wandb_logs import find_runs
from asyncwb.importers.wandb_server import WandbServer
from asyncwb.settings import Settings
from asyncwb.tasks import gather
from asyncwb.wire.paths import parse_project


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[tuple[Http, Address]]:
    """Find the server that the settings name; the embedded one is started where it is not up."""
    http = Http(settings.http_timeout)
    try:
        if settings.base_url is not None:
            yield http, Address(settings.base_url, settings.api_key)
        else:
            idle = settings.server_idle_timeout
            embedded = Embedded(settings.server_dir, http, idle_timeout=idle)
            yield http, await embedded.find_or_start()
    finally:
        await http.close()


async def from_wandb_logs(
    folders: Sequence[Path],
    *,
    settings: Settings,
    entity: str | None,
    project: str | None,
    jobs: int,
    into_existing: bool,
    report: Report,
) -> list[ImportResult]:
    """Import the runs whose W&B logs lie in folders.

    Args:
        folders: run folders, or folders that hold them.
        settings: which server, which key, how patient.
        entity: whose runs they shall be; None: the key's own user's.
        project: their project; None: the one that each log names.
        jobs: runs at a time.
        into_existing: whether rows may be added to runs that the server has from elsewhere.
        report: called with every step forward.
    """
    found = await asyncio.to_thread(find_runs, folders, entity=entity, project=project)
    sources, bad = found
    unread = [ImportResult(path.parent.name, error=why) for path, why in bad]
    if not sources:
        return unread
    async with _server(settings) as (http, address):
        target = Target(http, address, patience=settings.finish_timeout)
        moved = await import_runs(
            sources, target, jobs=jobs, report=report, into_existing=into_existing
        )
    return [*moved, *unread]


async def from_tensorboard(
    folders: Sequence[Path],
    *,
    settings: Settings,
    entity: str | None,
    project: str,
    jobs: int,
    quiet: float,
    report: Report,
) -> list[ImportResult]:
    """Import folders of event files, each as one run; `quiet` as in `sync_tensorboard`."""
    limiter = anyio.CapacityLimiter(jobs)

    async with _server(settings) as (http, address):

        async def one(folder: Path) -> ImportResult:
            async with limiter:
                try:
                    return await sync_tensorboard(
                        folder,
                        None,
                        project,
                        entity,
                        http=http,
                        address=address,
                        patience=settings.finish_timeout,
                        quiet=quiet,
                        report=report,
                    )
                except Error as error:
                    return ImportResult(str(folder), error=error.message)

        return await gather([partial(one, folder) for folder in folders])


async def from_wandb_server(
    path: str,
    *,
    base_url: str,
    key: str,
    filters: str | None,
    settings: Settings,
    entity: str | None,
    project: str | None,
    jobs: int,
    into_existing: bool,
    report: Report,
) -> list[ImportResult]:
    """Import the runs of one project of a W&B server.

    Args:
        path: `entity/project` there.
        base_url: the server to import from; `key` is the key for it.
        filters: only runs that match, JSON in MongoDB's language; None: all.
        settings: the server to import into, with its key.
        entity: whose runs they shall be; None: the key's own user's.
        project: their project; None: of the same name as there.
        jobs: runs at a time.
        into_existing: whether rows may be added to runs that the server has from elsewhere.
        report: called with every step forward.

    Raises:
        UsageError: the path names no entity.
        CommError: the server to import from does not answer, or has no such project.
    """
    place = parse_project(path, None, "")
    if place.entity is None or not place.project:
        raise UsageError(f"{path!r} is no project of a server: write ENTITY/PROJECT")
    async with _server(settings) as (http, address):
        server = WandbServer(http, base_url.rstrip("/"), key, patience=settings.finish_timeout)
        target = Target(http, address, patience=settings.finish_timeout)
        sources = server.runs(
            place.entity, place.project, filters, into=(entity, project or place.project)
        )
        return await import_runs(
            sources, target, jobs=jobs, report=report, into_existing=into_existing
        )
