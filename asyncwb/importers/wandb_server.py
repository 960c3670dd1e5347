"""Runs of a W&B server, read through its API as its own client reads them.

The history is read in windows of steps, a page at a time. A window that is nearly empty grows, one
that holds more rows than were asked for is halved and asked again, since its rows are a sample
then: whatever the steps are, every row comes over and a page is all that is in memory.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from asyncwb.engine.uplink.http import Http, Reply
from asyncwb.engine.uploads.transfer import save
from asyncwb.errors import AuthenticationError, CommError, NotFoundError
from asyncwb.importers.items import (
    Event,
    FileEntry,
    Found,
    Item,
    Line,
    RemotePart,
    Row,
    flat,
)
from asyncwb.importers.target import until_answered
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.history import STEP_MAX
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.keys import INTERNAL, STEP, TIME
from asyncwb.wire.rows.values import NON_FINITE, dumps, loads
from asyncwb.wire.summary.metrics import OPS
from asyncwb.wire.wandb import EVENTS

_RUNS_A_PAGE: Final = 20
_FILES_A_PAGE: Final = 200
_ROWS: Final = 1_000
_WIDEST: Final = 2**40
_EVENTS: Final = 10_000
_ENDED: Final = {"finished": 0, "failed": 1, "killed": 255}
_OPS_BY_NUMBER: Final = ("min", "max", "mean", "best", "last", "none", "copy", "first")


class WandbServer:
    """A server to import from.

    Args:
        http: connections to use; they belong to the loop of the caller.
        url: its base URL; `key` is the key for it.
        patience: seconds for which a server that is busy or away is tried again.
    """

    def __init__(self, http: Http, url: str, key: str, *, patience: float) -> None:
        self.url = url
        self._http = http
        self._key = key
        self._patience = patience

    async def runs(
        self, entity: str, project: str, filters: str | None, *, into: tuple[str | None, str]
    ) -> AsyncIterator[RemoteRun]:
        """Give the runs of a project, the oldest first, a page at a time.

        Args:
            entity: whose project it is; `project` is its name.
            filters: only runs that match, JSON in MongoDB's language; None: all.
            into: (entity, project) that they shall belong to.

        Raises:
            NotFoundError: there is no such project, or the key may not see it.
            CommError: the server does not answer, or refuses.
        """
        variables = {"filters": filters, "order": "+created_at", "perPage": _RUNS_A_PAGE}
        cursor: str | None = None
        while True:
            found = await self.ask(
                query_documents.RUNS, entity=entity, project=project, cursor=cursor, **variables
            )
            page = found.get("project")
            if page is None:
                raise NotFoundError(
                    f"{self.url} has no project {entity}/{project}, or the key may not see it. "
                    "Nothing was imported"
                )
            for edge in page["runs"]["edges"]:
                yield RemoteRun(self, entity, project, edge["node"], into)
            info = page["runs"]["pageInfo"]
            if not info["hasNextPage"]:
                return
            cursor = info["endCursor"]

    async def ask(self, document: str, **variables: Any) -> JsonObject:
        """Send a GraphQL document; gives the answer's data."""
        body = dumps({"query": document, "variables": variables})
        send = partial(self._http.request, "POST", f"{self.url}/graphql", key=self._key, data=body)
        reply = await until_answered(send, self._patience)
        if reply.status in (401, 403):
            raise AuthenticationError(f"{self.url} does not accept the key. Nothing was imported")
        answer = reply.json() if reply.status == 200 else None
        if not isinstance(answer, dict) or answer.get("errors"):
            raise CommError(f"{self.url}: {_problem(reply)}", reply.status)
        data: JsonObject = answer["data"]
        return data

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Path]:
        """Download a file, piece by piece, to a place that is gone afterwards."""
        absolute = urljoin(f"{self.url}/", url)
        key = self._key if absolute.startswith(f"{self.url}/") else None
        with tempfile.TemporaryDirectory(prefix="asyncwb-import-") as folder:
            target = Path(folder, "file")
            async with self._http.stream(absolute, key=key, follow=True) as chunks:
                await save(chunks, target)
            yield target


def _problem(reply: Reply) -> str:
    try:
        return "; ".join(str(error["message"]) for error in loads(reply.body)["errors"])
    except (ValueError, KeyError, TypeError):
        return reply.problem


