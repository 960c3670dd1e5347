"""The server that an import writes to: numbered frames, files and lines, each safe to send twice.

Frames go through the ingest protocol, whose server remembers for every writer how far it has come;
lines of a stream go to the line numbers that they have; a file replaces itself.
"""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, Final

import anyio

from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http, NoAnswer, Reply
from asyncwb.errors import CommError
from asyncwb.importers.items import FileEntry
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from asyncwb.wire.paths import RunPath, route
from asyncwb.wire.query_documents import DROP_HISTORY
from asyncwb.wire.retry import Backoff, verdict
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.stream import StreamHead

_UNKNOWN: Final = frozenset(("writer_not_found", "run_not_found"))
_NO_ROUTE: Final = (404, 405)


class Target:
    """One asyncwb server.

    Mutable state: the key's own entity, and which routes the server turned out to lack.

    Args:
        http: connections to use; they belong to the loop of the caller.
        address: where the server is, and the key for it.
        patience: seconds for which a server that does not answer is tried again.
    """

    def __init__(self, http: Http, address: Address, *, patience: float) -> None:
        self.address = address
        self._http = http
        self._patience = patience
        self._entity: str | None = None
        self._files: bool | None = None

    async def owner(self, entity: str | None) -> str:
        """Return the entity, the key's own user's where none is named."""
        if entity is not None:
            return entity
        if self._entity is None:
            reply = await self._ask("GET", "/api/v1/viewer")
            self._entity = str(_checked(reply).json()["entity"])
        return self._entity

    async def info(self, path: RunPath) -> dict[str, Any] | None:
        """Return what the server knows of a run; None: there is no such run."""
        reply = await self._ask("GET", f"/api/v1/runs/{_route(path)}")
        if reply.status == 404:
            return None
        answer: dict[str, Any] = _checked(reply).json()
        return answer

    async def writers(self, path: RunPath) -> list[str]:
        """Return the names of those who wrote to a run."""
        reply = await self._ask("GET", f"/api/v1/runs/{_route(path)}?fold=true")
        return list(loads(str(_checked(reply).json()["fold"]).encode())["writers"])

    async def drop_history(self, path: RunPath) -> None:
        """Drop all rows of a run; the server goes on with it where this does not wait as long.

        Raises:
            CommError: the server refuses it, or does not answer.
        """
        run = {"entity": path.entity, "project": path.project, "run": path.run}
        body = dumps({"query": DROP_HISTORY, "variables": run})
        answer = _checked(await self._ask("POST", "/graphql", body)).json()
        if answer.get("errors"):
            raise CommError(f"the server drops no rows: {answer['errors'][0]['message']}")

    async def next_seq(self, head: StreamHead) -> int:
        """Return how many numbers of a writer the server has."""
        answer = await self._ingest(head, [])
        error = answer.get("error")
        if error is None:
            return int(answer["next"])
        if error["code"] in _UNKNOWN:
            return 0
        raise CommError(error["message"], code=error["code"])

    async def send(self, head: StreamHead, frame: bytes) -> int:
        """Send one frame; returns the number that the server expects next.

        Raises:
            CommError: the server refuses it, or does not answer.
        """
        answer = await self._ingest(head, [frame])
        error = answer.get("error")
        if error is not None:
            raise CommError(error["message"], code=error["code"])
        return int(answer["next"])

    async def keeps_files(self, path: RunPath) -> bool:
        """Tell whether the server stores files of runs."""
        if self._files is None:
            reply = await self._ask("GET", f"/files/{_route(path)}/.import")
            self._files = not (reply.status in _NO_ROUTE and _is_no_route(reply))
        return self._files

    async def put_file(self, path: RunPath, name: str, data: Path | bytes) -> None:
        """Store a file of a run, piece by piece; one of that name is replaced.

        Raises:
            CommError: the server does not take it.
            OSError: it cannot be read.
        """
        url = f"{self.address.url}/files/{_route(path)}/{route(*name.split('/'))}"

        async def put() -> Reply:
            with await asyncio.to_thread(_open, data) as body:
                return await self._http.upload(url, body, self._authorization())

        _checked(await until_answered(put, self._patience))

    async def has_file(self, path: RunPath, file: FileEntry) -> bool:
        """Tell whether the run has this file already: of that size, and stored since it changed."""
        reply = await self._ask("HEAD", f"/files/{_route(path)}/{route(*file.name.split('/'))}")
        if reply.status != 200:
            return False
        try:
            stored = parsedate_to_datetime(reply.headers["Last-Modified"]).timestamp()
            size = int(reply.headers["Content-Length"])
        except (KeyError, ValueError):
            return False
        # The header counts in whole seconds.
        return size == file.size and stored + 1 > file.changed_at

    async def put_lines(
        self, path: RunPath, stream: str, offset: int, lines: Sequence[str]
    ) -> bool:
        """Write lines of a stream at their line numbers; False where the server keeps none."""
        body = dumps({"files": {stream: {"offset": offset, "content": list(lines)}}})
        reply = await self._ask("POST", f"/files/{_route(path)}/file_stream", body)
        if reply.status in _NO_ROUTE and _is_no_route(reply):
            return False
        _checked(reply)
        return True

    async def end_lines(self, path: RunPath, exit_code: int | None) -> None:
        """Say that no more lines come, and how the run ended; None: that is not known."""
        if exit_code is not None:
            body = dumps({"complete": True, "exitcode": exit_code})
            _checked(await self._ask("POST", f"/files/{_route(path)}/file_stream", body))

    async def _ingest(self, head: StreamHead, frames: list[bytes]) -> dict[str, Any]:
        body = encode_batch([(head, frames)])
        reply = _checked(await self._ask("POST", "/api/v1/ingest", body, CONTENT_TYPE))
        answer: dict[str, Any] = reply.json()["streams"][0]
        return answer

    async def _ask(
        self, method: str, place: str, data: bytes | None = None, kind: str = "application/json"
    ) -> Reply:
        url = self.address.url + place

        async def ask() -> Reply:
            return await self._http.request(
                method, url, key=self.address.key, data=data, content_type=kind
            )

        return await until_answered(ask, self._patience)

    def _authorization(self) -> dict[str, str]:
        key = self.address.key
        return {"Authorization": f"Bearer {key}"} if key else {}


