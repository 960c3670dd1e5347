"""What `log()` and events refuse, and the words for it; and why a row was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asyncwb.descriptors import lacks_descriptors
from asyncwb.engine.journal.journal import is_disk_full
from asyncwb.engine.journal.records import HEAD_SIZE, MAX_RECORD
from asyncwb.errors import LogTypeError, UsageError
from asyncwb.wire.history import Assigned
from asyncwb.wire.rows.values import dumps

NEGATIVE: Final = "step_negative"
"""why a row is dropped that gives a step below 0"""


def check_event(event: Mapping[str, Any]) -> bytes:
    """Return an event as JSON; raises UsageError where no server takes one that is so large."""
    text = dumps(event)
    if len(text) > MAX_RECORD - HEAD_SIZE:
        what = {"start": "config", "config": "config", "summary": "summary"}.get(event["t"], "run")
        raise UsageError(f"this change of the {what} {_too_large(len(text))}")
    return text


def check_row(size: int) -> None:
    """Raise LogTypeError where no server takes a row of so many bytes."""
    if size > MAX_RECORD:
        raise LogTypeError(f"this row {_too_large(size)}")


def _too_large(size: int) -> str:
    return (
        f"takes {size:,} bytes, of which no server takes more than {MAX_RECORD:,} at once. It was "
        "not recorded; what was logged before is safe. Keep large data in a file, and store that "
        "with run.save()."
    )


def why_dropped(given: Assigned) -> str:
    """Return why a row is dropped for its step."""
    return NEGATIVE if given.step < 0 else "step_backwards"


def why_no_room(error: OSError | None) -> str:
    """Return why a row is dropped for which the journal could not grow."""
    if lacks_descriptors(error):
        return "no_descriptors"
    return "disk_full" if is_disk_full(error) else "disk_error"
