"""The folds of runs: read, and brought to a summary that somebody sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncwb.server.objects.damage import sound
from asyncwb.typing import JsonObject
from asyncwb.wire.changes import same
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.values import loads
from asyncwb.wire.summary.fold import Fold

FOLD: Final = "what the run's summary is folded from"


def read_fold(text: str) -> Fold:
    """Return the fold of a run from what its row says.

    Raises:
        DamagedError: that is not what was written.
    """
    state = loads(sound(text, FOLD).encode())
    return Fold.from_state(state) if state else Fold()


def summary_event(fold: Fold, summary: Mapping[str, object]) -> JsonObject:
    """Return the event after which the fold's summary is `summary`.

    What is there already, the values that `define_metric` computes included, is left as it is;
    `_step`, `_timestamp` and `_runtime` follow from the rows and cannot be set.

    Raises:
        LogTypeError: the summary is nested too deep.
    """
    wanted = {p: value for p, value in keys.flatten(summary).items() if p not in keys.COMPUTED}
    shown = {p: value for p, value in fold.values().items() if p not in keys.COMPUTED}
    new: JsonObject = {}
    # A path of the fold under which the summary has several values (the ops of `define_metric`)
    # takes them as one: as single values they would stand beside those of the next row.
    for path, value in shown.items():
        node = _at(summary, path)
        if node:
            for leaf in keys.flatten(node, path):
                wanted.pop(leaf, None)
            if not same(node, value):
                new[path] = node
    deleted = [p for p in shown if p not in wanted and not _at(summary, p)]
    gone = set(deleted)
    new |= {
        path: value
        for path, value in wanted.items()
        # What is deleted takes along what stands below it.
        if path not in shown or not same(shown[path], value) or not gone.isdisjoint(_above(path))
    }
    return {"t": "summary", "set": new, "delete": deleted}


def _at(summary: Mapping[str, object], path: str) -> Mapping[str, object] | None:
    """Return the level of keys that stands at a path; None for a value, or nothing."""
    node: object = summary
    for key in keys.split(path):
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node if isinstance(node, Mapping) and not keys.is_leaf_mapping(node) else None


def _above(path: str) -> list[str]:
    return [path[:at] for at, char in enumerate(path) if char == "."]