class RemoteRun:
    """One run of a W&B server as a source; `node` is what its API said of it.

    Mutable state: `_node` and `_summary`, which are asked anew when the rows were read.
    """

    def __init__(
        self,
        server: WandbServer,
        entity: str,
        project: str,
        node: JsonObject,
        into: tuple[str | None, str],
    ) -> None:
        self.label = f"{entity}/{project}/{node['name']}"
        self.entity, self.project = into
        self.run = str(node["name"])
        self.grows = False
        self._server = server
        self._names = {"entity": entity, "project": project, "name": self.run}
        self._node = node

    async def ask(self, document: str, **variables: Any) -> JsonObject:
        """Ask the server something about this run; gives the run's object."""
        data = await self._server.ask(document, **self._names, **variables)
        run = (data.get("project") or {}).get("run")
        if run is None:
            raise NotFoundError(f"{self._server.url} has the run {self.label} no longer")
        found: JsonObject = run
        return found

    async def parts(self, *, media: bool) -> Sequence[RemotePart]:
        """Return its history, as it is now."""
        del media  # media are files of the run, and rows only speak of them
        self._node = await self.ask(query_documents.RUN)
        return [RemoteHistory(self, self._server.url, self.label, self._node)]

    async def settled(self) -> bool:
        """Say that a history is read once."""
        return True

    async def closing(self) -> Found:
        """Say how the run ended, as far as its state tells."""
        node = self._node
        config = _config(node)
        state, left = str(node["state"]), Found()
        for metric in _metrics(config.get(INTERNAL)):
            left.closing.append(metric)
        at = _unix(node.get("createdAt"))
        start = {"t": "start", "at": at, "resume": "must"}
        attributes = {
            "t": "attrs",
            "name": node.get("displayName") or self.run,
            "tags": list(node.get("tags") or ()),
            "notes": node.get("notes"),
            "group": node.get("group"),
            "job_type": node.get("jobType"),
        }
        settings = {"t": "config", "set": config, "delete": []}
        left.closing[:0] = [start, attributes, settings]
        ended = _unix(node.get("heartbeatAt")) or at
        if state in _ENDED:
            left.closing.append({"t": "finish", "exit_code": _ENDED[state], "at": ended})
        else:
            left.closing.append({"t": "leave", "at": ended})
        if state not in ("finished", "failed", "crashed"):
            left.notes.append(f"its state there is {state!r}")
        if node.get("sweepName"):
            left.left[f"place in sweep {node['sweepName']}"] += 1
        left.summary = _floats(_json(node.get("summaryMetrics")))
        return left

    async def files(self) -> AsyncIterator[FileEntry]:
        """Give its files, which are downloaded one by one."""
        cursor: str | None = None
        while True:
            found = await self.ask(query_documents.FILES, cursor=cursor, perPage=_FILES_A_PAGE)
            for edge in found["files"]["edges"]:
                entry = _file(edge["node"], self._server)
                if entry is not None:
                    yield entry
            info = found["files"]["pageInfo"]
            if not info["hasNextPage"]:
                return
            cursor = info["endCursor"]


