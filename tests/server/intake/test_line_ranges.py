"""The lines of a client that are here: a set of ranges that never meet and never overlap."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.intake.line_ranges import (
    WRITER,
    begin_generation,
    generation_of,
    holes,
    join,
    name_of,
    received,
    writer_at,
    writer_of,
)
from asyncwb.server.intake.run_transitions import RunTransition
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs.ingest import new_record

blocks = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=12)


def transition() -> RunTransition:
    return RunTransition(new_record(RunKey("lab", "p", "r1"), 0.0), 1.0, 60.0)


def take_in(run: RunTransition, main: str, start: int, stop: int) -> list[int]:
    """Do what a request with these lines does; returns the lines that were not here yet."""
    new: list[int] = []
    for first, end in holes(received(run.record, main), start, stop):
        writer = writer_at(run, main, first)
        run.record.writers[writer].next_seq = end
        new += range(first, end)
    for gone in join(run, main):
        assert gone not in run.record.writers
    return new


@given(sent=blocks)
def test_each_line_is_taken_once_in_whatever_order_blocks_come(sent: list[tuple[int, int]]) -> None:
    run, here = transition(), set[int]()
    for start, size in sent:
        lines = set(range(start, start + size))
        new = take_in(run, WRITER, start, start + size)
        assert new == sorted(lines - here)
        here |= lines
        ranges = [one for one in received(run.record, WRITER) if one.start < one.stop]
        assert {n for one in ranges for n in range(one.start, one.stop)} == here
        assert all(a.stop < b.start for a, b in itertools.pairwise(ranges))


@given(before=blocks, after=blocks)
def test_a_client_that_writes_over_another_begins_with_nothing(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    run = transition()
    for start, size in before:
        take_in(run, WRITER, start, start + size)
    old = received(run.record, WRITER)
    name = begin_generation(run, WRITER, 0)
    assert (name, generation_of(run.record, WRITER)) == (name_of(WRITER, 2), 2)
    here = set[int]()
    for start, size in after:
        lines = set(range(start, start + size))
        assert take_in(run, name, start, start + size) == sorted(lines - here)
        here |= lines
    assert received(run.record, WRITER) == old


def test_clients_that_share_a_run_have_names_of_their_own() -> None:
    assert writer_of(None) == WRITER
    assert writer_of("AbC") == "wandb-AbC"
    for odd in ("", "a b", "x" * 65, "a+1", "a.2"):
        assert writer_of(odd) == WRITER
