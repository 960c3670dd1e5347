"""What a W&B client says in one `file_stream` request, checked and taken apart.

    {"files": {name: {"offset": int, "content": [line, ...]}}, "complete": true, "exitcode": int,
     "preempting": true, "uploaded": [name, ...]}

Every key may be missing; `{}` says that the client lives. History and events are JSON objects a
line in which NaN and Infinity may stand bare; the last line of the summary is all of it. Whatever
is not of this shape is refused whole, before anything is written; files and keys of other names
are passed over, for newer clients.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from asyncwb.errors import LogTypeError
from asyncwb.server.http.errors import ApiError
from asyncwb.server.intake.lines import MAX_LINE, MAX_OFFSET
from asyncwb.server.intake.run_transitions import INT32
from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.tabular import Converted, check_depth, from_rows, lacks_steps
from asyncwb.wire.rows.value_count import MAX_VALUES, has_too_many
from asyncwb.wire.rows.values import loads, loads_each
from asyncwb.wire.wandb import EVENTS, HISTORY, OUTPUT, SUMMARY

MAX_LINES: Final = 500_000
"""lines of one file in one request"""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one file from number `offset` on."""

    offset: int
    content: list[str]

    @property
    def stop(self) -> int:
        """The number behind the last line."""
        return self.offset + len(self.content)


@dataclass(frozen=True, slots=True)
class FileStreamRequest:
    """One request. `rows` are history's lines as objects, `converted` as a table.

    `converted` is None where rows have no step of their own: the run's last one is needed first.
    """

    history: Block | None = None
    events: Block | None = None
    output: Block | None = None
    rows: list[JsonObject] = field(default_factory=list)
    converted: Converted | None = None
    system: JsonObject = field(default_factory=dict)
    summary: JsonObject | None = None
    complete: bool = False
    exit_code: int = 0
    preempting: bool = False

    @property
    def first_line(self) -> bytes | None:
        """What tells one client's history from another's: a digest of line 0 where it is here.

        The order of its keys says nothing: W&B's client, which always says the step, writes them
        in any.
        """
        if self.history is None or self.history.offset or not self.rows:
            return None
        checked = self.converted is not None  # it is not nested too deep
        line = json.dumps(self.rows[0], sort_keys=True) if checked else self.history.content[0]
        return hashlib.sha256(line.encode()).digest()[:16]


def parse(body: bytes, now: float) -> FileStreamRequest:
    """Read a request's body; blocks for some 25 ms with 10,000 rows of ten numbers.

    Args:
        body: JSON.
        now: unix seconds, for rows that do not say when they were logged.

    Raises:
        ApiError: 400: not of the shape; 413: a line is too large or has too many values, or there
            are too many lines.
    """
    if has_too_many(body, MAX_LINES + MAX_VALUES):
        raise _too_large(
            f"The body has more than {MAX_LINES + MAX_VALUES:,} lines, values and names."
        )
    said = _object(body, "The body")
    files = {} if said.get("files") is None else said["files"]
    if not isinstance(files, dict):
        raise _bad('"files" must be an object of file names.')
    history, events = _block(files, HISTORY), _block(files, EVENTS)
    rows = [] if history is None else _objects(history, HISTORY)
    summary = _block(files, SUMMARY)
    return FileStreamRequest(
        history=history,
        events=events,
        output=_block(files, OUTPUT),
        rows=rows,
        converted=None if lacks_steps(rows) else convert(rows, 0, now),
        system=_system([] if events is None else _objects(events, EVENTS)),
        summary=None if summary is None or not summary.content else _summary(summary.content[-1]),
        complete=said.get("complete") is True,
        exit_code=_exit_code(said.get("exitcode")),
        preempting=said.get("preempting") is True,
    )


def convert(rows: list[JsonObject], next_step: int, now: float) -> Converted:
    """Turn rows into a table; `next_step` is for the first that has no step.

    Raises:
        ApiError: 400: nested too deep, or too many keys.
    """
    try:
        return from_rows(rows, next_step=next_step, now=now)
    except LogTypeError as error:
        raise _bad(f"A row cannot be recorded: {error}.") from error


def _block(files: Mapping[str, object], name: str) -> Block | None:
    said = files.get(name)
    if said is None:
        return None
    if not isinstance(said, dict):
        raise _bad(f"{name} must be an object with offset and content.")
    offset, content = said.get("offset", 0), said.get("content")
    if type(offset) is not int or not 0 <= offset < MAX_OFFSET:
        raise _bad(f"{name}: the offset must be a whole number from 0.")
    if not isinstance(content, list) or not all(type(line) is str for line in content):
        raise _bad(f"{name}: the content must be a list of lines.")
    if len(content) > MAX_LINES:
        raise _too_large(f"{name} has {len(content)} lines; at most {MAX_LINES} fit one request.")
    longest = max(content, key=len, default="")
    if 4 * len(longest) > MAX_LINE and any(_size(line) > MAX_LINE for line in content):
        raise _too_large(f"A line of {name} has more than {MAX_LINE} bytes.")
    return Block(offset, content)


def _size(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode())


def _objects(block: Block, name: str) -> list[JsonObject]:
    if any(map(has_too_many, block.content)):
        raise _too_many(f"A line of {name}")
    try:
        found = loads_each(block.content)
    except ValueError as error:
        raise _bad(f"{name}: a line is not JSON.") from error
    rows = [row for row in found if isinstance(row, dict)]
    if len(rows) < len(found):
        raise _bad(f"{name}: a line is not a JSON object.")
    return rows


def _object(text: bytes | str, what: str) -> JsonObject:
    try:
        said = loads(text)
    except ValueError as error:
        raise _bad(f"{what} is not JSON.") from error
    if not isinstance(said, dict):
        raise _bad(f"{what} must be a JSON object.")
    return said


def _summary(line: str) -> JsonObject:
    if has_too_many(line):
        raise _too_many(f"The last line of {SUMMARY}")
    summary = _object(line, SUMMARY)
    try:
        for path, value in keys.flatten(summary).items():
            check_depth(value, path)
    except LogTypeError as error:
        raise _bad(f"The summary cannot be recorded: {error}.") from error
    return summary


def _system(rows: list[JsonObject]) -> JsonObject:
    """Return the last value of each system metric."""
    found: JsonObject = {}
    for row in rows:
        if keys.is_too_deep(row):
            raise _bad(f"A line of {EVENTS} is nested deeper than {keys.MAX_DEPTH} levels.")
        found.update(row)
    found.pop(keys.INTERNAL, None)
    return found


def _exit_code(said: object) -> int:
    """Return a process's exit code as a signed 32-bit number; Windows' are unsigned."""
    if type(said) is not int:
        return 0
    if -INT32 <= said < INT32:
        return said
    return said - 2 * INT32 if INT32 <= said < 2 * INT32 else 1


def _bad(message: str) -> ApiError:
    return ApiError(400, "bad_file_stream", f"{message} Nothing was written.")


def _too_many(what: str) -> ApiError:
    return _too_large(f"{what} has more than {MAX_VALUES:,} values and names.")


def _too_large(message: str) -> ApiError:
    return ApiError(413, "body_too_large", f"{message} Nothing was written; send less.")
