"""Which lines of a W&B client's history are here already.

A W&B client numbers its rows and says at which number each block begins. Usually blocks follow
one another, sometimes one comes twice, and where a run is resumed that somebody else began, the
first number is not 0. So what is here is a set of ranges. Each range is a writer of the run, whose
`next_seq` is its end, and no row is stored without its range: both change in one transaction.

    "wandb"          lines from 0 on; also the one whose heartbeat and end are the run's
    "wandb+500"      lines from 500 on, whose predecessors have not come
    "wandb.2"        lines from 0 on of a second client that wrote over the first (`generation`)
    "wandb-AbC"      one of several clients that share the run, each with numbers of its own

Two ranges that meet become one. A client that begins again at 0 with other words than those of
line 0 is a new process with an old id; its rows count, and where steps are the same the later
row wins, which is how W&B's "overwritten from the start" looks to a reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asyncwb.server.intake.run_transitions import RunTransition
from asyncwb.server.store.records import RunRecord

WRITER: Final = "wandb"
MAX_SPANS: Final = 1000
_CLIENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class LineRange:
    """Lines [start, stop) that are here, under the name of their writer."""

    start: int
    stop: int
    writer: str


def writer_of(client: str | None) -> str:
    """Return the name of a client's first writer.

    Args:
        client: what a client of a shared run calls itself, None where a run has one client. An
            odd name counts as none.
    """
    return f"{WRITER}-{client}" if client and _CLIENT.fullmatch(client) else WRITER


def generation_of(record: RunRecord, base: str) -> int:
    """Return which of the clients that wrote over one another is the latest, from 1."""
    pattern = re.compile(re.escape(base) + r"(?:\.(\d+))?")
    found = (pattern.fullmatch(name) for name in record.writers)
    return max((int(match[1] or 1) for match in found if match), default=1)


def name_of(base: str, generation: int) -> str:
    """Return the name of the writer of lines from 0 on."""
    return base if generation == 1 else f"{base}.{generation}"


def received(record: RunRecord, main: str) -> list[LineRange]:
    """Return the ranges of one generation in order.

    A range behind the place that the run was rewound to is none any more.
    """
    found = [LineRange(0, record.writers[main].next_seq, main)] if main in record.writers else []
    prefix = f"{main}+"
    found += [
        LineRange(int(name[len(prefix) :]), writer.next_seq, name)
        for name, writer in record.writers.items()
        if name.startswith(prefix) and writer.next_seq >= int(name[len(prefix) :])
    ]
    return sorted(found, key=lambda lines: (lines.start, lines.stop))


def holes(here: list[LineRange], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the parts [a, b) of [start, stop) that are not here yet."""
    at = start
    for lines in here:
        if lines.stop <= at:
            continue
        if lines.start >= stop:
            break
        if lines.start > at:
            yield at, lines.start
        at = lines.stop
    if at < stop:
        yield at, stop


def writer_at(transition: RunTransition, main: str, number: int) -> str:
    """Return the writer whose next line is `number`, opened where there is none."""
    for lines in received(transition.record, main):
        if lines.stop == number:
            return lines.writer
    name = f"{main}+{number}" if number else main
    transition.open(name, number, left=name != main)
    return name


def join(transition: RunTransition, main: str) -> list[str]:
    """Make one range of those that meet; returns the writers that are no more."""
    gone: list[str] = []
    before: LineRange | None = None
    for lines in received(transition.record, main):
        if before is not None and before.stop == lines.start:
            transition.join(before.writer, lines.writer)
            gone.append(lines.writer)
            before = LineRange(before.start, lines.stop, before.writer)
        else:
            before = lines
    return gone


def begin_generation(transition: RunTransition, base: str, next_seq: int) -> str:
    """Begin a new generation, for which the lines below `next_seq` count as here already.

    The ones before have no say in the run's state any more, nor their exit codes.
    """
    record = transition.record
    latest = generation_of(record, base)
    for lines in received(record, name_of(base, latest)):
        writer = record.writers[lines.writer]
        writer.finished_at, writer.exit_code = writer.finished_at or transition.now, None
        transition.touch(lines.writer)
    name = name_of(base, latest + 1)
    transition.open(name, next_seq)
    return name
