"""What the query API asks of a server: GraphQL, and where it is offered the native way to rows.

A command gives a `Future` of decoded JSON; the faces wait for it. A question that finds the
embedded server gone looks for it again and asks once more; so does a change, but only where the
connection was refused, since nothing can have been done then. A server that has no time (429, 502,
503, 504) is asked again for as long as the Api's timeout lasts.
"""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

import anyio

from asyncwb.engine.session import Worker
from asyncwb.engine.thread import Engine
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Reply
from asyncwb.engine.uploads.transfer import save, send
from asyncwb.errors import (
    ArgumentError,
    AuthenticationError,
    CommError,
    Error,
    FilterError,
    NotFoundError,
    RunNotFoundError,
    UsageError,
)
from asyncwb.importers.importing import sync_tensorboard
from asyncwb.printable import in_seconds
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.paths import ProjectPath, RunPath, route
from asyncwb.wire.rows.values import dumps, loads

T = TypeVar("T")

Params: TypeAlias = list[tuple[str, str]]
Variables: TypeAlias = Mapping[str, object]
Checked: TypeAlias = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]
"""passes on what a file is made of, and looks at it on the way"""

RUNNING: Final = ("running", "pending", "preempting", "preempted")
"""The states of a run that another one follows."""

_EVENT_END: Final = b"\n\n"
_MAX_EVENT: Final = 64 * 2**20
_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 8.0
_PASSING: Final = (None, 502, 503, 504)
_NOT_BEGUN: Final = (429, 503)
_GRACE: Final = 5.0
"""seconds that one request gets beyond the Api's timeout, so that it is the Api's that ends it."""


class Page(NamedTuple):
    """Some entries of a list, where the next ones begin (None: there are no more), and how many
    entries the whole list has, where the server says so."""

    entries: list[JsonObject]
    cursor: str | None = None
    length: int | None = None


class Asker(Protocol):
    """An Api of either face, as far as the things that it makes need to know it."""

    @property
    def client(self) -> Connection:
        """The server that it asks."""


