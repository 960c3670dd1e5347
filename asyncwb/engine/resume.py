"""Going on with a run that another process has begun.

What an earlier process left on this machine is sent first, so that its rows come before the new
ones, in the history as in the summary, and the steps go on behind them. Then the server is asked
what it has of the run.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import anyio

from asyncwb.engine.drain import drain
from asyncwb.engine.neighbours import folders_left
from asyncwb.engine.notices import Notices
from asyncwb.engine.uplink.dialect import Dialect, Dialects
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http, Reply
from asyncwb.engine.uplink.speaker import Undelivered
from asyncwb.engine.uplink.wandb import find
from asyncwb.errors import AuthenticationError, CommError, Error
from asyncwb.printable import in_seconds
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.retry import Action
from asyncwb.wire.rows.keys import flatten
from asyncwb.wire.rows.values import NON_FINITE, loads
from asyncwb.wire.stream import StreamHead


async def find_run(
    where: Address | Embedded,
    http: Http,
    dialects: Dialects,
    settings: Settings,
    head: StreamHead,
) -> JsonObject | None:
    """Send what is left of a run on this machine, then ask the server; None where it has none.

    Returns the run's "last_step", "config", "summary" (by path), "fold" (its state, from a server
    of ours), "name", "tags", "notes", "group"
    and "job_type", and what else the server says.

    Raises:
        CommError: the server does not answer within `init_timeout` seconds, or not as it should.
    """
    patience = settings.init_timeout
    try:
        with anyio.fail_after(patience):
            address = where if isinstance(where, Address) else await where.find_or_start()
            dialect = await dialects.of(address, http)
        if settings.resume != "never":
            await _send_what_is_left(where, http, dialects, settings, head)
        with anyio.fail_after(patience):
            ask = _ask_wandb if dialect is Dialect.WANDB else _ask
            return await ask(http, address, head)
    except TimeoutError as error:
        raise CommError(f"the server did not answer within {in_seconds(patience)}") from error


async def _send_what_is_left(
    where: Address | Embedded,
    http: Http,
    dialects: Dialects,
    settings: Settings,
    head: StreamHead,
) -> None:
    patience = settings.init_timeout
    for folder, described in await asyncio.to_thread(folders_left, settings, head):
        try:
            # A process that is at work on it may log faster than this reads.
            with anyio.fail_after(None if folder.lock() else patience):
                drained = await drain(
                    folder,
                    where,
                    http,
                    memory=settings.memory_max_bytes,
                    patience=patience,
                    moved=lambda _: None,
                    dialects=dialects,
                )
            problem = drained.error
        except TimeoutError:
            continue
        except (Error, OSError) as error:
            if not folder.path.exists():  # somebody else has sent it meanwhile
                continue
            problem = str(error)
        if problem is not None:
            Notices(silent=settings.silent).warn(
                f"what an earlier process logged to {described.project}/{described.run} is not all "
                f"at the server ({problem}). It is kept in {folder.path}; send it with: "
                f"asyncwb sync {folder.path}"
            )


async def _ask(http: Http, address: Address, head: StreamHead) -> JsonObject | None:
    entity = head.entity
    if entity is None:
        entity = str((await _get(http, address, "/api/v1/viewer")).json()["entity"])
    path = "/".join(quote(part, safe="") for part in (entity, head.project, head.run))
    reply = await _get(http, address, f"/api/v1/runs/{path}?fold=true")
    if reply.status == 404:
        return None
    found: JsonObject = _restored(reply.json())
    fold = loads(str(found.get("fold", "{}")).encode())
    return {**found, "summary": flatten(found.get("summary") or {}), "fold": fold}


async def _get(http: Http, address: Address, path: str) -> Reply:
    reply = await http.request("GET", address.url + path, key=address.key)
    if reply.status in (401, 403):
        raise AuthenticationError(f"{address.url}: {reply.problem}", reply.status)
    if reply.status not in (200, 404):
        raise CommError(f"{address.url}: {reply.problem}", reply.status, reply.error[0])
    return reply


def _restored(value: Any) -> Any:
    """Read JSON in which floats that are not finite are strings, as strict JSON has them."""
    match value:
        case str():
            return NON_FINITE.get(value, value)
        case dict():
            return {key: _restored(item) for key, item in value.items()}
        case list():
            return [_restored(item) for item in value]
    return value


async def _ask_wandb(http: Http, address: Address, head: StreamHead) -> JsonObject | None:
    try:
        existing = await find(http, address, head)
    except Undelivered as error:
        if error.verdict.action is Action.AUTH:
            raise AuthenticationError(f"{address.url}: {error.message}") from error
        raise CommError(f"{address.url}: {error.message}") from error
    if existing is None or not existing.logged:
        return None
    return {
        **existing.about,
        "last_step": existing.last_step,
        "config": existing.config,
        "summary": existing.summary,
    }
