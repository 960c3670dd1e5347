"""A run as the server knows it, async: what `api.run()` gives, to read and not to log to.

Its attributes are those of the moment it was loaded; `load(force=True)` looks again. The history
is read from the server each time. The sync face is generated from this file.

Source: https://docs.wandb.ai/ref/python/public-api/run.
"""

from __future__ import annotations

import asyncio  # sync: drop
import importlib
import importlib.util
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncwb.client.history_async import AsyncHistoryScan, AsyncTables
from asyncwb.client.paths import RunPath
from asyncwb.client.query import Connection
from asyncwb.client.rows import Names, Sampler, Selection, as_columns, as_dicts, check_names
from asyncwb.client.waiting import wait_async
from asyncwb.errors import UnsupportedError, UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire.columns import STEP, Table
from asyncwb.wire.keys import display

_TYPES: Final = {"f": "number", "i": "number", "b": "boolean", "j": "mixed"}


class AsyncPublicRun:
    """Read a run: its attributes, its history. Made by `AsyncApi.run()` and `AsyncApi.runs()`.

        run = await asyncwb.AsyncApi().run("me/mnist/abc123")
        print(run.state, run.summary["loss"])
        frame = await run.history(keys=["loss"])

    Mutable state: `_info`, the server's account as it was loaded last; `_full`, whether it is all
    of it (lists leave `config` and the metrics out).
    """

    def __init__(self, connection: Connection, info: JsonObject, *, full: bool) -> None:
        self._connection = connection
        self._info = info
        self._full = full

    async def load(self, force: bool = False) -> JsonObject:
        """Load what is missing, with `force` all of it anew; returns the server's account.

        Raises:
            RunNotFoundError: the server does not have the run any more.
            CommError: it does not answer.
        """
        if force or not self._full:
            self._info = await wait_async(self._connection.run(self._run_path))
            self._full = True
        return self._info

    async def wait_until_finished(self) -> None:
        """Wait until the run has finished, failed, crashed or was killed; then load it anew.

        Follows the run's live events, so it returns within a second of the end.

        Raises:
            CommError: the server was away for longer than the Api's timeout.
        """
        while not await wait_async(self._connection.settled(self._run_path)):
            pass
        await self.load(force=True)

    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = STEP,
        pandas: bool = True,
        stream: str = "default",
    ) -> Any:
        """Read a sample of the history; the same question has the same answer.

        Returns a DataFrame, or a list of dicts where `pandas` is False or not installed. Rows
        ascend by step; NaN stays a float, an int an int. In a DataFrame a key that some rows lack
        has NaN there.

        Args:
            samples: how many rows at most, >= 1; spread over all of them, first and last included.
            keys: only these (nested ones with dots), and only rows that have all of them.
            x_axis: with `keys`, one more key that a row must have; the first column.
            pandas: whether a DataFrame is wanted.
            stream: "default", the metrics that were logged.

        Raises:
            ValueError: an argument at fault.
            UnsupportedError: another stream; no system metrics are recorded.
            CommError: the server does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/run (`history`).
        """
        if stream != "default":
            raise UnsupportedError(
                f"there is no stream {stream!r}: runs hold the metrics that were logged, which is "
                'stream="default"'
            )
        names = check_names(keys)
        if names is not None:
            names = check_names([x_axis, *names])
        selection = Selection(names, samples=_whole(samples, "samples", 1))
        sample = await self._sample(selection)
        make = _frame if pandas and importlib.util.find_spec("pandas") else as_dicts
        return await asyncio.to_thread(make, sample, names)  # sync: return make(sample, names)

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> AsyncHistoryScan:
        """Read every row, as a dict, ascending by step; streamed, in bounded memory.

        Nothing is read before the first row is asked for. Without `keys` a row has what was logged
        at its step, and `_step`, `_timestamp` and `_runtime`.

        Args:
            keys: only these (nested ones with dots), and only rows that have all of them.
            page_size: how many rows are made into dicts at a time, >= 1.
            min_step: the first step, included; >= 0.
            max_step: the last step, not included; >= 0.

        Raises:
            ValueError: an argument at fault.
            CommError: while rows are read: the server does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/run (`scan_history`).
        """
        selection = Selection(
            check_names(keys),
            None if min_step is None else _whole(min_step, "min_step", 0),
            None if max_step is None else _whole(max_step, "max_step", 0),
        )
        size = _whole(page_size, "page_size", 1)
        return AsyncHistoryScan(self._connection, self._run_path, selection, size)

    async def _sample(self, selection: Selection) -> Table:
        assert selection.samples is not None
        reader = AsyncTables(self._connection, self._run_path, selection)
        sampler = Sampler(selection.samples)
        try:
            while (tables := await reader.next()) is not None:
                for table in tables:
                    sampler.add(table)
        finally:
            reader.close()
        return sampler.sample()

    def _loaded(self) -> JsonObject:
        """Return the whole account of the run."""
        # sync: self.load()
        # sync: drop
        if not self._full:
            raise UsageError(
                f"the run {self._run_path} comes from a list, which leaves this out: "
                "`await run.load()` first"
            )
        return self._info

    @property
    def config(self) -> JsonObject:
        """The configuration that the run was given; loads it where the run comes from a list."""
        config = self._loaded()["config"]
        return {key: value for key, value in config.items() if key != "_wandb"}

    @property
    def summary(self) -> JsonObject:
        """The last value of each metric, or what its definition asks for; nested like the keys."""
        summary: JsonObject = self._info["summary"]
        return summary

    @property
    def history_keys(self) -> JsonObject:
        """`{"keys": {name: {"typeCounts": [{"type", "count"}]}}, "lastStep"}`, as W&B has it."""
        keys = {
            display(metric["key"]): {
                "typeCounts": [{"type": _TYPES[metric["kind"]], "count": metric["count"]}]
            }
            for metric in self._loaded()["metrics"]
        }
        return {"keys": keys, "lastStep": self.lastHistoryStep}

    @property
    def metadata(self) -> JsonObject:
        """Where the run ran: `host`, `program`, `startedAt`."""
        started = _iso(self._info["started_at"])
        named = {"host": self._info["host"], "program": self._info["program"]}
        return {**named, "startedAt": started}

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802 - W&B's name
        """The highest step that was logged, -1 before there is one."""
        last = self._info["last_step"]
        return -1 if last is None else int(last)

    @property
    def entity(self) -> str:
        """Who owns the run."""
        return str(self._info["entity"])

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return str(self._info["project"])

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return str(self._info["id"])

    @property
    def name(self) -> str:
        """The name shown for the run."""
        return self._info["name"] or self.id

    @property
    def state(self) -> str:
        """What became of it: "running", "finished", "failed", "crashed" or "killed"."""
        return str(self._info["state"])

    @property
    def exit_code(self) -> int | None:
        """What the run ended with; None while it runs, and where it did not say."""
        code: int | None = self._info["exit_code"]
        return code

    @property
    def lost(self) -> int:
        """How many logged rows never reached the server, and are known to be gone."""
        return int(self._info["lost"])

    @property
    def tags(self) -> list[str]:
        """The run's labels."""
        return list(self._info["tags"])

    @property
    def notes(self) -> str | None:
        """Free text about the run."""
        notes: str | None = self._info["notes"]
        return notes

    @property
    def group(self) -> str | None:
        """The group that the run belongs to."""
        group: str | None = self._info["group"]
        return group

    @property
    def job_type(self) -> str | None:
        """What the run does in its group."""
        job_type: str | None = self._info["job_type"]
        return job_type

    @property
    def created_at(self) -> str | None:
        """When the server first heard of the run, as `2026-01-31T23:59:59Z`."""
        return _iso(self._info["created_at"])

    @property
    def heartbeat_at(self) -> str | None:
        """When the run gave its last sign of life, as `created_at`."""
        return _iso(self._info["heartbeat_at"])

    @property
    def url(self) -> str:
        """The run's page."""
        return str(self._info["url"])

    @property
    def path(self) -> list[str]:
        """`[entity, project, id]`."""
        return [self.entity, self.project, self.id]

    @property
    def _run_path(self) -> RunPath:
        return RunPath(self.entity, self.project, self.id)

    def __repr__(self) -> str:
        return f"<Run {self._run_path} ({self.state})>"


def _frame(table: Table, names: Names) -> Any:
    return importlib.import_module("pandas").DataFrame(as_columns(table, names))


def _whole(value: int, name: str, least: int) -> int:
    """Check a whole number, numpy's included."""
    try:
        if not isinstance(value, bool) and (number := value.__index__()) >= least:
            return number
    except AttributeError:
        pass
    raise ValueError(f"{name} is a whole number >= {least}, not {value!r}")


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
