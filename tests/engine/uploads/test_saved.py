"""What is noted of saved files: it survives a kill, and any number of processes that write it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.engine.journal.folder import Description, RunFolder
from asyncwb.engine.uploads.saved import GONE, Link, Mark, Policy, Saved, SavedFile, Seen
from asyncwb.errors import Error

HERE, THERE = "http://here", "http://there"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    made = RunFolder.create(tmp_path, Description(None, "p", "r", "w", "online", None, 0.0))
    yield made
    made.unlock()


def write(folder: RunFolder, name: str, content: bytes = b"x") -> Seen:
    """Put a file into `run.dir`; returns its version."""
    path = folder.files / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Saved(folder).seen(name)


class Call(NamedTuple):
    """What may happen to a file: `what` is "save", "change", "send" or "fail"."""

    what: str
    policy: Policy = "now"


_CALLS = st.one_of(
    st.builds(Call, st.just("save"), st.sampled_from(["now", "live", "end"])),
    st.builds(Call, st.sampled_from(["change", "send", "fail"])),
)


@given(st.sampled_from(["now", "live", "end"]), st.lists(_CALLS, max_size=12))
def test_what_is_sent_follows_the_policy(policy: Policy, calls: list[Call]) -> None:
    file, version = SavedFile("f", policy), 0
    asked, sent = True, -1  # the model: `save()` waits for an answer; the version that was sent
    delivered = False
    for call in calls:
        match call.what:
            case "save":
                file, policy, asked = file.ask(call.policy, linked=True), call.policy, True
                delivered = False
            case "change":
                version += 1
            case "send" | "fail":
                error = "no" if call.what == "fail" else None
                file = file.marked(HERE, Mark(file.asked, (1, version), error))
                asked, sent, delivered = False, version, error is None
        for ended in (False, True):
            due = asked or (policy != "now" and sent != version)
            due = due and (ended or policy != "end")
            assert file.is_due(HERE, (1, version), ended=ended) == due
        assert file.is_sent(HERE) == delivered
        assert (file.error_at(HERE) is None) == (asked or delivered)
        assert file.is_due(THERE, (1, version), ended=True), "each server by itself"
    assert file.linked == any(call.what == "save" for call in calls)


def test_a_last_version_is_not_followed_by_another() -> None:
    file = SavedFile("f", "live").marked(HERE, Mark(1, (1, 1), last=True))
    assert not file.is_due(HERE, (1, 2), ended=True)
    assert file.ask("live", linked=False).is_due(HERE, (1, 2), ended=False)


def test_a_kill_at_any_byte_leaves_what_was_there(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Saved(folder).add([Link("a", "now", linked=True)])
    before, write_bytes = Saved(folder).read(), Path.write_bytes
    size = 0

    def cut_short(path: Path, data: Any) -> int:
        nonlocal size
        size = len(data)
        write_bytes(path, bytes(data)[:n])
        raise Killed

    n = 0
    while n <= size:
        monkeypatch.setattr(Path, "write_bytes", cut_short)
        with pytest.raises(Killed):
            Saved(folder).mark(HERE, {"a": Mark(1, (1, n))})
        monkeypatch.undo()
        assert Saved(folder).read() == before, f"killed after {n} bytes"
        n += 1
    assert n > 50
    Saved(folder).mark(HERE, {"a": Mark(1, (1, 1))})
    assert Saved(folder).read()["a"].is_sent(HERE), "and it goes on"
    assert sorted(path.name for path in folder.path.glob("files.*")) == ["files.json", "files.lock"]


def test_a_change_that_fails_is_none(folder: RunFolder) -> None:
    saved = Saved(folder)
    saved.add([Link("a", "now", linked=True)])
    with contextlib.suppress(ZeroDivisionError), saved.edit() as files:
        del files["a"]
        raise ZeroDivisionError
    assert [*saved.read()] == [*Saved(folder).read()] == ["a"]


_ADDS = """
import sys
from pathlib import Path
from asyncwb.engine.journal.folder import RunFolder
from asyncwb.engine.uploads.saved import Link, Mark, Saved
saved, me = Saved(RunFolder(Path(sys.argv[1]))), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(100):
    saved.add([Link("shared", "now", linked=False), Link(me, "live", linked=True)])
    saved.mark(me, {"shared": Mark(i, (i, i)), me: Mark(i, (i, i)), "unknown": Mark(i, (i, i))})
