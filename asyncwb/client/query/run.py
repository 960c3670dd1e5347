"""A run as the server knows it: what `api.run()` gives, to read and to edit.

Its attributes are those of the moment it was loaded; `load(force=True)` looks again. What is
changed here is sent by `update()`. The history is read from the server each time.

Source: https://docs.wandb.ai/ref/python/public-api/run.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Awaitable, Sequence, Set
from datetime import UTC, datetime
from typing import Any, Final

from asyncwb.client.query.assigned import AssignedDict
from asyncwb.client.query.console import ConsoleLogLine
from asyncwb.client.query.edits import RunEdit, send
from asyncwb.client.query.files import AsyncFile, AsyncFiles
from asyncwb.client.query.history import AsyncHistoryScan, AsyncTables
from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import of_last_lines, of_lines, page_size, pages
from asyncwb.client.query.requests.query import Asker
from asyncwb.client.query.rows import exports
from asyncwb.client.query.rows.dataframes import has_pandas, pandas_frame
from asyncwb.client.query.rows.exports import DownloadHistoryResult
from asyncwb.client.query.rows.formats import HistoryQuery, Sampler, as_dicts, check_names
from asyncwb.client.query.rows.json_rows import having, picked, read_row
from asyncwb.client.query.run_fields import TEXTS, AsyncRunFields
from asyncwb.client.waiting import in_thread, wait_async
from asyncwb.engine.notices import caution
from asyncwb.engine.uploads.transfer import named_below
from asyncwb.errors import ArgumentError, CommError, NotFoundError
from asyncwb.typing import FilePath, JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.changes import Changes
from asyncwb.wire.rows.columns import Table
from asyncwb.wire.rows.keys import STEP
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.wandb import unwrap

METADATA_FILE: Final = "wandb-metadata.json"

_ID_LETTERS: Final = string.ascii_lowercase + string.digits


class AsyncPublicRun(AsyncRunFields):
    """Read and edit a run. Made by `AsyncApi.run()` and `AsyncApi.runs()`.

        run = await asyncwb.AsyncApi().run("me/mnist/abc123")
        print(run.state, run.summary["loss"])
        frame = await run.history(keys=["loss"])
        run.tags.append("good")
        await run.update()

    Every field that the server sends is an attribute, in snake_case too: `storage_id`,
    `created_at` and `heartbeat_at` (ISO 8601), `commit`, `read_only`, `sweep_name`,
    `history_line_count`.

    Args:
        client: the server.
        entity: who owns the run's project.
        project: the project's name.
        run_id: the run's id.
        attrs: its fields, where they were loaded already. Left out, the sync face loads them at
            once; the async one cannot wait there, and does so by `await run.load()`.
        include_sweeps: whether the name of its sweep is asked for.

    Raises:
        RunNotFoundError: the fields were to be loaded, and the server does not have the run.
        CommError: it does not answer.
    """

    @classmethod
    async def create(
        cls,
        api: Asker,
        run_id: str | None = None,
        project: str | None = None,
        entity: str | None = None,
        state: str = "running",
    ) -> AsyncPublicRun:
        """Make a run on the server that nobody logs to yet.

        Args:
            api: whose key makes it.
            run_id: the run's id; left out, a random one.
            project: left out, that of the Api.
            entity: left out, that of the Api.
            state: "running", or "pending" for a run that is to be resumed later.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        client = api.client
        name = run_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
        if entity is None:
            entity = await wait_async(client.entity())
        where = {"entity": entity, "project": project or client.settings.project}
        await wait_async(client.ask(query_documents.CREATE_RUN, name=name, state=state, **where))
        run = cls(client, entity, where["project"], name)
        await run.load()
        return run

    # Editing.

    async def update(self) -> None:
        """Send what was changed: name, tags, notes, description, group, job type, config, summary.

        What was assigned is sent, also where it is the value that was loaded. What was not changed
        here is not sent, down to single keys of config and summary, so that others' changes to it
        stay, and so do tags that others added. (At a W&B server, which takes these as a whole, the
        rest is read once more right before.)

        Raises:
            LogTypeError: a value that no config or summary can hold; nothing was sent.
            CommError: the server refuses, or does not answer.
        """
        if not self._known:
            await self.load()
        now, summary = self._editable(), self._summary.written()
        fields, in_summary = frozenset(self._assigned), self._summary.assigned()
        config: AssignedDict = self._attrs["config"]
        in_config = config.assigned()
        edit = self._edit(now, fields, in_config, self._summary.changes(summary, in_summary))
        if edit:
            await wait_async(send(self._client, self._run_path, self.storage_id, edit))
        # What is assigned while it waits is for the next time.
        self._summary.settle(summary, in_summary)
        config.settled(in_config)
        self._assigned -= fields
        self._sent = now

    def _edit(
        self, now: JsonObject, assigned: Set[str], in_config: Set[str], summary: Changes
    ) -> RunEdit:
        """Return what the server is to be told of the fields; the names are of what was set."""
        sent = self._sent
        config = Changes({})
        if in_config or now["config"] != sent["config"]:
            before, after = unwrap(loads(sent["config"])), unwrap(loads(now["config"]))
            config = Changes.between(before, after, in_config)
        known = () if "tags" in assigned else sent["tags"]
        return RunEdit(
            # To the server null is "leave it alone".
            texts={
                key: now[key] or "" for key in TEXTS if key in assigned or now[key] != sent[key]
            },
            config=config,
            summary=summary,
            add_tags=[tag for tag in now["tags"] if tag not in known],
            remove_tags=[tag for tag in sent["tags"] if tag not in now["tags"]],
        )

    async def save(self) -> None:
        """Do what `update` does."""
        await self.update()

    async def delete(self, delete_artifacts: bool = False) -> None:
        """Delete the run on the server, with its history and its files.

        Args:
            delete_artifacts: whether the artifacts that it logged go, too.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        if not self._known:
            await self.load()
        # Servers that have no artifacts need not know the word.
        also: JsonObject = {"deleteArtifacts": True} if delete_artifacts else {}
        await wait_async(self._client.ask(query_documents.DELETE_RUN, id=self.storage_id, **also))

    async def stop(self) -> None:
        """Ask the run's program to end; it learns of it with its next sign of life.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        if not self._known:
            await self.load()
        data = await wait_async(self._client.ask(query_documents.STOP_RUN, id=self.storage_id))
        if not (data.get("stopRun") or {}).get("success"):
            raise CommError(f"the server did not take note that {self._run_path} is to stop", 200)

    async def update_state(self, state: str) -> bool:
        """Set the run's state: "pending" to have it resumed, or "failed"; True where it is set.

        Raises:
            CommError: a run in its state cannot get that one, or the server does not answer.
        """
        if not self._known:
            await self.load()
        change = {"id": self.storage_id, "state": state}
        data = await wait_async(self._client.ask(query_documents.UPDATE_RUN_STATE, input=change))
        done = bool((data.get("updateRunState") or {}).get("success"))
        if done:
            self._attrs["state"] = state
        return done

    async def wait_until_finished(self) -> None:
        """Wait until the run has finished, failed, crashed or was killed; then load it anew.

        Where the server sends live events it returns within a second of the end, else it asks
        every second.

        Raises:
            CommError: the server was away for longer than the Api's timeout.
        """
        while not await wait_async(self._client.settled(self._run_path)):
            pass
        await self.load(force=True)

    # What it logged.

    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = STEP,
        pandas: bool = True,
        stream: str = "default",
    ) -> Any:
        """Read a sample of the history; the same question has the same answer.

        Returns a DataFrame, or a list of dicts where `pandas` is False, or not installed, which a
        warning says. Rows ascend by step; NaN stays a float, an int an int. In a DataFrame a key
        that some rows lack has NaN there.

        Args:
            samples: how many rows at most, >= 1; spread over all of them, first and last included.
            keys: only these (nested ones with dots), and only rows that have all of them. Of a
                single key the smallest and the largest value are in every sample of two rows or
                more; in one of two or three rows they take the place of the first and the last.
            x_axis: with `keys`, one more key that a row must have; the first column.
            pandas: whether a DataFrame is wanted.
            stream: "default", the metrics that were logged; "system", the machine's.

        Raises:
            ValueError: an argument at fault.
            CommError: the server does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/run (`history`).
        """
        if stream not in ("default", "system"):
            raise ArgumentError(f'stream is "default" or "system", not {stream!r}')
        names, count = check_names(keys), _whole_number(samples, "samples", 1)
        if names is not None and stream == "system":
            raise ArgumentError('keys are of what was logged: leave them out with stream="system"')
        if names is not None:
            names = check_names([x_axis, *names])
        rows: Table | list[JsonObject]
        if stream == "system":
            rows = await self._plain(query_documents.EVENTS, samples=count)
        elif await wait_async(self._client.native()):
            rows = await self._sample(HistoryQuery(names, samples=count))
        elif names is None:
            rows = await self._plain(query_documents.HISTORY, samples=count)
        else:
            spec = dumps({"keys": names, "samples": count}).decode()
            (found,) = await self._plain(query_documents.SAMPLED_HISTORY, specs=[spec])
            rows = [row for row in map(read_row, found) if having(row, names)]
            rows = list(picked(rows, names))
        if pandas and has_pandas():
            return await in_thread(pandas_frame, rows, names)
        if pandas:
            caution("pandas is not installed: these are dicts, no DataFrame")
        return as_dicts(rows, names) if isinstance(rows, Table) else rows

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        nan_as_string: bool = False,
    ) -> AsyncHistoryScan:
        """Read every row, as a dict, ascending by step; streamed, in bounded memory.

        Nothing is read before the first row is asked for. Without `keys` a row has what was logged
        at its step, and `_step`, `_timestamp` and `_runtime`.

        Args:
            keys: only these (nested ones with dots), and only rows that have all of them.
            page_size: how many rows are made into dicts at a time, >= 1.
            min_step: the first step, included; >= 0.
            max_step: the last step, not included; >= 0.
            nan_as_string: give NaN and infinities as W&B's API spells them ("NaN", "Infinity",
                "-Infinity"), rather than as floats.

        Raises:
            ValueError: an argument at fault.
            CommError: while rows are read: the server does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/run (`scan_history`).
        """
        selection = HistoryQuery(
            check_names(keys),
            None if min_step is None else _whole_number(min_step, "min_step", 0),
            None if max_step is None else _whole_number(max_step, "max_step", 0),
        )
        size = _whole_number(page_size, "page_size", 1)
        return AsyncHistoryScan(
            self._client, self._run_path, selection, size, nan_as_string=nan_as_string
        )

    async def download_history_exports(
        self, download_dir: FilePath, require_complete_history: bool = True
    ) -> DownloadHistoryResult:
        """Download the whole history as Parquet files; streamed, in bounded memory.

            result = await run.download_history_exports("exports")
            frame = pandas.read_parquet(result.paths[0])

        Our own server writes one file, with every row by now: one a step, ascending, with
        `_step`, `_timestamp` and `_runtime` (seconds), and null where a row lacks a key. Floats are
        doubles (NaN is a value), ints are int64, bools are booleans; of a key with several kinds
        of numbers doubles are made, and all else is JSON text. A W&B server gives the files that
        it has exported.

        A file is at its place whole or not at all. One of an earlier download is replaced.

        Args:
            download_dir: the folder for them; made where there is none.
            require_complete_history: whether rows that are not in the files, and a run that may
                yet log some, are an error.

        Returns:
            The files, whether there are or may come more rows, and why files did not come; where
            none came, that is raised.

        Raises:
            IncompleteRunHistoryError: all is required, but the run goes on, or its server has not
                exported all of it; nothing was written.
            RunNotFoundError: the server does not have the run.
            CommError: it does not answer, or the connection was cut.
            Error: the folder cannot be made or written.

        Source: https://docs.wandb.ai/ref/python/public-api/run (`download_history_exports`).
        """
        complete = require_complete_history
        found = exports.download(self._client, self._run_path, download_dir, complete=complete)
        return await wait_async(found)

    def console_logs(
        self, *, per_page: int = 1000, last: int | None = None
    ) -> AsyncPages[ConsoleLogLine]:
        """List the lines that the run's program printed; asks nothing before it is used.

        Args:
            per_page: how many lines one question gives.
            last: only the last lines, this many at most; one question.

        Raises:
            ValueError: an argument at fault.
        """
        client, path, size = self._client, self._run_path, page_size(per_page)
        if last is None:
            fetch = pages(client, of_lines, path, size)
        else:
            fetch = pages(client, of_last_lines, path, _whole_number(last, "last", 1))
        return AsyncPages(fetch, ConsoleLogLine.from_entry, size)

    async def _plain(self, document: str, **variables: object) -> list[Any]:
        """Ask for rows as JSON, each read unless they are lists of rows."""
        run = await wait_async(self._client.ask_run(self._run_path, document, **variables))
        rows = run["rows"] or []
        return [row if isinstance(row, list) else read_row(row) for row in rows]

    async def _sample(self, selection: HistoryQuery) -> Table:
        assert selection.samples is not None
        reader = AsyncTables(self._client, self._run_path, selection)
        sampler = Sampler(selection.samples, selection.single)
        try:
            while (tables := await reader.next()) is not None:
                for table in tables:
                    sampler.add(table)
        finally:
            reader.close()
        return sampler.sample()

    # Its files.

    async def file(self, name: str) -> AsyncFile:
        """Return the run's file of that name.

        Raises:
            NotFoundError: the run has no such file.
            CommError: the server does not answer.
        """
        found = await self.files([name]).first()
        if found is None:
            raise NotFoundError(
                f"the run {self._run_path} has no file {name!r}", 404, "file_not_found"
            )
        return found

    def files(
        self, names: Sequence[str] | None = None, per_page: int = 50, pattern: str | None = None
    ) -> AsyncFiles:
        """List the run's files; asks nothing before it is used.

        Args:
            names: only these; none is all.
            per_page: how many files one question gives.
            pattern: only files whose name is LIKE this, as in SQL: "%.json".

        Raises:
            ValueError: an argument at fault, or both names and a pattern.
        """
        number = self._attrs.get("projectId")
        project_id = None if number is None else int(number)
        size = page_size(per_page)
        return AsyncFiles(self._client, self._run_path, names, size, pattern, project_id)

    async def upload_file(self, path: FilePath, root: FilePath = ".") -> AsyncFile:
        """Store a file with the run; streamed, in bounded memory.

        Args:
            path: the file.
            root: the folder that the file's name in the run is relative to: in "my_dir",
                `root=".."` makes "file.txt" be "my_dir/file.txt" in the run.

        Raises:
            ValueError: the file is not below `root`.
            OSError: it cannot be read.
            CommError: the server refuses, or does not answer.
        """
        source, name = named_below(path, root)
        names = {**self._names(), "files": [name]}
        data = await wait_async(self._client.ask(query_documents.CREATE_FILES, **names))
        made = data.get("createRunFiles") or {}
        (place,) = made.get("files") or [{}]
        if not place.get("uploadUrl"):
            raise CommError(f"the server has no place for {name!r}; it is not stored there", 200)
        headers = made.get("uploadHeaders") or []
        await wait_async(self._client.upload(place["uploadUrl"], source, headers))
        if await wait_async(self._client.has_feature("MARK_RUN_FILES_UPLOADED")):
            await wait_async(self._client.ask(query_documents.FILES_UPLOADED, **names))
        return await self.file(name)

    @property
    def metadata(self) -> Awaitable[JsonObject | None]:
        """Where the run ran and what it was started with: the file wandb-metadata.json.

        Without that file it is what the server knows: `host`, `program`, `python`, `startedAt`;
        None where it knows nothing.

        Raises:
            CommError: the server does not answer.
        """
        return self._metadata()

    async def _metadata(self) -> JsonObject | None:
        file = await self.files([METADATA_FILE]).first()
        if file is not None and file.size:
            content = await wait_async(self._client.read(file.url))
            found: JsonObject = loads(content)
            return found
        info = self._info or await wait_async(self._client.info(self._run_path))
        if not info:
            return None
        named = {key: info[key] for key in ("host", "program", "python") if info.get(key)}
        return {**named, "startedAt": _iso(info["started_at"])}


def _whole_number(value: int, name: str, least: int) -> int:
    """Check a whole number, numpy's included."""
    try:
        if not isinstance(value, bool) and least <= (number := value.__index__()) < 2**63:
            return number
    except AttributeError:
        pass
    raise ArgumentError(f"{name} is a whole number from {least} to 2**63 - 1, not {value!r}")


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
