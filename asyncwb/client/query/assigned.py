"""A dict that knows which of its keys were assigned, so that an edit can send them.

Whoever assigns a value wants it to be there, even where it is what was loaded: the run may have
got another one meanwhile. A comparison with what was loaded does not find that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class AssignedDict(dict[str, Any]):
    """A dict. Mutable state: it, and `_assigned`, the keys that were set since it was sent.

    What changes inside a value, `config["opt"]["lr"] = 1`, is no assignment. A copy, and what is
    unpickled, begins without any.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        super().__init__(values)
        self._assigned: set[str] = set()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self),)

    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, value)
        self._assigned.add(key)

    def __ior__(self, values: Any) -> Self:  # type: ignore[override,misc]  # dict's has overloads
        self._assign(dict(values))
        return self

    def update(self, *values: Any, **more: Any) -> None:
        """Assign values, as a dict's `update` does."""
        self._assign(dict(*values, **more))

    def assigned(self) -> frozenset[str]:
        """Return the keys that were assigned and not settled."""
        return frozenset(self._assigned)

    def settled(self, assigned: frozenset[str]) -> None:
        """Take note that the server was told of these."""
        self._assigned -= assigned

    def _assign(self, values: Mapping[str, object]) -> None:
        super().update(values)
        self._assigned |= values.keys()
