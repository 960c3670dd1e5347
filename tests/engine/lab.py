"""A writer without a server: an inbox, its journal, and whoever reads it back."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.run import AsyncRun
from asyncwb.engine.frames.pipeline import FoundSegments, LiveSegments, Reader
from asyncwb.engine.journal.folder import Description, RunFolder
from asyncwb.engine.journal.inbox import Inbox
from asyncwb.engine.journal.journal import Journal
from asyncwb.engine.session import Session
from asyncwb.wire.history import StepRule
from asyncwb.wire.rows.frames import Frame, decode

Row = dict[str, Any]
SMALL = 4096
"""bytes of a segment that a few rows fill"""


@dataclass
class Writer:
    """One writer's journal; its clock counts rows."""

    journal: Journal
    inbox: Inbox
    clock: Iterator[float] = field(default_factory=lambda: itertools.count(0.0, 1.0))

    def rows(self) -> list[Row]:
        """What a reader in this process finds, without its time."""
        return rows_of(frames_of(Reader(LiveSegments(self.journal))))

    def found(self) -> list[Row]:
        """What a process finds that comes later."""
        return rows_of(frames_of(Reader(FoundSegments(self.journal.folder))))


@contextmanager
def writer(
    *, policy: Any = "merge", overflow: str = "block", rule: StepRule | None = None, **journal: Any
) -> Iterator[Writer]:
    """Make a writer in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        made = Journal(Path(folder) / "journal", **journal)
        clock = itertools.count(0.0, 1.0)
        inbox = Inbox(
            made, rule or StepRule(policy), overflow=overflow, clock=lambda: float(next(clock))
        )
        try:
            yield Writer(made, inbox)
        finally:
            made.close(delete=True)


def session_of(run: Run | AsyncRun) -> Session:
    """The session of a run that is not disabled."""
    assert isinstance(run._session, Session)
    return run._session


def leave(
    runs: Path,
    run: str = "r",
    rows: int = 10,
    *,
    first: int = 0,
    who: str = "w1",
    mode: str = "online",
    base_url: str | None = None,
    started_at: float = 1_700_000_000.0,
    ends: bool = True,
    resume: str = "allow",
) -> RunFolder:
    """Leave the folder of a process that logged rows `first`, `first` + 1, ... and is gone."""
    described = Description(None, "p", run, who, mode, base_url, started_at)
    folder = RunFolder.create(runs, described)
    journal = Journal(folder.journal, first_capacity=SMALL, max_capacity=SMALL)
    inbox = Inbox(journal, StepRule(step=first))
    inbox.event({"t": "start", "at": started_at, "config": {"lr": 1}, "resume": resume})
    for i in range(first, first + rows):
        inbox.log({"i": i})
    inbox.close({"t": "finish", "exit_code": 0, "at": started_at + 1} if ends else None)
    journal.close()
    folder.unlock()
    return folder


def frames_of(reader: Reader, **limits: int) -> list[Frame]:
    """Read to the end, through the codec, as the server gets it."""
    read: Callable[[], Frame | None] = lambda: reader.read(**limits)  # noqa: E731
    return [decode(frame.encode()) for frame in iter(read, None)]


def rows_of(frames: list[Frame]) -> list[Row]:
    """The rows of frames whose numbers follow each other without a hole."""
    expected = frames[0].first_seq if frames else 0
    found: list[Row] = []
    for frame in frames:
        assert frame.first_seq == expected
        expected += frame.count
        found += [
            {k: v for k, v in r.items() if k != "_timestamp"} for r in frame.table.iter_rows()
        ]
    return found


def events_of(frames: list[Frame]) -> list[Row]:
    """The events of frames, in order."""
    return [event for frame in frames for _, event in frame.events]
