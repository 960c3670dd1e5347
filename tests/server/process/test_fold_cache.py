"""The folds of runs that are being written to take a bounded amount of memory."""

from __future__ import annotations

import numpy as np

from asyncwb.server.process.fold_cache import FoldCache, weight
from asyncwb.server.store.records import RunPath, RunRecord
from asyncwb.server.store.runs.ingest import new_record
from asyncwb.wire.rows.columns import FLOAT, INT, Column, Table
from asyncwb.wire.rows.keys import STEP
from asyncwb.wire.summary.fold import Fold


def record(name: str) -> RunRecord:
    return new_record(RunPath("lab", "p", name), 0.0)


def fold(keys: int) -> Fold:
    made = Fold()
    columns = [Column(f"m{i}", FLOAT, np.ones(1)) for i in range(keys)]
    made.apply(Table.from_columns(1, [Column(STEP, INT, np.zeros(1, np.int64)), *columns]), [])
    return made


def kept(cache: FoldCache, names: str) -> str:
    return "".join(name for name in names if cache.take(record(name).path) is not None)


def test_what_was_committed_last_is_kept_as_far_as_it_has_room() -> None:
    cache = FoldCache(runs=3, weight=2 * weight(fold(10)))
    for name, keys in (("a", 10), ("b", 10), ("c", 10)):
        cache.put(record(name), fold(keys))
    assert kept(cache, "abc") == "bc"
    for name in "abcd":
        cache.put(record(name), None)
    assert kept(cache, "abcd") == "bcd"


def test_the_last_one_is_kept_whatever_it_weighs() -> None:
    cache = FoldCache(weight=weight(fold(10)))
    cache.put(record("a"), fold(10))
    cache.put(record("b"), fold(1000))
    assert kept(cache, "ab") == "b"
    cache.put(record("a"), fold(10))
    cache.put(record("a"), fold(10))  # in the place of itself
    assert kept(cache, "a") == "a"
