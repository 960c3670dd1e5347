"""Raw W&B run folders: what the records of their `.wandb` logs mean, as rows and events.

A record is a protobuf message, one of some twenty kinds; the numbers of fields are those that the
client's releases 0.28 and 0.31 write. Whatever stands before the first damage of a log comes over;
what follows it is reported, not guessed at.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from asyncwb.errors import Error
from asyncwb.importers.items import Event, FileEntry, Found, Item, Line, Row, flat
from asyncwb.importers.protobuf import Message
from asyncwb.importers.wandb_log_file import LogReader
from asyncwb.wire.history import STEP_MAX
from asyncwb.wire.rows.keys import INTERNAL, RUNTIME, STEP, TIME
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.summary.metrics import OPS
from asyncwb.wire.wandb import EVENTS, OUTPUT


class _Record(IntEnum):
    """Which field of a record is set says what it is."""

    HISTORY = 2
    SUMMARY = 3
    OUTPUT = 4
    CONFIG = 5
    STATS = 7
    ALERT = 10
    TELEMETRY = 11
    METRIC = 12
    OUTPUT_RAW = 13
    RUN = 17
    EXIT = 18
    ENVIRONMENT = 26


_LEFT: Final = {8: "artifact", 9: "tensorboard folder", 23: "preemption", 25: "used artifact"}
_ENVIRONMENT_NAMES: Final = {1: "os", 2: "python", 6: "program", 12: "host", 14: "executable"}
_SUMMARY_OPS: Final = ("min", "max", "mean", "best", "last", "none", "copy", "first")


class LoggedRun:
    """One `.wandb` log as an import sees it.

    `found` and `ending` are complete once `items()` came to its end: what else is in the log, and
    how the run ended. Its name as a writer comes from the first record about the run, so that a
    folder that was moved or copied is the same run. `entity`, `project` and `run` are what the
    log says.

    Raises:
        Error: it is no such log, or says nothing of a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = Found()
        head = next(
            (m.raw(_Record.RUN) for m in map(Message, LogReader(path)) if _Record.RUN in m), None
        )
        if head is None:
            raise Error(f"{path} does not say which run it is of, so nothing was imported.")
        run = Message(head)
        self.run, self.entity, self.project = run.text(1), run.text(2), run.text(3)
        self.started_at = _seconds(run.message(17))
        self.ending = Found()
        self.writer = "log-" + hashlib.sha256(head).hexdigest()[:12]

    @property
    def files(self) -> Path:
        """The folder of the run's own files."""
        return self.path.parent / "files"

    def items(self) -> Iterator[Item]:
        """Read the log into rows, events and lines."""
        self.found = Found()
        reader = LogReader(self.path)
        translation = _Translation(self.found)
        for number, data in enumerate(reader):
            try:
                yield from translation.items(Message(data))
            except ValueError as error:
                self.found.notes.append(f"record {number} cannot be read: {error}")
        if reader.damage is not None:
            self.found.notes.append(reader.damage)
        self.ending = translation.ending()


