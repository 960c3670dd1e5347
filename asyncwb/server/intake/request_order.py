"""Requests of one sender, taken in the order in which it sent them.

An uplink has two requests on their way, so that this server decodes the second while it commits
the first. They come over two connections, and either may be read first: so each says its sender,
its number there, and the number that it follows, 0 for none (`TURN_HEADER`). A request whose
predecessor has not been answered waits for it.

    "9f86d081884c7d65 7 6"    the seventh; the sixth was on its way when this was sent

It is a help, not a promise: where two processes serve one sender the predecessor never shows up
here. After a second the request goes on, meets a hole in the sequence, and is sent again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import anyio

_PATIENCE: Final = 1.0
"""seconds to wait for a predecessor of which nothing is known"""
_MOST_SENDERS: Final = 4096
"""senders that are remembered; each takes some 500 bytes"""

_Key: TypeAlias = tuple[int, str]


class Place:
    """One request's place among those of its sender."""

    def __init__(self) -> None:
        self.before: Place | None = None
        self._here = anyio.Event()
        self._begun = anyio.Event()
        self._done = anyio.Event()

    def arrive(self) -> None:
        """Say that the request is here: whoever follows may wait for it without a limit."""
        self._here.set()

    def begin(self) -> None:
        """Let the next request begin, too: this one has all that it needs to end."""
        self._begun.set()

    def end(self) -> None:
        """Let the next request go on, whatever became of this one."""
        self.begin()
        self._done.set()

    async def until_begun(self) -> None:
        """Wait until the request before has begun.

        Who takes one of few slots waits for this first: else those who wait could have them all.
        """
        if self.before is None:
            return
        if not self.before._here.is_set():
            with anyio.move_on_after(_PATIENCE):
                await self.before._here.wait()
        if not self.before._here.is_set():
            self.before = None
        elif not self.before._begun.is_set():
            await self.before._begun.wait()

    async def until_done(self) -> None:
        """Wait until the request before has ended; after `until_begun`."""
        if self.before is not None and not self.before._done.is_set():
            await self.before._done.wait()


class _Sender:
    """The requests of one sender; `ended` is the greatest number that has ended."""

    def __init__(self) -> None:
        self.ended = 0
        self.places: dict[int, Place] = {}


class RequestOrder:
    """The requests of all senders; belongs to one event loop. Mutable state: `_senders`."""

    def __init__(self) -> None:
        self._senders: OrderedDict[_Key, _Sender] = OrderedDict()

    @contextmanager
    def place(self, user_id: int, turn: str | None) -> Iterator[Place]:
        """Have a place for the length of the block.

        Args:
            user_id: senders of two users have nothing to do with each other.
            turn: "<sender> <number> <number before, or 0>"; whoever says anything else waits for
                nobody.
        """
        said = _read(turn)
        if said is None:
            yield Place()
            return
        name, number, before = said
        sender = self._sender((user_id, name))
        place = sender.places.setdefault(number, Place())
        if sender.ended < before < number:
            place.before = sender.places.setdefault(before, Place())
        place.arrive()
        try:
            yield place
        finally:
            place.end()
            place.before = None
            sender.ended = max(sender.ended, number)
            for old in [n for n in sender.places if n <= sender.ended]:
                del sender.places[old]

    def _sender(self, key: _Key) -> _Sender:
        sender = self._senders.setdefault(key, _Sender())
        self._senders.move_to_end(key)
        while len(self._senders) > _MOST_SENDERS:
            self._senders.popitem(last=False)
        return sender


def _read(turn: str | None) -> tuple[str, int, int] | None:
    parts = (turn or "").split(" ")
    if len(parts) != 3 or not all(p.isascii() and p.isdecimal() and len(p) < 16 for p in parts[1:]):
        return None
    return parts[0], int(parts[1]), int(parts[2])