class Connection:
    """A server to ask, found on first use.

    State, touched by the engine's loop only: `_address`, `_entity`, `_features` and `_native`,
    once they are known.

    A pickle of it has no key, so that none lies in a file or goes to another machine: where it is
    unpickled the key is looked up anew, as for a new Api.

    Args:
        settings: which server, and whose key.
        timeout: seconds that one answer may take.
        api_key: a key instead of the settings' or the embedded server's own.
    """

    def __init__(self, settings: Settings, timeout: float, api_key: str | None = None) -> None:
        self.settings = settings
        self._timeout = timeout
        self._api_key = api_key
        self._address: Address | None = None
        self._entity: str | None = None
        self._features: frozenset[str] | None = None
        self._native: bool | None = None
        self._unpickled = False

    def __getstate__(self) -> dict[str, object]:
        given = {name: v for name, v in self.settings.given.items() if name != "api_key"}
        return {"settings": given, "timeout": self._timeout}

    def __setstate__(self, state: JsonObject) -> None:
        Connection.__init__(self, Settings.resolve(state["settings"]), state["timeout"])
        self._unpickled = True

    def __deepcopy__(self, memo: dict[int, object]) -> Connection:
        return self

    # Commands, for any thread.

    def ask(self, document: str, **variables: object) -> Future[JsonObject]:
        """Send a GraphQL document; gives the answer's `data`."""
        return self.submit(lambda worker: self.query(worker, document, variables))

    def ask_run(self, path: RunPath, document: str, **variables: object) -> Future[JsonObject]:
        """Send a document about a run; gives the run's object, raises RunNotFoundError."""
        return self.submit(lambda worker: self.query_run(worker, path, document, variables))

    def entity(self) -> Future[str]:
        """Ask for the entity of those who name none."""
        return self.submit(self.owner)

    def native(self) -> Future[bool]:
        """Ask whether the server offers the native ways to read."""
        return self.submit(self.speaks_natively)

    def info(self, path: RunPath) -> Future[JsonObject]:
        """Ask for what our own server knows of a run beyond W&B's fields; empty elsewhere."""
        return self.submit(lambda worker: self._info(worker, path))

    def has_feature(self, name: str) -> Future[bool]:
        """Ask whether the server says that it can do something."""
        return self.submit(lambda worker: self._has_feature(worker, name))

    def settled(self, path: RunPath) -> Future[bool]:
        """Ask whether a run has ended; an answer of no may take up to the timeout."""
        return Engine.current().submit(lambda worker: self._settled(worker, path))

    def read(self, url: str) -> Future[bytes]:
        """Read a small file from an address that the server gave."""
        return self.submit(lambda worker: self._read(worker, url))

    def download(self, url: str, target: Path) -> Future[None]:
        """Write what an address has to a file, piece by piece; the timeout is for each wait."""
        return Engine.current().submit(lambda worker: self.fetch(worker, url, target))

    def upload(self, url: str, source: Path, headers: list[str]) -> Future[None]:
        """Send a file, piece by piece, to an address that the server gave."""
        return Engine.current().submit(lambda worker: self._upload(worker, url, source, headers))

    def sync_tensorboard(
        self, folder: Path, run_id: str | None, project: str, entity: str
    ) -> Future[RunPath]:
        """Bring a folder of TensorBoard's event files in as a run; however long that takes."""
        return Engine.current().submit(
            lambda worker: self._sync_tensorboard(worker, folder, run_id, project, entity)
        )

    def submit(self, work: Callable[[Worker], Awaitable[T]]) -> Future[T]:
        """Run `work(worker)` on the engine's loop, for at most `timeout` seconds."""
        return Engine.current().submit(lambda worker: self.bounded(work(worker)))

    # What is known already, for any thread.

    @property
    def url(self) -> str:
        """Where the server's pages are; empty as long as the server was not found."""
        found = self._address.url if self._address is not None else self.settings.base_url or ""
        return "https://wandb.ai" if urlsplit(found).hostname == "api.wandb.ai" else str(found)

    @property
    def api_key(self) -> str | None:
        """The key that is sent; None where it is the embedded server's and was not read yet."""
        if self._api_key is not None or self._address is None:
            return self._api_key or self.settings.api_key
        return self.key(self._address)

    @property
    def _where(self) -> str:
        """Where the server is that was asked."""
        assert self._address is not None
        return self._address.url

    # What runs on the engine's loop.

    async def bounded(self, work: Awaitable[T]) -> T:
        """Await something that the server does; raises CommError where it takes too long."""
        try:
            with anyio.fail_after(self._timeout):
                return await work
        except TimeoutError as error:
            raise CommError(
                f"the server did not answer within {in_seconds(self._timeout)}. It may or may not "
                "have done what it was asked; try again, or give it longer with Api(timeout=...)"
            ) from error

    async def address(self, worker: Worker, *, afresh: bool = False) -> Address:
        """Find the server, or recall where it is."""
        if self._address is None or afresh:
            self._address = await worker.address(self.settings)
        return self._address

    def key(self, address: Address) -> str | None:
        """Return the key for the server at an address; UsageError where unpickling found none."""
        key: str | None = self._api_key or address.key
        if key is None and self._unpickled:
            raise UsageError(
                f"No API key for {address.url}: what the query API gives is pickled without it. "
                "Nothing was asked; set ASYNCWB_API_KEY, or run `asyncwb login`, where it is "
                "unpickled."
            )
        return key

    async def query(self, worker: Worker, document: str, variables: Variables) -> JsonObject:
        """Send a GraphQL document; raises CommError for every error in the answer."""
        try:
            body = dumps({"query": document, "variables": variables})
        except TypeError as error:
            raise ArgumentError(f"that cannot be sent, since it is not JSON: {error}") from error
        change = document.lstrip().startswith("mutation")
        answer = await self._send(worker, "POST", "/graphql", data=body, change=change)
        if answer.get("errors"):
            raise _query_error(answer["errors"], self._where)
        data = answer.get("data")
        if not isinstance(data, dict):
            raise CommError(f"{self._where} answered without data", 200)
        return data

    async def query_run(
        self, worker: Worker, path: RunPath, document: str, variables: Variables
    ) -> JsonObject:
        """Send a document about a run; gives the run's object."""
        entity = await self.owner(worker, path.entity)
        names = {"entity": entity, "project": path.project, "name": path.run}
        data = await self.query(worker, document, {**names, **variables})
        run = (data.get("project") or {}).get("run")
        if run is None:
            raise RunNotFoundError(
                f"Could not find run {entity}/{path.project}/{path.run}: the server has no such "
                "run, or the key may not see it",
                404,
                "run_not_found",
            )
        return {**run, "entity": entity}

    async def query_project(
        self, worker: Worker, path: ProjectPath, document: str, variables: Variables
    ) -> JsonObject:
        """Send a document about a project; gives the project's object."""
        entity = await self.owner(worker, path.entity)
        names = {"entity": entity, "project": path.project}
        project = (await self.query(worker, document, {**names, **variables})).get("project")
        if project is None:
            raise NotFoundError(
                f"Could not find project {entity}/{path.project}: there is no project of that "
                "name, or the key may not see it",
                404,
                "project_not_found",
            )
        return {**project, "entity": entity}

    async def owner(self, worker: Worker, entity: str | None = None) -> str:
        """Return the entity, or that of the key's own user where none is named."""
        if entity is not None or self.settings.entity is not None:
            return entity or str(self.settings.entity)
        if self._entity is None:
            viewer = (await self.query(worker, query_documents.DEFAULT_ENTITY, {})).get("viewer")
            if not viewer or not viewer.get("entity"):
                raise AuthenticationError(
                    f"{self._where} does not know whose API key this is. Nothing was "
                    "changed; check the key, or run `asyncwb login`.",
                    200,
                )
            self._entity = str(viewer["entity"])
        return self._entity

    async def speaks_natively(self, worker: Worker) -> bool:
        """Tell whether the server offers our own routes."""
        if self._native is None:
            reply = await self._request(worker, "GET", "/ready", None, change=False)
            try:
                said = loads(reply.body) if reply.status == 200 else {}
            except ValueError:
                said = {}
            native = isinstance(said, dict) and bool(said.get("ingest"))
            if reply.status != 503:  # it is about to start, or to stop
                self._native = native
            return native
        return self._native

    async def history_url(self, address: Address, worker: Worker, path: RunPath) -> str:
        """Return where a run's rows are."""
        entity = await self.owner(worker, path.entity)
        return f"{address.url}/api/v1/runs/{route(entity, path.project, path.run)}/history"

    async def _send(
        self, worker: Worker, method: str, place: str, *, data: bytes | None, change: bool
    ) -> JsonObject:
        """Send a request until it is answered with more than "not now"."""
        clock, pause = anyio.current_time, 0.25
        deadline = clock() + self._timeout
        while True:
            reply = await self._request(worker, method, place, data, change=change)
            later = reply.status in (_NOT_BEGUN if change else (*_NOT_BEGUN, 502, 504))
            pause = max(pause, _asked_to_wait(reply.headers))
            if not later or clock() + pause >= deadline:
                break
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        if reply.status != 200:
            problem = CommError(_problem(reply), reply.status, reply.error[0])
            raise refusal(problem, self._where)
        answer = reply.json()
        if not isinstance(answer, dict):
            raise CommError(f"{self._where} answered with no object", reply.status)
        return answer

    async def _request(
        self, worker: Worker, method: str, place: str, data: bytes | None, *, change: bool
    ) -> Reply:
        known = self._address is not None
        address = await self.address(worker)
        http = worker.connections(self._timeout + _GRACE)
        try:
            return await http.request(method, address.url + place, key=self.key(address), data=data)
        except CommError as error:
            refused = getattr(error.__cause__, "errno", None) == errno.ECONNREFUSED
            if not known or (change and not refused):
                raise
        # The embedded server may have stopped since, and another one may be up elsewhere.
        address = await self.address(worker, afresh=True)
        return await http.request(method, address.url + place, key=self.key(address), data=data)

    async def _info(self, worker: Worker, path: RunPath) -> JsonObject:
        if not await self.speaks_natively(worker):
            return {}
        entity = await self.owner(worker, path.entity)
        place = f"/api/v1/runs/{route(entity, path.project, path.run)}"
        return await self._send(worker, "GET", place, data=None, change=False)

    async def _has_feature(self, worker: Worker, name: str) -> bool:
        if self._features is None:
            data = await self.query(worker, query_documents.SERVER_FEATURES, {})
            features = (data.get("serverInfo") or {}).get("features") or []
            self._features = frozenset(f["name"] for f in features if f["isEnabled"])
        return name in self._features

    # Files, at addresses that may be relative to the server or far from it.

    async def _place(self, worker: Worker, url: str) -> tuple[str, str | None]:
        """Return the absolute address and the key for it, which goes to the server alone."""
        address = await self.address(worker)
        absolute = urljoin(f"{address.url}/", url)
        ours = absolute.startswith(f"{address.url}/")
        return absolute, self.key(address) if ours else None

    async def _read(self, worker: Worker, url: str) -> bytes:
        absolute, key = await self._place(worker, url)
        http = worker.connections(self._timeout)
        try:
            async with http.stream(absolute, key=key, follow=True) as chunks:
                return b"".join([chunk async for chunk in chunks])
        except CommError as error:
            raise _not_given(error, "the file", absolute) from error

    async def fetch(
        self, worker: Worker, url: str, target: Path, checked: Checked | None = None
    ) -> None:
        """Write what an address has to a file; `checked` raises CommError where it is no good."""
        absolute, key = await self._place(worker, url)
        http = worker.connections(self._timeout)
        try:
            async with http.stream(absolute, key=key, follow=True) as chunks:
                await save(chunks if checked is None else checked(chunks), target)
        except CommError as error:
            raise _not_given(error, target.name, absolute) from error

    async def _upload(self, worker: Worker, url: str, source: Path, headers: list[str]) -> None:
        absolute, _ = await self._place(worker, url)
        await send(worker.connections(self._timeout), absolute, source, headers)

    async def _sync_tensorboard(
        self, worker: Worker, folder: Path, run_id: str | None, project: str, entity: str
    ) -> RunPath:
        found = await self.address(worker)
        result = await sync_tensorboard(
            folder,
            run_id,
            project,
            entity,
            http=worker.connections(self._timeout + _GRACE),
            address=replace(found, key=self.key(found)),
            patience=self._timeout,
        )
        if isinstance(result.failure, UsageError):  # to call it again would be of no use
            raise result.failure
        if result.error is not None or result.path is None:
            why = str(result.error).rstrip(".")
            raise CommError(
                f"{folder} is not all on the server: {why}. What came is kept there; call again "
                "for the rest"
            )
        return result.path

    # Waiting for the end of a run.

    async def _settled(self, worker: Worker, path: RunPath) -> bool:
        if not await self.bounded(self.speaks_natively(worker)):
            return await self._ended_by_asking(worker, path)
        try:
            with anyio.move_on_after(self._timeout):
                return await self._ended(worker, path)
            return False
        except CommError as error:
            if error.status not in _PASSING:
                raise refusal(error, self._where) from error
        return await self._ended_by_asking(worker, path)

    async def _ended_by_asking(self, worker: Worker, path: RunPath) -> bool:
        """Ask for the run's state, having patience with a server that is being restarted."""
        clock = anyio.current_time
        deadline = clock() + self._timeout
        while True:
            await anyio.sleep(_PAUSE)
            try:
                work = self.query_run(worker, path, query_documents.RUN_STATE, {})
                run = await self.bounded(work)
            except CommError as error:
                if error.status not in _PASSING or clock() >= deadline:
                    raise
            else:
                return run["state"] not in RUNNING

    async def _ended(self, worker: Worker, path: RunPath) -> bool:
        """Follow the run's live events until it has ended; False where they stop before."""
        address = await self.address(worker)
        owner = await self.owner(worker, path.entity)
        url = f"{address.url}/api/v1/runs/{route(owner, path.project, path.run)}/live?values=none"
        buffer = b""
        async with worker.http.stream(url, key=self.key(address)) as chunks:
            async for chunk in chunks:
                *events, buffer = (buffer + chunk).split(_EVENT_END)
                if any(_state(event) not in (None, *RUNNING) for event in events):
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


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header; 0 where there is none, or it is a date."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _problem(reply: Reply) -> str:
    """Return what an error answer says, in our shape or in GraphQL's."""
    if reply.error[1]:
        return str(reply.problem)
    try:
        said = json.loads(reply.body)
        return "; ".join(str(error["message"]) for error in said["errors"]) or str(reply.problem)
    except (ValueError, KeyError, TypeError):
        return str(reply.problem)