class _Translation:
    """Turns records into items.

    Mutable state: what of the run is known so far, config and summary among it.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self._config: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        self._internal: dict[str, Any] = {}
        self._environment: dict[str, str] = {}
        self._machine = "import"
        self._output = {0: _Terminal("ERROR "), 1: _Terminal("")}
        self._started = False
        self._started_at = self._last_at = 0.0
        self._step = 0
        self._exit: Message | None = None

    def items(self, record: Message) -> Iterator[Item]:
        for number in record.numbers:
            match number:
                case _Record.RUN:
                    yield from self._run(record.message(_Record.RUN))
                case _Record.HISTORY:
                    yield self._row(record.message(_Record.HISTORY))
                case _Record.SUMMARY:
                    self._apply(self._summary, record.message(_Record.SUMMARY))
                case _Record.CONFIG:
                    yield self._configure(record.message(_Record.CONFIG))
                case _Record.METRIC:
                    yield from self._metric(record.message(_Record.METRIC))
                case _Record.OUTPUT | _Record.OUTPUT_RAW:
                    yield from self._print(record.message(number))
                case _Record.STATS:
                    yield self._stats(record.message(_Record.STATS))
                case _Record.EXIT:
                    self._exit = record.message(_Record.EXIT)
                case _:
                    self._note(number, record)

    def _note(self, number: int, record: Message) -> None:
        if number == _Record.ENVIRONMENT:
            environment = record.message(_Record.ENVIRONMENT)
            known = ((environment.text(n), name) for n, name in _ENVIRONMENT_NAMES.items())
            self._environment |= {name: value for value, name in known if value}
        elif number == _Record.TELEMETRY:
            telemetry = record.message(_Record.TELEMETRY)
            versions = {"python_version": telemetry.text(4), "cli_version": telemetry.text(5)}
            self._internal |= {name: text for name, text in versions.items() if text}
        elif number == _Record.ALERT:
            alert = record.message(_Record.ALERT)
            self._found.left[f"alert {alert.text(1)!r}"] += 1
        elif number in _LEFT:
            self._found.left[_LEFT[number]] += 1

    def _run(self, run: Message) -> Iterator[Event]:
        self._apply(self._config, run.message(4))
        self._apply(self._summary, run.message(5))
        said = {
            "name": run.text(8) or None,
            "tags": run.texts(10),
            "notes": run.text(9) or None,
            "group": run.text(6) or None,
            "job_type": run.text(7) or None,
        }
        if self._started:
            yield {"t": "attrs", **{key: value for key, value in said.items() if value}}
            yield {"t": "config", "set": self._user_config(), "delete": []}
            return
        self._started = True
        self._started_at = self._last_at = _seconds(run.message(17))
        self._step = run.integer(14)
        yield {
            "t": "start",
            "at": self._started_at,
            **said,
            "config": self._user_config(),
            "host": run.text(13),
            "resume": None,
        }
        # The end of the run is another writer's to say: this one is at work no longer.
        yield {"t": "leave", "at": self._started_at}

    def _user_config(self) -> dict[str, Any]:
        return {key: value for key, value in self._config.items() if key != INTERNAL}

    def _configure(self, changes: Message) -> Event:
        touched = self._apply(self._config, changes) - {INTERNAL}
        return {
            "t": "config",
            "set": {key: self._config[key] for key in touched if key in self._config},
            "delete": sorted(touched - self._config.keys()),
        }

    @staticmethod
    def _apply(target: dict[str, Any], changes: Message) -> set[str]:
        """Apply updates and removals to nested values; returns the top keys they touched."""
        touched = set()
        for item in changes.messages(1):
            names = _names(item)
            touched.add(names[0])
            _put(target, names, loads(item.raw(16)))
        for item in changes.messages(2):
            names = _names(item)
            touched.add(names[0])
            _remove(target, names)
        return touched

    def _row(self, history: Message) -> Row:
        values: dict[str, Any] = {}
        for item in history.messages(1):
            _put(values, _names(item), loads(item.raw(16)))
        step = values.get(STEP, history.message(2).integer(1) if 2 in history else self._step)
        step = min(max(int(step), 0), STEP_MAX)
        self._step = step + 1
        at = values.get(TIME, self._last_at)
        self._last_at = max(self._last_at, float(at))
        return Row(step, float(at), flat(values))

    def _metric(self, metric: Message) -> Iterator[Event]:
        if metric.flag(10):
            return  # made of a glob, which the server resolves itself
        options, wanted = metric.message(6), metric.message(7)
        ops = {op for number, op in enumerate(_SUMMARY_OPS, 1) if wanted.flag(number)}
        name = metric.text(1) or metric.text(2)
        if not name:
            return
        yield {
            "t": "metric",
            "name": name,
            "step_metric": metric.text(4) or None,
            "step_sync": options.flag(1) if 1 in options else None,
            "hidden": options.flag(2) if 2 in options else None,
            "summary": [op for op in OPS if op in ops] or None,
            "goal": (None, "minimize", "maximize")[metric.integer(8) % 3],
            "overwrite": metric.message(9).flag(1),
        }

    def _print(self, output: Message) -> Iterator[Line]:
        at = _seconds(output.message(2))
        terminal = self._output[1 if output.integer(1) else 0]
        yield from (Line(OUTPUT, line) for line in terminal.take(output.text(3), at))

    def _stats(self, stats: Message) -> Line:
        at = _seconds(stats.message(2))
        self._last_at = max(self._last_at, at)
        row: dict[str, Any] = {
            INTERNAL: True,
            TIME: at,
            RUNTIME: max(0.0, at - self._started_at),
        }
        for item in stats.messages(3):
            row[f"system.{item.text(1)}"] = loads(item.raw(16))
        return Line(EVENTS, dumps(row).decode())

    def ending(self) -> Found:
        """Say how the run ended, once every record is read."""
        found = Found(summary=self._summary)
        about = {name: self._environment[name] for name in self._environment.keys() & _ORIGIN}
        client = self._internal.get("cli_version")
        if client:
            about["client"] = f"wandb {client}"
        found.closing.append({"t": "start", "at": self._started_at, **about, "resume": "must"})
        internal = self._internal | {"e": {self._machine: self._environment}}
        found.closing.append({"t": "config", "set": {INTERNAL: internal}, "delete": []})
        if self._exit is None:
            self._found.notes.append("the log has no end: the run will be shown as crashed")
            found.closing.append({"t": "leave", "at": self._last_at})
            return found
        ended = max(self._last_at, self._started_at + self._exit.integer(2))
        code = self._exit.integer(1)
        found.closing.append({"t": "finish", "exit_code": code, "at": ended})
        return found


_ORIGIN: Final = frozenset(("host", "program", "python"))


class _Terminal:
    """Cuts what a process printed into lines; of a line that is written over, the last text."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._open = ""

    def take(self, text: str, at: float) -> Iterator[str]:
        *lines, self._open = (self._open + text).split("\n")
        when = datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        for line in lines:
            yield f"{self._prefix}{when} {line.rstrip(chr(13)).rpartition(chr(13))[2]}"


