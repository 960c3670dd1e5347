"""A session answers for every row that it took, in whatever state it is, and lets go once."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncwb.engine.disabled import DisabledSession
from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.frames.source import JournalSource, Prepared
from asyncwb.engine.journal.folder import RunFolder, run_folders
from asyncwb.engine.journal.journal import find_segments
from asyncwb.engine.journal.segment import Segment
from asyncwb.engine.session import AnySession, Session, Submits, Work
from asyncwb.engine.uploads.saved import Link, Saved
from asyncwb.errors import EngineStopped, Error, UsageError
from asyncwb.settings import Settings
from asyncwb.wire.rows.value_count import MAX_VALUES
from asyncwb.wire.stream import StreamHead
from tests.engine.lab import frames_of
from tests.engine.worker_lab import a_session, answered, working
from tests.fix_server import ServerHandle
from tests.server.ingest_client import connect, start_event

if TYPE_CHECKING:
    # What the faces are given: the type checker holds both to it.
    _enabled: type[AnySession] = Session
    _disabled: type[AnySession] = DisabledSession

ONLINE: dict[str, Any] = {"mode": "online", "base_url": "http://127.0.0.1:9", "api_key": "k"}


WIDE = {f"metric {n}": 1.0 for n in range(20)}
"""a row of which some 80 fill a segment of the journal below"""


class Nobody(Submits):
    """An engine that does nothing of what is submitted; with `stopped` it says so."""

    def __init__(self, *, stopped: bool = False) -> None:
        self.submitted: list[Work[Any]] = []
        self.stopped = stopped

    @property
    def problem(self) -> str | None:
        return "the engine has stopped" if self.stopped else None

    def submit(self, work: Work[Any]) -> Future[Any]:
        self.submitted.append(work)
        future: Future[Any] = Future()
        if self.stopped:
            future.set_exception(EngineStopped())
        return future


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session of which nothing is sent."""
    made = a_session(tmp_path, Nobody(), **ONLINE)
    yield made
    made.release(complete=False)