def _query_error(errors: list[JsonObject], url: str) -> Error:
    """Turn the errors of a GraphQL answer into one exception."""
    # One fault may be told of each field that it spoiled.
    said = dict.fromkeys(str(error.get("message", error)) for error in errors)
    message = "; ".join(said)
    code = str((errors[0].get("extensions") or {}).get("code") or "")
    if code == "bad_filter":
        return FilterError(f"{message} (said {url}; nothing was changed)")
    return _kind_of(code)(f"{url}: {message}", 200, code)


def _not_given(error: CommError, what: str, url: str) -> CommError:
    """Say which file did not come; the rest of its address may be a secret."""
    said = error.message.rstrip(".")
    message = f"{what} did not come from {urlsplit(url).netloc}: {said}. Nothing was written here"
    kind = _kind_of(error.code)
    lasting = issubclass(kind, NotFoundError) or error.status == 410
    also = "" if lasting else "; try again"
    return kind(f"{message}{also}.", error.status, error.code)


def refusal(error: CommError, url: str) -> CommError:
    """Turn a refused question into the exception for its status."""
    message = f"{url}: {error.message}"
    if error.status in (401, 403):
        if "asyncwb login" not in message:  # our own server has said it
            message += " Nothing was changed; check the API key, or run `asyncwb login`."
        return AuthenticationError(message, error.status, error.code)
    return _kind_of(error.code)(message, error.status, error.code)


def _kind_of(code: str) -> type[CommError]:
    if code == "run_not_found":
        return RunNotFoundError
    return NotFoundError if code.endswith("not_found") else CommError
