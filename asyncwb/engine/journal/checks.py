"""What `log()` and events refuse, and the words for it; and why a row was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asyncwb.descriptors import lacks_descriptors
from asyncwb.engine.journal.journal import is_disk_full
from asyncwb.engine.journal.records import HEAD_SIZE, MAX_RECORD
from asyncwb.errors import LogTypeError, UsageError
from asyncwb.wire.history import Assigned
from asyncwb.wire.rows.value_count import MAX_VALUES, has_too_many
from asyncwb.wire.rows.values import dumps

NEGATIVE: Final = "step_negative"
"""why a row is dropped that gives a step below 0"""
_KEEP: Final = (
    ". It was not recorded; what was logged before is safe. Keep large data in a file, and store "
    "that with run.save()."
)


def check_event(event: Mapping[str, Any]) -> bytes:
    """Return an event as JSON.

    Raises UsageError where no server takes one that is so large, or has so many values.
    """
    text = dumps(event)
    problem = _too_large(len(text) + HEAD_SIZE) or _too_many(text)
    if problem:
        what = {"start": "config", "config": "config", "summary": "summary"}.get(event["t"], "run")
        raise UsageError(f"this change of the {what} {problem}")
    return text


def check_row(size: int, text: bytes = b"") -> None:
    """Raise LogTypeError where no server takes a row of so many bytes, or with the values that its
    `text` has: its JSON, where it is written in that."""
    problem = _too_large(size) or _too_many(text)
    if problem:
        raise LogTypeError(f"this row {problem}")


def _too_large(size: int) -> str:
    if size <= MAX_RECORD:
        return ""
    return f"takes {size:,} bytes, of which no server takes more than {MAX_RECORD:,} at once{_KEEP}"


def _too_many(text: bytes) -> str:
    """Tell what is wrong with a row or event that has more values than a server reads."""
    if not has_too_many(text):
        return ""
    return f"has more than {MAX_VALUES:,} values and names, which no server takes at once{_KEEP}"


def why_dropped(given: Assigned) -> str:
    """Return why a row is dropped for its step."""
    return NEGATIVE if given.step < 0 else "step_backwards"


def why_no_room(error: OSError | None) -> str:
    """Return why a row is dropped for which the journal could not grow."""
    if lacks_descriptors(error):
        return "no_descriptors"
    return "disk_full" if is_disk_full(error) else "disk_error"