class RemoteHistory:
    """The rows of a run; the first two numbers are the start of the run, then one number a row."""

    def __init__(self, run: RemoteRun, url: str, label: str, node: JsonObject) -> None:
        self.found = Found()
        self.writer = "api-" + hashlib.sha256(f"{url} {label}".encode()).hexdigest()[:12]
        self._run = run
        self._node = node
        self._paths = _paths(_json(node.get("summaryMetrics")))

    async def chunks(
        self, done: int, last_step: int | None
    ) -> AsyncIterator[tuple[int, list[Item]]]:
        """Give the rows a page at a time, from the step after the last that came over."""
        at = _unix(self._node.get("createdAt"))
        config = _config(self._node)
        if done == 0:
            start: Event = {"t": "start", "at": at, "config": config, "resume": None}
            # The end of the run is another writer's to say.
            yield 0, [start, {"t": "leave", "at": at}]
        seq = max(done, 2)
        first = 0 if done <= 2 or last_step is None else last_step + 1
        end = self._last_step() + 1
        window = _ROWS
        while first < end:
            stop = min(first + window, end)
            page = await self._run.ask(
                query_documents.HISTORY_PAGE, minStep=first, maxStep=stop, samples=_ROWS
            )
            texts = page["rows"] or []
            if len(texts) >= _ROWS and stop - first > _ROWS:
                window = max(_ROWS, window // 2)
                continue
            rows = await asyncio.to_thread(_rows, texts, at, self._paths)
            if rows:
                yield seq, [*rows]
                seq += len(rows)
            if len(texts) < _ROWS // 4:
                window = min(2 * window, _WIDEST)
            first = stop
        yield seq, [*await self._events()]

    def _last_step(self) -> int:
        last = _json(self._node.get("historyKeys")).get("lastStep")
        if last is None:
            last = _json(self._node.get("summaryMetrics")).get(STEP)
        if last is None and self._node.get("historyLineCount"):
            self.found.left["row (the server does not say up to which step)"] += int(
                self._node["historyLineCount"]
            )
        return -1 if last is None else min(int(last), STEP_MAX)

    async def _events(self) -> list[Line]:
        """Return the system metrics, which the server only gives as a sample."""
        texts = (await self._run.ask(query_documents.EVENTS, samples=_EVENTS))["rows"] or []
        if len(texts) >= _EVENTS:
            self.found.notes.append(f"of its system metrics a sample of {_EVENTS:,} rows came over")
        plain = (text if isinstance(text, str) else dumps(text).decode() for text in texts)
        return [Line(EVENTS, text) for text in plain]


def _rows(texts: Sequence[Any], at: float, paths: Mapping[str, str]) -> list[Row]:
    rows = []
    for text in texts:
        row = loads(text) if isinstance(text, str) else text
        values = {paths.get(keys.display(path), path): v for path, v in flat(row).items()}
        rows.append(Row(int(row[STEP]), float(row.get(TIME) or at), _floats(values)))
    return sorted(rows, key=lambda row: row.step)


def _paths(summary: Mapping[str, Any]) -> dict[str, str]:
    """Tell which paths the names of a history stand for.

    A history may write nested keys as "a.b", as it writes a key that has a dot in it. The summary
    keeps the two apart.
    """
    found: dict[str, str] = {}
    for path in keys.flatten(summary):
        names = keys.split(path)
        for depth in range(1, len(names) + 1):
            prefix = keys.join(names[:depth])
            found.setdefault(keys.display(prefix), prefix)
    return found


def _floats(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn texts such as "NaN", which W&B writes for floats that JSON lacks, back into floats."""
    return {key: _float(value) for key, value in values.items()}


def _float(value: Any) -> Any:
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return _floats(value)
    if isinstance(value, list):
        return [_float(item) for item in value]
    return value


def _json(text: Any) -> dict[str, Any]:
    value = loads(text) if isinstance(text, str) else text
    return value if isinstance(value, dict) else {}


def _config(node: JsonObject) -> dict[str, Any]:
    """Return the config without W&B's wrapping of each value."""
    wrapped = _json(node.get("config"))
    return {
        key: value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in wrapped.items()
    }


def _metrics(internal: Any) -> list[Event]:
    """Return the metric definitions that W&B's client leaves in the config, by field number."""
    said = internal.get("m") if isinstance(internal, dict) else None
    entries = [entry for entry in said or () if isinstance(entry, dict)]
    names = [entry.get("1") or entry.get("2") for entry in entries]
    events: list[Event] = []
    for entry, name in zip(entries, names, strict=True):
        index, options = entry.get("5"), entry.get("6") or ()
        ops = {_OPS_BY_NUMBER[n - 1] for n in entry.get("7") or () if 0 < n <= len(_OPS_BY_NUMBER)}
        if not isinstance(name, str) or not name:
            continue
        events.append(
            {
                "t": "metric",
                "name": name,
                "step_metric": _named(names, index) or entry.get("4"),
                "step_sync": 1 in options,
                "hidden": 2 in options,
                "summary": [op for op in OPS if op in ops] or None,
                "goal": {1: "minimize", 2: "maximize"}.get(entry.get("8") or 0),
                "overwrite": True,
            }
        )
    return events


def _named(names: Sequence[Any], index: Any) -> Any:
    known = isinstance(index, int) and 0 < index <= len(names)
    return names[index - 1] if known else None


def _file(node: JsonObject, server: WandbServer) -> FileEntry | None:
    url = node.get("directUrl") or node.get("url")
    if not url:
        return None
    fetch: AbstractAsyncContextManager[Path] = server.fetch(str(url))
    size = int(node.get("sizeBytes") or 0)
    return FileEntry(str(node["name"]), size, _unix(node.get("updatedAt")), fetch)


def _unix(text: Any) -> float:
    if not isinstance(text, str):
        return 0.0
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()