class Status(RuleBasedStateMachine):
    """`status()` beside an outbox that is driven by hand, in any order of what may happen.

    A server loses what it has only where the journal has all of it still.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.session = a_session(folder, Nobody(), **ONLINE, journal_max_bytes=2**16)
        self.stack.callback(lambda: self.session.release(complete=False))
        source = JournalSource(
            Reader(LiveSegments(self.session.journal)), kept=self.session.inbox.kept
        )
        self.box = Outbox(self.session.head, source, self.session.progress)
        self.rows: set[int] = set()
        self.negative = 0
        self.stopped = False
        self.sends_again = 0
        """the number up to which a server that lost its data is sent it again"""

    @precondition(lambda self: not self.session.inbox.closed)
    @rule(rows=st.sampled_from([1, 40, 200]))
    def log(self, rows: int) -> None:
        for _ in range(rows):
            if self.session.log(WIDE):
                self.rows.add(self.session.inbox.next_seq - 1)

    @precondition(lambda self: not self.session.inbox.closed)
    @rule()
    def log_a_negative_step(self) -> None:
        self.negative += self.session.log({"i": 1}, -1)

    @precondition(lambda self: not self.stopped)
    @rule()
    def send(self) -> None:
        self.box.fill()
        self.box.send(self.box.take(2**20))

    @rule()
    def fail(self) -> None:
        self.box.unsend()

    @precondition(lambda self: self.box.pending)
    @rule()
    def answer(self) -> None:
        self.box.acknowledge(self.box.believe(self.box.pending[0].end_seq))

    @precondition(lambda self: not self.stopped and self._segments[0].first_seq == 0)
    @rule()
    def restore(self) -> None:
        if self.session.journal.gone(0):
            return
        self.sends_again = self.session.progress.next_seq
        self.box.rewind(0)

    @precondition(lambda self: self._is_up_to_date)
    @rule()
    def trim(self) -> None:
        self.session.journal.trim(self.session.progress.next_seq)

    @precondition(lambda self: self._is_up_to_date)
    @rule()
    def drop_oldest(self) -> None:
        if any(not segment.events for segment in list(self.session.journal.segments)[:-1]):
            self.session.journal.drop_oldest()  # one with rows only, which is what is counted

    @rule()
    def stop(self) -> None:
        self.session.inbox.close({"t": "finish", "exit_code": 0})
        self.box.stop()
        self.stopped = True

    @invariant()
    def adds_up(self) -> None:
        status = self.session.status()
        lost = status.dropped.get("journal", 0)
        assert status.accepted == len(self.rows)
        assert status.accepted == status.acknowledged + status.journaled + lost
        assert status.dropped.get("step_negative", 0) == self.negative
        assert status.lost == lost + self.negative
        assert status.sync_items_total == status.accepted
        assert status.sync_items_pending == status.journaled
        complete = self.session.progress.next_seq >= self.session.inbox.next_seq
        assert self.session.has_arrived == complete
        assert (status.lag == 0.0) if complete else (status.lag >= 0.0)

    @invariant()
    def what_is_journaled_can_be_sent(self) -> None:
        known = self.session.progress.next_seq
        made = [] if self.stopped else [*self.box.pending]
        ready = made[-1].end_seq if made else known
        numbers = {seq for frame in made if not frame.lost for seq in _numbers(frame)}
        for segment in self._segments:
            first, end = segment.first_seq, segment.first_seq + segment.count
            numbers |= {*range(max(first, ready), end)}
        waiting = {seq for seq in numbers & self.rows if seq >= known}
        assert self.session.status().journaled == len(waiting)

    @property
    def _segments(self) -> list[Segment]:
        return [*self.session.journal.segments]

    @property
    def _is_up_to_date(self) -> bool:
        sent = self.box.pending[-1].end_seq if self.box.pending else 0
        return sent >= self.sends_again

    def teardown(self) -> None:
        self.stack.close()


def _numbers(frame: Prepared) -> range:
    return range(frame.first_seq, frame.end_seq)


TestStatus = Status.TestCase
# Not shrunk: that takes longer than a test may.
TestStatus.settings = settings(
    max_examples=60, stateful_step_count=30, phases=[Phase.reuse, Phase.generate]
)


def test_what_went_wrong_worst_is_told(session: Session) -> None:
    progress, inbox, files = session.progress, session.inbox, session.files
    assert session.status().last_error is None
    files.error = "a file"
    assert session.status().last_error == "a file"
    progress.error = "the network"
    assert session.status().last_error == "the network"
    session.sync_error = OSError("the disk")
    assert session.status().last_error == "the disk"
    inbox.disk_error = OSError("no space")
    assert session.status().last_error == "no space"
    progress.refused = "never"
    assert session.status().last_error == "never"


def test_a_start_that_no_server_takes_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwb.engine.journal.checks.MAX_RECORD", 100)
    given = Settings(data_dir=tmp_path, mode="offline")
    with pytest.raises(UsageError, match="this change of the config takes"):
        Session(given, StreamHead(None, "p", "r", "w"), start_event(), engine=Nobody)
    assert not given.runs_dir.exists()


def test_a_start_of_too_many_values_leaves_no_folder(tmp_path: Path) -> None:
    given, dense = Settings(data_dir=tmp_path, mode="offline"), {"a": [0] * MAX_VALUES}
    with pytest.raises(UsageError, match="this change of the config has more than 300,000 values"):
        Session(given, StreamHead(None, "p", "r", "w"), start_event(config=dense), engine=Nobody)
    assert not given.runs_dir.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(Error, match="Nothing was logged"):
        a_session(tmp_path, Nobody())


def test_a_folder_for_which_no_descriptor_is_left_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(RunFolder, "create", refuse)
    with pytest.raises(Error, match=r"Too many open files.*Nothing was logged.*ulimit -n"):
        a_session(tmp_path, Nobody())


def test_without_an_engine_nobody_waits_for_room(tmp_path: Path) -> None:
    engine = Nobody()
    session = a_session(tmp_path, engine, journal_max_bytes=2**16)
    assert not session.log_when_room({"i": 1}, None, None).done()
    engine.stopped = True
    assert session.log_when_room({"i": 2}, None, None).result(0) is None
    assert session.status().dropped == {"overflow": 1}
    session.release(complete=False)


def test_a_file_is_noted_when_save_returns(session: Session) -> None:
    engine = session.engine
    assert isinstance(engine, Nobody)
    before = len(engine.submitted)
    session.files.failed["f"] = "before"
    session.save([Link("f", "now", linked=True)])
    assert [*Saved(session.folder).read()] == ["f"]
    assert len(engine.submitted) == before + 1
    status = session.status()
    assert (status.files_waiting, status.files_failed) == (1, {})
    assert not session.has_arrived
    (session.folder.path / "files.json").write_bytes(b"{")
    with pytest.raises(Error):
        session.save([Link("g", "now", linked=True)])
    assert session.status().files_waiting == 1, "nothing of it"
    assert len(engine.submitted) == before + 1


def test_a_forked_child_is_another_writer_from_its_first_row_on(tmp_path: Path) -> None:
    parents, childs = Nobody(), Nobody()
    engines = iter([parents, childs])
    given = Settings(data_dir=tmp_path, silent=True, **ONLINE)
    head = StreamHead(None, "p", "r", "0123abcd")
    session = Session(given, head, start_event(), engine=lambda: next(engines))
    for i in range(5):
        session.log({"i": i})
    session.inbox.event({"t": "config", "set": {"late": 1}, "delete": []})
    session.save([Link("f", "now", linked=False)])
    folder, journal = session.folder, session.journal
    reopened: list[str] = []
    session.reopened = lambda: reopened.append(session.head.writer)

    session.after_fork()
    status = session.status()
    assert (status.accepted, status.journaled, status.lost, status.files_waiting) == (0, 0, 0, 0)
    assert session.summary.read() == {}
    assert run_folders(given.runs_dir) == [folder.path], "a child that logs nothing leaves nothing"
    assert not reopened

    session.log({"i": 5})
    session.log({"i": 6})
    assert session.head.writer.startswith("0123abcd-")
    assert reopened == [session.head.writer]
    assert session.folder.path != folder.path
    assert session.folder.describe().head == session.head
    assert session.status().accepted == 2
    assert session.summary.read()["i"] == 6
    assert (len(parents.submitted), len(childs.submitted)) == (2, 1)
    first, *_ = frames_of(Reader(LiveSegments(session.journal)))
    (_, start), *_ = first.events
    assert (start["t"], start["joins"], start["config"]) == ("start", True, {"late": 1})
    assert sum(f.table.n for f in frames_of(Reader(LiveSegments(journal)))) == 5, "the parent's"
    session.release(complete=False)
    journal.close()
    folder.unlock()


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_who_lets_go_of_a_folder_leaves_what_is_not_there_yet(
    tmp_path: Path, mode: str, complete: bool
) -> None:
    session = a_session(tmp_path, Nobody(), **{**ONLINE, "mode": mode})
    session.log({"i": 1})
    (session.folder.files / "mine").touch()
    session.saved.add([Link("mine", "now", linked=False)])
    session.inbox.close({"t": "finish", "exit_code": 0})
    for _ in range(2):  # as finish() does, and whoever gave up waiting for it
        session.release(complete=complete)
        assert bool(find_segments(session.folder.journal)) != complete
        assert (session.folder.files / "mine").exists(), "the user's own"
        other = RunFolder(session.folder.path)
        assert other.lock(), "it is free"
        other.unlock()
    assert [*Saved(session.folder).read()] == ["mine"], "no server has it"


@pytest.mark.anyio
@pytest.mark.parametrize("order", ["flush finish", "finish", "durable finish", "finish flush"])
@pytest.mark.parametrize("online", [True, False])
async def test_whatever_is_called_first_all_arrives(
    server: ServerHandle, tmp_path: Path, order: str, online: bool
) -> None:
    async with working() as desk:
        session = a_session(tmp_path, desk, server=server if online else None)
        for i in range(500):
            session.log({"i": i})
        calls = [
            session.finish(0, 60.0)
            if what == "finish"
            else session.flush(durable=what == "durable", timeout=60.0)
            for what in order.split()
        ]
        for call in calls:
            assert await answered(call)
        status = session.status()
        assert (status.accepted, status.acknowledged, status.journaled) == (500, 500, 0)
        assert (status.lost, status.lag, status.last_error) == (0, 0.0, None)
        assert session.folder.path.exists() != online
        assert session.has_arrived == online
        for late in (session.log, session.inbox.event):
            with pytest.raises(UsageError, match="the run has finished"):
                late({"t": "config", "set": {}, "delete": []})
        session.release(complete=True)  # once more changes nothing
        assert session.status() == status
    if online:
        async with connect(server) as client:
            info = await client.run("r")
            assert (info["rows"], info["state"]) == (500, "finished")


@pytest.mark.anyio
async def test_a_writer_that_leaves_does_not_end_the_run(
    server: ServerHandle, tmp_path: Path
) -> None:
    async with working() as desk:
        session = a_session(tmp_path, desk, server=server)
        session.log({"i": 1})
        assert (await answered(session.finish(None, 60.0))).complete
    async with connect(server) as client:
        assert (await client.run("r"))["state"] == "running"
