"""What other processes of this machine have left of a run.

A pool terminates its workers, and a daemon or `os._exit` ends a child that had no time to send:
what it logged lies in its folder. Whoever finishes the run sends that, too.
"""

from __future__ import annotations

import asyncio

import anyio

from asyncwb.engine.drain import drain
from asyncwb.engine.journal.folder import Description, RunFolder, folders_of, is_kin
from asyncwb.engine.process.ending import Others
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http
from asyncwb.errors import Error
from asyncwb.settings import Settings
from asyncwb.wire.stream import StreamHead


def folders_left(settings: Settings, head: StreamHead) -> list[tuple[RunFolder, Description]]:
    """Find the folders of the run that are for this server, oldest first."""
    return [
        (folder, described)
        for folder, described in folders_of(settings.runs_dir, head.project, head.run)
        if described.base_url == settings.base_url
        and (described.entity == head.entity or None in (described.entity, head.entity))
    ]


async def send_others(
    where: Address | Embedded,
    http: Http,
    settings: Settings,
    head: StreamHead,
    *,
    since: float,
    deadline: float,
) -> Others:
    """Send what processes that have ended left of a run; those that live send it themselves.

    Args:
        where: the server.
        http: connections to use.
        settings: of the run, which say where its folders are.
        head: the writer that finishes the run, whose own folder is left alone.
        since: unix seconds; what was begun earlier belongs to another life of the run, but for
            forks of this writer: the clock may have been set back before they logged.
        deadline: time of the loop after which what is left is only counted.
    """
    sent = lost = live = 0
    waiting = {}
    for folder, described in await asyncio.to_thread(folders_left, settings, head):
        mine = described.writer == head.writer
        earlier = described.started_at < since and not is_kin(described.writer, head.writer)
        if mine or earlier or described.mode != "online":
            continue
        try:
            if not _holds_anything(folder):
                continue
            if not folder.lock():
                live += 1
                continue
            problem, gone = await _send(folder, where, http, settings, deadline)
        except FileNotFoundError:  # somebody else has sent it meanwhile
            continue
        except OSError as error:  # it cannot be locked, or read, or cleared away
            problem, gone = str(error), 0
        lost += gone
        if problem is None:
            sent += 1
        else:
            waiting[folder.path] = problem
    return Others(sent, lost, waiting, live)


def _holds_anything(folder: RunFolder) -> bool:
    return folder.journal.exists() or (folder.path / "files.json").exists()


async def _send(
    folder: RunFolder, where: Address | Embedded, http: Http, settings: Settings, deadline: float
) -> tuple[str | None, int]:
    """Send one folder, whose lock is held; returns why it is not all there, and rows lost."""
    left = deadline - anyio.current_time()
    if left <= 0:
        folder.unlock()
        return "there was no time left", 0
    try:
        with anyio.fail_after(left):
            drained = await drain(
                folder,
                where,
                http,
                memory=settings.memory_max_bytes,
                patience=left,
                moved=lambda _: None,
            )
    except TimeoutError:
        return "there was no time left", 0
    except Error as error:
        return error.message, 0
    finally:
        folder.unlock()
    return drained.error, drained.lost