def _open(data: Path | bytes) -> IO[bytes]:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")


def _route(path: RunPath) -> str:
    return route(path.entity or "", path.project, path.run)


async def until_answered(ask: Callable[[], Awaitable[Reply]], patience: float) -> Reply:
    """Ask again while the server is busy or away, for up to `patience` seconds.

    Waits as `Retry-After` says. The last answer is returned whatever its status; raises NoAnswer
    where there was none.
    """
    backoff = Backoff(cap=8.0, random=random.random)
    deadline = time.monotonic() + patience
    while True:
        reply: Reply | None = None
        failure: NoAnswer | None = None
        try:
            reply = await ask()
            judged = verdict(reply.status, reply.headers, now=time.time())
        except NoAnswer as error:
            failure = error
            judged = verdict(None, error=error.message, now=time.time())
        if reply is not None and not _is_busy(reply.status):
            return reply
        wait = backoff.next_wait(judged.delay_hint)
        if time.monotonic() + wait > deadline:
            if reply is not None:
                return reply
            assert failure is not None
            raise failure
        await anyio.sleep(wait)


def _is_busy(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _is_no_route(reply: Reply) -> bool:
    return reply.status == 405 or reply.error[0] in ("", "not_found")


def _checked(reply: Reply) -> Reply:
    if 200 <= reply.status < 300:
        return reply
    raise CommError(
        f"the server refused: {reply.problem}. What it has acknowledged is safe; run the import "
        "again once that is put right",
        reply.status,
        reply.error[0],
    )
