"""From the way a report says which runs it shows to the filters that a server takes. Pure.

A report's set of runs has `filters`, a tree of `{"op": "AND"|"OR", "filters": [...]}` whose leaves
are `{"key": {"section", "name"}, "op", "value", "disabled"}`; a `sort`; and `selections`.
"""

from __future__ import annotations

from typing import Final

from asyncwb.typing import JsonObject

_PREFIX: Final = {
    "run": "",
    "tags": "tags.",
    "config": "config.",
    "summary": "summary_metrics.",
    "keys_info": "keys_info.keys.",
}
_COMPARE: Final = {
    "=": "$eq", "==": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte",
    "IN": "$in", "NIN": "$nin",
}  # fmt: skip
_JOIN: Final = {"AND": "$and", "OR": "$or"}


def query_of(run_set: JsonObject, only_selected: bool) -> tuple[JsonObject, str]:
    """Return the filters and the order of a set of runs.

    Raises ValueError for a key or an operator that has no meaning here.
    """
    filters = _filter(run_set.get("filters") or {"op": "AND", "filters": []})
    tree = ((run_set.get("selections") or {}).get("tree")) or []
    if only_selected and tree:
        filters = {"$and": [filters, {"name": {"$in": list(tree)}}]}
    return filters, _order(run_set.get("sort") or {})


def _order(sort: JsonObject) -> str:
    first = (sort.get("keys") or [sort])[0]  # newer reports sort by several keys
    if "key" not in first:
        return "-created_at"
    return ("+" if first.get("ascending") else "-") + _path(first["key"])


def _filter(tree: JsonObject) -> JsonObject:
    op = tree.get("op")
    if op in _JOIN:
        parts = [_filter(part) for part in tree.get("filters", []) if not part.get("disabled")]
        return {_JOIN[op]: parts} if parts else {}
    if op not in _COMPARE:
        raise ValueError(f"a report's filter has the operator {op!r}, which is none of W&B's")
    value = tree.get("value")
    if op in ("=", "==") and value == "*":  # any value at all
        return {_path(tree["key"]): {"$exists": True}}
    return {_path(tree["key"]): {_COMPARE[op]: value}}


def _path(key: JsonObject) -> str:
    if key.get("section") not in _PREFIX:
        raise ValueError(f"a report's key is in the section {key.get('section')!r}, not in a run")
    return _PREFIX[key["section"]] + str(key["name"])
