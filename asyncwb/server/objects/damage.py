"""Damage: stored bytes that are not those that were written, and how readers are told of it.

What reads the store checks what it reads and raises `DamagedError`. Who answers a reader leaves
the damaged part out and says so, in `Missing`; where an answer has no place for that, it is
refused (`refusal`), with the steps that can be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from asyncwb.printable import counted
from asyncwb.server.http.errors import ApiError
from asyncwb.server.store.documents import DamagedText

MISMATCH: Final = "its checksum does not match"
_GONE: Final = "the object is not there"
_NAMED: Final = 5
"""parts that a message lists; the rest is counted"""


class DamagedError(Exception):
    """Stored bytes are not those that were written.

    Args:
        place: which object or row of the database.
        why: what does not fit.
        keys: the keys whose values cannot be read; None is all of it.
    """

    def __init__(self, place: str, why: str, keys: frozenset[str] | None = None) -> None:
        super().__init__(f"{place} is damaged: {why}")
        self.place = place
        self.why = why
        self.keys = keys


def sound(text: str, place: str) -> str:
    """Return a document that was read.

    Raises:
        DamagedError: it is not the one that was written.
    """
    if isinstance(text, DamagedText):
        raise DamagedError(place, MISMATCH)
    return text


def require_sound(text: str, place: str) -> str:
    """Return a document that is to be shown.

    Raises:
        ApiError: 410: it is not the one that was written.
    """
    try:
        return sound(text, place)
    except DamagedError as error:
        raise document_refusal(error, 410, "It is not shown") from error


def document_refusal(error: DamagedError, status: int, what: str) -> ApiError:
    """Return what somebody gets who needs a document that is damaged."""
    message = (
        f"In the server's store, {error}. {what}, and all else is whole; `asyncwb verify` on the "
        "server names what is damaged, and a backup may still have it."
    )
    return ApiError(status, "document_damaged", message)


@contextmanager
def found(place: str, *, gone_is_lost: bool) -> Iterator[None]:
    """Make damage of an object that is not there, where it cannot have been merged away."""
    try:
        yield
    except FileNotFoundError as error:
        if not gone_is_lost:
            raise
        raise DamagedError(place, _GONE) from error


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows that a reader is not given, because they are damaged in the store.

    `rows` of the steps `first_step` to `last_step`; where `keys` is not None, these rows are given
    without the values of these keys. `place` says what is damaged, `why` how that shows.
    """

    place: str
    first_step: int
    last_step: int
    rows: int
    keys: tuple[str, ...] | None
    why: str

    def __str__(self) -> str:
        rows = counted(self.rows, "row")
        what = rows if self.keys is None else f"{_listed(self.keys)} of {self.rows}"
        return f"{what} in steps {self.first_step} to {self.last_step} ({self.place}: {self.why})"

    def as_dict(self) -> dict[str, object]:
        """Return it in the shape of the HTTP API."""
        return {name: getattr(self, name) for name in Missing.__slots__}


def lost(error: DamagedError, first_step: int, last_step: int, rows: int) -> Missing:
    """Say which rows an error costs."""
    keys = None if error.keys is None else tuple(sorted(error.keys))
    return Missing(error.place, first_step, last_step, rows, keys, error.why)


def described(missing: Sequence[Missing]) -> str:
    """Say to a human what is not in an answer, and where it might be had."""
    parts = [str(one) for one in missing[:_NAMED]]
    if len(missing) > _NAMED:
        parts.append(f"{len(missing) - _NAMED} more")
    return (
        f"A part of the run's history is damaged in the server's store: {'; '.join(parts)}. "
        "All else is whole; `asyncwb verify` on the server names what is damaged, and a backup "
        "may still have it."
    )


def refusal(missing: Sequence[Missing]) -> ApiError:
    """Return what a reader gets whose answer has no place for what is missing."""
    message = f"{described(missing)} Ask for the other steps, by their numbers."
    return ApiError(410, "history_damaged", message)


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(repr(key) for key in keys[:_NAMED])
    return shown if len(keys) <= _NAMED else f"{shown} and {len(keys) - _NAMED} more keys"