"""


def test_two_processes_write_at_once_and_nothing_is_lost(folder: RunFolder) -> None:
    command = [sys.executable, "-c", _ADDS, str(folder.path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    reader = Saved(folder)
    reader.add([Link("shared", "now", linked=False)])
    with (
        subprocess.Popen([*command, "a"], **pipes) as one,
        subprocess.Popen([*command, "b"], **pipes) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        while one.poll() is None or other.poll() is None:
            assert reader.read()["shared"].asked >= 1, "whole at any time"
    assert (one.returncode, other.returncode) == (0, 0)
    files = reader.read()
    assert {name: file.asked for name, file in files.items()} == {"shared": 201, "a": 100, "b": 100}
    assert {*files["shared"].marks} == {"a", "b"}
    assert all(mark.seen == (99, 99) for file in files.values() for mark in file.marks.values())
    assert files == Saved(folder).read()


def test_one_sends_at_a_time(folder: RunFolder) -> None:
    one, other = Saved(folder), Saved(folder)
    assert one.hold()
    assert one.hold(), "it is mine"
    assert not other.hold()
    child = os.dup(one._sending)  # what a forked child has
    one.let_go()
    assert other.hold(), "the child sends nothing"
    os.close(child)
    parent = os.dup(other._sending)
    other.forget()  # in the child
    assert not one.hold(), "the parent goes on"
    os.close(parent)
    assert one.hold()
    one.let_go()


def test_what_others_write_is_seen(folder: RunFolder) -> None:
    one, other = Saved(folder), Saved(folder)
    assert one.read() == {}
    for i in range(1, 4):
        other.add([Link("f", "now", linked=False)])
        assert one.read()["f"].asked == i
    assert one.read() is one.read(), "as long as nothing has changed"


_ENTRY = '{"policy": "now", "asked": 1, "linked": true, "marks": %s}'
DAMAGED = [
    "",
    "{",
    "null",
    "5",
    "[]",
    '{"f": 5}',
    '{"f": []}',
    '{"f": {}}',
    '{"f": %s}' % _ENTRY.replace("%s", "[]"),  # noqa: UP031
    '{"f": %s}' % _ENTRY.replace("%s", '{"s": []}'),  # noqa: UP031
    '{"f": %s}' % _ENTRY.replace("%s", '{"s": {"asked": 1}}'),  # noqa: UP031
]


@pytest.mark.parametrize("text", DAMAGED)
def test_what_is_damaged_is_said_and_stays(folder: RunFolder, text: str) -> None:
    path = folder.path / "files.json"
    path.write_text(text)
    saved = Saved(folder)
    for use in (
        saved.read,
        saved.waiting,
        saved.clear,
        lambda: saved.add([Link("f", "now", linked=True)]),
    ):
        with pytest.raises(Error, match=r"files\.json cannot be read .* They are untouched"):
            use()
    assert path.read_text() == text


def test_every_truncation_is_damage(folder: RunFolder) -> None:
    saved, path = Saved(folder), folder.path / "files.json"
    saved.add([Link("f", "now", linked=True), Link("g", "live", linked=False)])
    saved.mark(HERE, {"f": Mark(1, (1, 1))})
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(Error):
            Saved(folder).read()


@pytest.mark.parametrize(
    ("mark", "waits"),
    [
        (lambda seen: Mark(1, seen), False),
        (lambda seen: Mark(1, seen, last=True), False),
        (lambda seen: Mark(1, (9, 9)), True),
        (lambda seen: Mark(0, seen), True),
        (lambda seen: Mark(1, seen, "refused"), True),
    ],
    ids=["sent", "sent for the last time", "changed since", "named again", "refused"],
)
def test_what_waits_is_not_cleared_away(
    folder: RunFolder, mark: Callable[[Seen], Mark], waits: bool
) -> None:
    saved = Saved(folder)
    seen = write(folder, "deep/mine"), write(folder, "deep/linked")
    links = [Link("deep/mine", "live", linked=False), Link("deep/linked", "live", linked=True)]
    saved.add(links)
    assert [file.name for file in saved.waiting()] == ["deep/mine", "deep/linked"]
    saved.mark(HERE, {"deep/mine": Mark(1, seen[0]), "deep/linked": mark(seen[1])})
    assert [file.name for file in saved.waiting()] == ["deep/linked"] * waits
    saved.clear()
    assert (folder.files / "deep/mine").exists(), "the user's own"
    assert (folder.files / "deep/linked").exists() == waits
    assert [*saved.read()] == ["deep/linked"] * waits
    assert (folder.path / "files.json").exists() == waits


def test_a_file_that_is_gone_waits_until_a_server_was_told(folder: RunFolder) -> None:
    saved = Saved(folder)
    saved.add([Link("f", "live", linked=True)])
    assert saved.seen("f") == GONE
    assert [file.name for file in saved.waiting()] == ["f"]
    saved.mark(HERE, {"f": Mark(1, GONE, "there is no such file")})
    assert saved.waiting() == []
    write(folder, "f")
    assert [file.name for file in saved.waiting()] == ["f"], "it has come back"
    (folder.files / "f").unlink()
    saved.clear()
    assert not folder.files.exists(), "nothing was in it"
    folder.remove_if_empty()
    assert not folder.path.exists()
