"""A run's whole history on disk, as the Parquet files that DuckDB, pandas and polars read.

Our own server writes the file while it sends it: all that the run has logged by then. A W&B
server names files that it has made already. Either way a file is at its place whole or not at
all: it is written beside it, looked at, and renamed. Runs on the engine's loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from asyncwb.client.query.requests.query import RUNNING, Connection
from asyncwb.engine.notices import caution
from asyncwb.engine.session import Worker
from asyncwb.engine.thread import Engine
from asyncwb.engine.uploads.transfer import place_in
from asyncwb.errors import CommError, Error, IncompleteRunHistoryError
from asyncwb.typing import FilePath
from asyncwb.wire import query_documents
from asyncwb.wire.paths import RunPath

_MAGIC: Final = b"PAR1"
_LEAST: Final = 12
"""bytes of a Parquet file beside what its footer counts"""
_LONGEST: Final = 180
"""bytes that a file's name may take of entity, project and run: disks take 255 for the whole"""


@dataclass(frozen=True, slots=True)
class DownloadHistoryResult:
    """What `run.download_history_exports()` brought.

    `paths` are the files; `contains_live_data` tells whether the run has, or may get, rows that
    are not in them; `errors` says of each file that did not come why, None where all came.

    Source: https://docs.wandb.ai/ref/python/public-api/run (`download_history_exports`).
    """

    paths: list[Path]
    contains_live_data: bool
    errors: dict[Path, str] | None = None


def download(
    connection: Connection, path: RunPath, folder: FilePath, *, complete: bool
) -> Future[DownloadHistoryResult]:
    """Bring a run's exports into a folder; with `complete` only where they are all of it."""
    place = Path(folder)
    return Engine.current().submit(
        lambda worker: _download(connection, worker, path, place, complete)
    )


class _Exports(NamedTuple):
    """Where the files are, what they are called up to their number, and whether more may come."""

    addresses: list[str]
    name: str
    live: bool


async def _download(
    connection: Connection, worker: Worker, path: RunPath, folder: Path, complete: bool
) -> DownloadHistoryResult:
    found = await connection.bounded(_find(connection, worker, path))
    if complete and found.live:
        raise IncompleteRunHistoryError(
            f"the history of the run {path.run} is not complete in files: the run goes on, or its "
            "server has rows that it has not exported. Nothing was written here; wait for the "
            "run's end, take what there is with require_complete_history=False, or read all of it "
            "with scan_history()"
        )
    # By the engine's own helpers, which its loop has as its default: see `engine.thread`.
    await asyncio.to_thread(_make, folder)
    paths: list[Path] = []
    errors: dict[Path, str] = {}
    for number, url in enumerate(found.addresses):
        target = place_in(folder, f"{found.name}_{number}.runhistory.parquet")
        try:
            await _fetch(connection, worker, url, target)
        except CommError as error:
            if number == len(found.addresses) - 1 and not paths:
                raise
            errors[target] = error.message
        else:
            paths.append(target)
    return DownloadHistoryResult(paths, found.live, errors or None)


async def _fetch(connection: Connection, worker: Worker, url: str, target: Path) -> None:
    """Bring one file; where the server's store is damaged, what is whole, and say what is not."""
    try:
        await connection.fetch(worker, url, target, _checked)
    except CommError as error:
        if error.code != "history_damaged":
            raise
        caution(f"{target.name} is not the whole history: {error.message}")
        await connection.fetch(worker, f"{url}&damaged=skip", target, _checked)


async def _find(connection: Connection, worker: Worker, path: RunPath) -> _Exports:
    native = await connection.speaks_natively(worker)
    # The state first: what the file then has is all that a run that had ended logged.
    document = query_documents.RUN_STATE if native else query_documents.PARQUET_HISTORY
    run = await connection.query_run(worker, path, document, {})
    live, name = run["state"] in RUNNING, _name(run["entity"], path.project, path.run)
    if native:
        address = await connection.address(worker)
        url = await connection.history_url(address, worker, path)
        return _Exports([f"{url}?format=parquet"], name, live)
    found = run["parquetHistory"] or {}
    return _Exports(found.get("parquetUrls") or [], name, live or bool(found.get("liveData")))


def _name(*parts: str) -> str:
    """Name the files as W&B's client does; what a disk would not take is cut, and told apart."""
    name = "_".join(parts)
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name.encode()[: _LONGEST - 17].decode(errors='ignore')}-{digest}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise Error(
            f"the folder {folder} cannot be made: {why}. Nothing was downloaded; name another one"
        ) from error


async def _checked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass on a file; raises CommError at its end where it is no whole Parquet file."""
    size, head, tail = 0, b"", b""
    async for chunk in chunks:
        size += len(chunk)
        head = head if len(head) >= len(_MAGIC) else (head + chunk)[: len(_MAGIC)]
        tail = (tail + chunk[-8:])[-8:]
        yield chunk
    footer = int.from_bytes(tail[:4], "little")
    if head != _MAGIC or tail[4:] != _MAGIC or size < _LEAST + footer:
        raise CommError(f"what came are {size} bytes that are no whole Parquet file", 200)
