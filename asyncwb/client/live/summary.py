"""A run's summary: the last word on every metric, and what the user writes over it.

The summary is folded on this side of the wire, from the rows as they are logged: reading it asks
no server. The fold knows paths (`a.b`), users know nested mappings (`summary["a"]["b"]`); this
module is the translation in both directions and holds no values of its own.

Behaviour follows W&B's summary, plus what its users miss: `in`, `len`, iteration, `items`, and
siblings that stay when one nested key is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from asyncwb.typing import JsonObject
from asyncwb.wire.rows.keys import INTERNAL, flatten, is_leaf_mapping, join, split
from asyncwb.wire.rows.values import to_wire

Read = Callable[[], JsonObject]
OnChange = Callable[[JsonObject, list[str]], None]


class Nested(dict[str, Any]):
    """Show one level of nested summary values as a dict whose changes go to the run.

    The values are those of the moment it was read; it prints, compares and serialises as a dict.
    """

    __slots__ = ("_owner", "_place")

    def __init__(
        self, values: Mapping[str, object], owner: Summary, place: tuple[str, ...]
    ) -> None:
        super().__init__(values)
        self._owner, self._place = owner, place
        for key, value in values.items():
            if isinstance(value, dict) and not is_leaf_mapping(value):
                super().__setitem__(key, Nested(value, owner, (*place, key)))

    def __setitem__(self, key: str, value: object) -> None:
        self._owner.write({(*self._place, key): value})
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._owner.remove((*self._place, key))
        super().__delitem__(key)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"the summary has nothing at {key!r} here") from None

    def __setattr__(self, key: str, value: object) -> None:
        if key in Nested.__slots__:
            super().__setattr__(key, value)
        else:
            self[key] = value

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (dict(self),)  # a copy is plain data

    # dict's own versions would pass by the run; MutableMapping's go through the items above.
    update = MutableMapping.update
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    clear = MutableMapping.clear
    setdefault = MutableMapping.setdefault

    def __ior__(self, other: Any) -> Nested:  # type: ignore[override, misc]
        self.update(other)
        return self


class Summary(Mapping[str, Any]):
    """Show and change a run's summary; keys are items or attributes, nested ones nested dicts.

    Reading folds the rows logged since the last read, locally, and never waits for the server. A
    written value stands until the next log of its key. A literal dot in a key stays one key.
    Thread safe as far as `read` and `on_change` are, which the run supplies; after `finish()`
    reading goes on and writing raises UsageError.

        run.summary["best"] = {"acc": 0.97}
        run.summary["best"]["epoch"] = 12

    Raises LogTypeError for a value that no row could hold. Source: the W&B reference page of
    Summary.
    """

    _read: Read
    _on_change: OnChange

    def __init__(self, read: Read, on_change: OnChange) -> None:
        """Take where the values come from, `{path: value}`, and where changes go."""
        object.__setattr__(self, "_read", read)
        object.__setattr__(self, "_on_change", on_change)

    def __getitem__(self, key: str) -> Any:
        return self._nested()[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"the summary has no key {key!r}") from None

    def __setitem__(self, key: str, value: object) -> None:
        self.write({(key,): value})

    def __setattr__(self, key: str, value: object) -> None:
        self.write({(key,): value})

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self.remove((key,))

    def __delattr__(self, key: str) -> None:
        if key not in self:
            raise AttributeError(f"the summary has no key {key!r}")
        self.remove((key,))

    def __iter__(self) -> Iterator[str]:
        return iter([key for key in self._nested() if key != INTERNAL])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (self.as_dict(),)  # a copy is plain data: it belongs to no run

    def as_dict(self) -> JsonObject:
        """Copy the summary into nested plain dicts."""
        values = _tree(self._read())
        values.pop(INTERNAL, None)
        return values

    def update(self, d: Mapping[str, object] | None = None, **values: object) -> None:
        """Set many keys at once; nested dicts replace what was at their key."""
        self.write({(key,): value for key, value in {**(d or {}), **values}.items()})

    def write(self, changes: Mapping[tuple[str, ...], object]) -> None:
        """Set the values at nested places, replacing all that stood there, in one change."""
        held = self._read()
        fresh: JsonObject = {}
        for place, value in changes.items():
            fresh.update(_leaves(place, value))
        stale = {path for place in changes for path in _overwritten(held, place)}
        if fresh or stale:
            self._on_change(fresh, sorted(stale - fresh.keys()))

    def remove(self, place: tuple[str, ...]) -> None:
        """Delete what stands at a nested place, and all below it."""
        held = self._read()
        inside = [path for path in held if split(path)[: len(place)] == place]
        fresh: JsonObject = {}
        for depth in range(1, len(place)):  # it may be part of one reduced value: {"min": ..}
            above = held.get(join(place[:depth]))
            if not inside and isinstance(above, dict):
                fresh = {join(place[:depth]): _without(above, place[depth:])}
        self._on_change(fresh, inside)

    def _nested(self) -> Nested:
        return Nested(_tree(self._read()), self, ())


def _tree(flat: Mapping[str, object]) -> JsonObject:
    """Nest `{path: value}`; where a path has both a value and children, dicts merge."""
    tree: JsonObject = {}
    for path in sorted(flat, key=split):  # parents before children
        *parents, last = split(path)
        level = tree
        for key in parents:
            if not isinstance(level.get(key), dict):
                level[key] = {}
            level = level[key]
        value = flat[path]
        level[last] = _copied(value)
    order = {split(path)[0]: None for path in flat}
    return {key: tree[key] for key in order}


def _copied(value: object) -> object:
    return {key: _copied(inner) for key, inner in value.items()} if type(value) is dict else value


def _leaves(place: tuple[str, ...], value: object) -> JsonObject:
    if not isinstance(value, Mapping) or is_leaf_mapping(value):
        return {join(place): to_wire(value, join(place))}
    leaves = {f"{join(place)}.{path}": leaf for path, leaf in flatten(value).items()}
    return {path: to_wire(leaf, path) for path, leaf in leaves.items()}


def _overwritten(held: Mapping[str, object], place: tuple[str, ...]) -> Iterator[str]:
    """Find the paths that a value at `place` replaces: itself, all below, and scalars above."""
    for path, value in held.items():
        segments = split(path)
        depth = len(segments)
        above = segments == place[:depth] and not isinstance(value, dict)
        if segments[: len(place)] == place or (above and depth < len(place)):
            yield path


def _without(value: JsonObject, place: tuple[str, ...]) -> JsonObject:
    kept = dict(value)
    if len(place) == 1:
        kept.pop(place[0], None)
    elif isinstance(kept.get(place[0]), dict):
        kept[place[0]] = _without(kept[place[0]], place[1:])
    return kept
