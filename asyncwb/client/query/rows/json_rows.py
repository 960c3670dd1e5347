"""Rows of a history as GraphQL gives them: JSON, made into the rows that frames would give.

Nested keys become one name with dots, and the strings that stand for NaN and the infinities become
floats: a server that speaks JSON has no other way to say them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from asyncwb.client.query.rows.formats import Names
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.keys import is_leaf_mapping
from asyncwb.wire.rows.values import NON_FINITE, loads


def read_row(row: str | JsonObject) -> JsonObject:
    """Read a row that came as JSON text or as an object."""
    found = loads(row) if isinstance(row, str) else row
    return dict(_flat(found, ""))


def _flat(row: Mapping[str, object], above: str) -> Iterator[tuple[str, object]]:
    for key, value in row.items():
        if isinstance(value, Mapping) and not is_leaf_mapping(value):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, _restored(value)


def _restored(value: object) -> object:
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    return [_restored(item) for item in value] if isinstance(value, list) else value


def having(row: JsonObject, names: Names) -> bool:
    """Tell whether a row has every one of the names."""
    return names is None or all(name in row for name in names)


def picked(rows: Iterable[JsonObject], names: Names) -> Iterator[JsonObject]:
    """Leave out of rows whatever was not asked for."""
    for row in rows:
        yield row if names is None else {name: row[name] for name in names}
