"""What the query API asks of a server: one method a question, each a command to the engine.

A command gives a `Future` of decoded JSON; the faces wait for it. Questions change nothing, so
one that finds the embedded server gone looks for it again and asks once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Final, TypeAlias, TypeVar

from asyncwb.client.paths import ProjectPath, RunPath, route
from asyncwb.engine.thread import Engine
from asyncwb.errors import AuthenticationError, CommError, RunNotFoundError
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.values import loads

T = TypeVar("T")

Page: TypeAlias = tuple[list[JsonObject], str | None]
"""Some entries of a list, and where the next ones begin (None: there are no more)."""

Params: TypeAlias = list[tuple[str, str]]

_EVENT_END: Final = b"\n\n"
_MAX_EVENT: Final = 64 * 2**20
_PAUSE: Final = 1.0
_PASSING: Final = (None, 502, 503, 504)


class Connection:
    """A server to ask, found on first use.

    State, touched by the engine's loop only: `_address` and `_entity`, once they are known.

    Args:
        settings: which server, and whose key.
        timeout: seconds that one answer may take.
        api_key: a key instead of the settings' or the embedded server's own.
    """

    def __init__(self, settings: Settings, timeout: float, api_key: str | None = None) -> None:
        self.settings = settings
        self._timeout = timeout
        self._api_key = api_key
        self._address: Any = None
        self._entity: str | None = None

    # Commands, for any thread.

    def viewer(self) -> Future[JsonObject]:
        """Ask who the key belongs to."""
        return self.submit(lambda worker: self._get(worker, "/api/v1/viewer"))

    def projects(self, entity: str | None) -> Future[Page]:
        """Ask for the projects of an entity, None being the key's own user."""
        return self.submit(lambda worker: self._projects(worker, entity))

    def runs(self, path: ProjectPath, limit: int, cursor: str | None) -> Future[Page]:
        """Ask for up to `limit` runs of a project, newest first, from `cursor` on."""
        return self.submit(lambda worker: self._runs(worker, path, limit, cursor))

    def run(self, path: RunPath) -> Future[JsonObject]:
        """Ask for everything about one run but its history."""
        return self.submit(lambda worker: self._run(worker, path))

    def settled(self, path: RunPath) -> Future[bool]:
        """Ask whether a run has ended; an answer of no may take up to the timeout."""
        return Engine.current().submit(lambda worker: self._settled(worker, path))

    def submit(self, work: Callable[[Any], Awaitable[T]]) -> Future[T]:
        """Run `work(worker)` on the engine's loop, for at most `timeout` seconds."""
        return Engine.current().submit(lambda worker: self.bounded(work(worker)))

    # What runs on the engine's loop.

    async def bounded(self, work: Awaitable[T]) -> T:
        """Await something that the server does; raises CommError where it takes too long."""
        try:
            async with asyncio.timeout(self._timeout):
                return await work
        except TimeoutError as error:
            raise CommError(
                f"the server did not answer within {self._timeout:g} s. Nothing was changed; try "
                "again, or give it longer with Api(timeout=...)"
            ) from error

    async def address(self, worker: Any, *, afresh: bool = False) -> Any:
        """Find the server, or recall where it is."""
        if self._address is None or afresh:
            self._address = await worker.address(self.settings)
        return self._address

    def key(self, address: Any) -> str | None:
        """Return the key for the server at an address."""
        return self._api_key or address.key

    async def history_url(self, address: Any, worker: Any, path: RunPath) -> str:
        """Return where a run's rows are."""
        entity = await self._owner(worker, path.entity)
        return f"{address.url}/api/v1/runs/{route(entity, path.project, path.run)}/history"

    async def _get(self, worker: Any, place: str, params: Params | None = None) -> JsonObject:
        known = self._address is not None
        address = await self.address(worker)
        try:
            reply = await worker.http.request(
                "GET", address.url + place, key=self.key(address), params=params
            )
        except CommError:
            if not known:
                raise
            # The embedded server may have stopped since, and another one may be up elsewhere.
            address = await self.address(worker, afresh=True)
            reply = await worker.http.request(
                "GET", address.url + place, key=self.key(address), params=params
            )
        if reply.status != 200:
            raise refusal(CommError(reply.problem, reply.status, reply.error[0]), address.url)
        answer: JsonObject = reply.json()
        return answer

    async def _owner(self, worker: Any, entity: str | None) -> str:
        if entity is not None:
            return entity
        if self._entity is None:
            self._entity = str((await self._get(worker, "/api/v1/viewer"))["entity"])
        return self._entity

    async def _projects(self, worker: Any, entity: str | None) -> Page:
        owner = await self._owner(worker, entity)
        found = (await self._get(worker, "/api/v1/projects"))["projects"]
        url = (await self.address(worker)).url
        return [{**entry, "server": url} for entry in found if entry["entity"] == owner], None

    async def _runs(self, worker: Any, path: ProjectPath, limit: int, cursor: str | None) -> Page:
        owner = await self._owner(worker, path.entity)
        params = [("limit", str(limit))] + ([("cursor", cursor)] if cursor else [])
        place = f"/api/v1/projects/{route(owner, path.project)}/runs"
        answer = await self._get(worker, place, params)
        return answer["runs"], answer["next"]

    async def _run(self, worker: Any, path: RunPath) -> JsonObject:
        owner = await self._owner(worker, path.entity)
        return await self._get(worker, f"/api/v1/runs/{route(owner, path.project, path.run)}")

    async def _settled(self, worker: Any, path: RunPath) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ended(worker, path)
        except TimeoutError:
            return False
        except CommError as error:
            if error.status not in _PASSING:
                raise refusal(error, self._address.url) from error
        return await self._ended_by_asking(worker, path)

    async def _ended_by_asking(self, worker: Any, path: RunPath) -> bool:
        """Ask for the run's state, having patience with a server that is being restarted."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                info = await self.bounded(self._run(worker, path))
            except CommError as error:
                if error.status not in _PASSING or clock() >= deadline:
                    raise
            else:
                return bool(info["state"] != "running")

    async def _ended(self, worker: Any, path: RunPath) -> bool:
        """Follow the run's live events until it has ended; False where they stop before."""
        address = await self.address(worker)
        owner = await self._owner(worker, path.entity)
        url = f"{address.url}/api/v1/runs/{route(owner, path.project, path.run)}/live"
        buffer = b""
        async with worker.http.stream(url, key=self.key(address)) as chunks:
            async for chunk in chunks:
                *events, buffer = (buffer + chunk).split(_EVENT_END)
                if any(_state(event) not in (None, "running") for event in events):
                    return True
                if len(buffer) > _MAX_EVENT:
                    raise CommError(f"{address.url} sent a live event without an end")
        return False


def _state(event: bytes) -> str | None:
    """Return the run's state that a server-sent event tells; a ping tells none."""
    for line in event.splitlines():
        if line.startswith(b"data:"):
            return str(loads(line[5:])["state"])
    return None


def refusal(error: CommError, url: str) -> CommError:
    """Turn a refused question into the exception for its status."""
    message = f"{url}: {error.message}"
    if error.status in (401, 403):
        hint = "Nothing was changed; check the API key, or run `asyncwb login`."
        return AuthenticationError(f"{message} {hint}", error.status, error.code)
    if error.status == 404:
        return RunNotFoundError(message, error.status, error.code)
    return CommError(message, error.status, error.code)
