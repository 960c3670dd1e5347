"""What changed between two JSON objects, so that an edit says what it changes and nothing else.

Two people edit one run's config; each has it as it was loaded. Whoever sends the whole of it takes
back what the other one wrote. So an edit is `{"set": {path: value}, "delete": [path]}`, in the
paths of `keys.py`, and is applied to what is there by then.

    changes = Changes.between({"opt": {"lr": 1, "eps": 2}}, {"opt": {"lr": 3}})
    changes.set, changes.delete             # {"opt.lr": 3}, ("opt.eps",)
    changes.applied({"opt": {"lr": 1, "eps": 2}, "new": 5})   # {"opt": {"lr": 3}, "new": 5}
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Changes:
    """Values to set, by path, and paths to delete."""

    set: Mapping[str, object]
    delete: tuple[str, ...] = ()

    @classmethod
    def between(
        cls, old: Mapping[str, object], new: Mapping[str, object], assigned: Collection[str] = ()
    ) -> Changes:
        """Return what makes `old` become `new`; lists and typed mappings change as a whole.

        Args:
            old: how it was.
            new: how it is to be.
            assigned: keys of `new` that are set as a whole, whether they differ or not.
        """
        whole = {key: value for key, value in new.items() if key in assigned}
        found = [(keys.escape(key), value) for key, value in whole.items()]
        # Compared with themselves they are not found once more.
        found += _differences({**old, **whole}, new, "")
        gone = tuple(path for path, value in found if value is _ABSENT)
        return cls({path: value for path, value in found if value is not _ABSENT}, gone)

    @classmethod
    def from_json(cls, value: object) -> Changes:
        """Read what `as_json` wrote; raises ValueError for what is none."""
        if isinstance(value, Mapping) and value.keys() <= {"set", "delete"}:
            values, gone = value.get("set", {}), value.get("delete", [])
            fit = isinstance(values, Mapping) and isinstance(gone, list)
            if fit and all(isinstance(path, str) for path in (*values, *gone)):
                return cls(values, tuple(gone))
        raise ValueError('changes are {"set": {path: value}, "delete": [path]}')

    def as_json(self) -> JsonObject:
        """Return it as a JSON object."""
        return {"set": dict(self.set), "delete": list(self.delete)}

    def __bool__(self) -> bool:
        return bool(self.set or self.delete)

    def applied(self, tree: Mapping[str, object]) -> JsonObject:
        """Return a tree with these changes; it shares with the old one what did not change.

        What stands in the way of a path, a number say, gives way; what is to be deleted and is
        not there is passed over.
        """
        result = dict(tree)
        for path in self.delete:
            _delete(result, keys.split(path))
        for path, value in self.set.items():
            *above, name = keys.split(path)
            at = result
            for key in above:
                below = at.get(key)
                at[key] = at = dict(below) if _is_level(below) else {}
            at[name] = value
        return result


def same(one: object, other: object) -> bool:
    """Tell whether two JSON values are the same; NaN is itself, True is not 1, and 1.0 is 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other) or (one != one and other != other)


def _differences(
    old: Mapping[str, object], new: Mapping[str, object], prefix: str
) -> Iterator[tuple[str, object]]:
    for key in old.keys() - new.keys():
        yield prefix + keys.escape(key), _ABSENT
    for key, value in new.items():
        before, path = old.get(key, _ABSENT), prefix + keys.escape(key)
        if _is_level(before) and _is_level(value) and value:
            yield from _differences(before, value, path + ".")
        elif before is _ABSENT or not same(before, value):
            yield path, value


def _is_level(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and not keys.is_leaf_mapping(value)


def _delete(tree: JsonObject, path: tuple[str, ...]) -> None:
    at = tree
    for key in path[:-1]:
        below = at.get(key)
        if not _is_level(below):
            return
        at[key] = at = dict(below)
    at.pop(path[-1], None)