def _seconds(timestamp: Message) -> float:
    return timestamp.integer(1) + timestamp.integer(2) / 1e9


def _names(item: Message) -> list[str]:
    return item.texts(2) or [item.text(1)]


def _put(target: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = target[name] = {}
        target = inner
    target[names[-1]] = value


def _remove(target: dict[str, Any], names: list[str]) -> None:
    for name in names[:-1]:
        inner = target.get(name)
        if not isinstance(inner, dict):
            return
        target = inner
    target.pop(names[-1], None)


class LogSource:
    """A run out of its logs: one, or several where it was resumed.

    Args:
        logs: the run's logs, in the order in which they were begun.
        entity: whose run it shall be; None: the key's own user's.
        project: its project; None: the one that the logs name.
    """

    def __init__(
        self, logs: Sequence[LoggedRun], *, entity: str | None, project: str | None
    ) -> None:
        first = logs[0]
        self._logs = logs
        self.entity = entity
        self.project = project or first.project or "uncategorized"
        self.run = first.run
        self.label = first.path.parent.name if len(logs) == 1 else first.run
        self.grows = False

    async def parts(self, *, media: bool) -> Sequence[LoggedRun]:
        """Return the logs; their media are files beside them."""
        del media
        return self._logs

    async def settled(self) -> bool:
        """Say that a log is read once."""
        return True

    async def closing(self) -> Found:
        """Say how the last log ended, with the summary that all of them made."""
        last = self._logs[-1].ending
        summary: dict[str, Any] = {}
        for log in self._logs:
            summary |= log.ending.summary or {}
        return Found(summary=summary, closing=last.closing)

    async def files(self) -> AsyncIterator[FileEntry]:
        """Give what lies in the run's folders; of a name that comes again, the last."""
        found: dict[str, Path] = {}
        for log in self._logs:
            for path in await asyncio.to_thread(_files_in, log.files):
                found[path.relative_to(log.files).as_posix()] = path
        for name, path in found.items():
            yield await asyncio.to_thread(FileEntry.local, name, path)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def find_runs(
    paths: Sequence[Path], *, entity: str | None, project: str | None
) -> tuple[list[LogSource], list[tuple[Path, str]]]:
    """Find the runs whose logs lie in folders; also the logs that cannot be read, and why.

    Args:
        paths: run folders, folders that hold them, or logs.
        entity: whose runs they shall be; None: the key's own user's.
        project: their project; None: the one that each log names.
    """
    runs: dict[tuple[str, str, str], list[LoggedRun]] = {}
    bad: list[tuple[Path, str]] = []
    for path in find_logs(paths):
        try:
            log = LoggedRun(path)
        except (Error, OSError, ValueError) as error:
            bad.append((path, str(error)))
        else:
            runs.setdefault((log.entity, log.project, log.run), []).append(log)
    ordered = (sorted(logs, key=lambda log: log.started_at) for logs in runs.values())
    return [LogSource(logs, entity=entity, project=project) for logs in ordered], bad


def find_logs(paths: Sequence[Path]) -> list[Path]:
    """Return the `.wandb` logs in folders, at whatever depth; a log may be named itself."""
    found: dict[Path, None] = {}
    for path in paths:
        logs = [path] if path.is_file() else sorted(path.rglob("*.wandb"))
        # W&B links its latest run; what is read once is enough.
        found |= dict.fromkeys(log.resolve() for log in logs if log.is_file())
    return [*found]
