"""What a run has said of itself and not replaced since: events whose journal may be gone.

A server that loses its data, or goes back to a backup, asks again for numbers that it had
acknowledged, and the journal has let go of them. Their rows are lost; of the events the last word
on each thing is kept here: each key of the config and of the summary, each attribute, each
definition of a metric. Each is given again under the number that it had, so that what the journal
still has follows it as it did the first time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from asyncwb.typing import JsonObject
from asyncwb.wire.rows.values import dumps, loads

_ENDS: Final = ("finish", "leave")
_ATTRIBUTES: Final = ("name", "notes", "group", "job_type")

_Place = tuple[str, ...]


class KeptEvents:
    """The events of one writer that still hold, each less what later ones replaced.

    Costs as much memory as the config and the hand-set summary of a run take as JSON.

    Args:
        known: what a run that is resumed had before: `config`, `name`, and so on; empty where it is
            new.

    Mutable state, guarded by `_lock`: for each thing that was said, the number of the last event
    that says it, and that part of the event as JSON.
    """

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known
        self._lock = threading.Lock()
        self._parts: dict[_Place, tuple[int, bytes]] = {}

    def note(self, seq: int, event: Mapping[str, object]) -> None:
        """Keep an event that was journaled under this number."""
        encoded = [(place, dumps(part)) for place, part in _parts(seq, event)]
        with self._lock:
            for place, text in encoded:
                self._parts[place] = (seq, text)

    def between(self, first: int, end: int) -> list[tuple[int, JsonObject]]:
        """Return (number, event) of what was said from number `first` on, below `end`, in order."""
        with self._lock:
            parts = [part for part in self._parts.values() if first <= part[0] < end]
        events: dict[int, JsonObject] = {}
        for seq, text in sorted(parts):
            events[seq] = _joined(events.get(seq), loads(text))
        return [(seq, self.anew(event)) for seq, event in events.items()]

    def joining(self) -> JsonObject | None:
        """Return the start of another writer of the run: what the run is by now, which gives way
        where the server has been told of it. None where nothing was said yet.

        For a forked child, in which no other thread changes anything: the lock is not taken.
        """
        start: JsonObject | None = None
        for _, text in sorted(self._parts.values()):
            event = loads(text)
            if event["t"] == "start":
                start = event
            elif start is not None and event["t"] == "attrs":
                start |= {k: v for k, v in event.items() if k != "t"}
            elif start is not None and event["t"] == "config":
                start["config"] |= event["set"]
                for key in event["delete"]:
                    start["config"].pop(key, None)
        return None if start is None else {**start, "joins": True, "resume": "allow"}

    def anew(self, event: JsonObject) -> JsonObject:
        """Return an event for a server that had the run and has lost it: the run is made, whatever
        its `resume` said, and has what it had before this process went on with it."""
        if event.get("t") != "start":
            return event
        known = self._known
        told = {k: v for k in _ATTRIBUTES if (v := event.get(k)) is None and (v := known.get(k))}
        return {
            **event,
            **told,
            "tags": event.get("tags") or known.get("tags") or [],
            "config": {**(known.get("config") or {}), **(event.get("config") or {})},
            "resume": "allow",
        }


def _parts(seq: int, event: Mapping[str, Any]) -> Iterator[tuple[_Place, JsonObject]]:
    """Give each thing that an event says by itself, under the place where the next word on it
    replaces it."""
    kind = event["t"]
    if kind in ("config", "summary"):
        head = {k: v for k, v in event.items() if k not in ("set", "delete")}
        for key, value in event.get("set", {}).items():
            yield (kind, key), {**head, "set": {key: value}, "delete": []}
        for key in event.get("delete", ()):
            yield (kind, key), {**head, "set": {}, "delete": [key]}
    elif kind == "attrs":
        for key, value in event.items():
            if key != "t":
                yield (kind, key), {"t": kind, key: value}
    elif kind == "metric":  # one adds to another: only the same again says nothing new
        yield (kind, event["name"], dumps(event).decode()), dict(event)
    elif kind == "lost":
        yield (kind, str(seq)), dict(event)
    elif kind not in _ENDS:  # behind them is nothing
        yield (kind,), dict(event)


def _joined(one: JsonObject | None, other: JsonObject) -> JsonObject:
    """Put two parts of one event together."""
    if one is None:
        return other
    joined = {**one, **other}
    if "set" in one:
        joined["set"] = {**one["set"], **other["set"]}
        joined["delete"] = [*one["delete"], *other["delete"]]
    return joined
