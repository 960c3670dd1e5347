"""The folds of runs that are being written to take a bounded amount of memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.process.fold_cache import FoldCache, weight
from asyncwb.server.store.records import RunKey, RunRecord
from asyncwb.server.store.runs.ingest import new_record
from asyncwb.wire.rows.columns import FLOAT, INT, Column, Table
from asyncwb.wire.rows.keys import STEP
from asyncwb.wire.summary.fold import Fold


def record(name: str) -> RunRecord:
    return new_record(RunKey("lab", "p", name), 0.0)


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


@given(
    puts=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), max_size=40),
    most=st.integers(1, 4),
    room=st.integers(0, 60),
)
def test_the_newest_are_kept_that_have_room_together(
    puts: list[tuple[str, int]], most: int, room: int
) -> None:
    cache = FoldCache(runs=most, weight=64 * room)
    order: list[tuple[str, int]] = []  # the model: name and width, the newest last
    for name, keys in puts:
        made = fold(keys) if keys else None
        width = made.width if made else 0
        cache.put(record(name), made)
        order = [one for one in order if one[0] != name] + [(name, width)]
        while len(order) > 1 and (len(order) > most or sum(w for _, w in order) > room):
            del order[0]
    assert kept(cache, "abcdef") == "".join(sorted(name for name, _ in order))
    assert kept(cache, "abcdef") == ""
    cache.put(record("a"), fold(10))  # what was taken out weighs nothing any more
    cache.put(record("b"), None)
    assert kept(cache, "ab") == ("ab" if most > 1 and fold(10).width <= room else "b")
