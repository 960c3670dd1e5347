"""To say something to the user never raises, and never waits for long."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest

from asyncwb.engine.notices import Notices, caution


class _Stream:
    """A program's own stderr, with only what print() needs."""

    def __init__(self, write: Any) -> None:
        self.write = write

    def flush(self) -> None:
        """Be a file, as far as print() is concerned."""


def _fail(error: type[BaseException]) -> Any:
    def write(_text: str) -> None:
        raise error("no")

    return write


@pytest.mark.parametrize(
    "stderr",
    [None, object(), *(_Stream(_fail(e)) for e in (OSError, RuntimeError, KeyboardInterrupt))],
    ids=["None", "no file", "OSError", "RuntimeError", "KeyboardInterrupt"],
)
def test_what_cannot_be_said_is_dropped(stderr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        Notices().warn("lost")
        patch.setattr(sys, "stderr", _Stream(said.append))
        Notices().warn("kept")
    assert said == ["asyncwb: kept\n"]


def test_nobody_waits_for_a_stderr_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    said: list[str] = []
    all_said = threading.Event()

    def write(text: str) -> None:
        goes_on.wait()
        said.append(text)
        if "150" in text or len(said) > 100:
            all_said.set()

    monkeypatch.setattr(sys, "stderr", _Stream(write))
    notices = Notices()
    for number in range(151):
        notices.tell(str(number))  # would never return
    assert not said
    goes_on.set()
    assert all_said.wait(60)
    assert said[:2] == ["asyncwb: 0\n", "asyncwb: 1\n"]
    assert len(said) == 101, "what waits is bounded: the one under way, and 100 more"


def test_what_is_said_stands_before_what_is_printed_next(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    for number in range(50):
        Notices().tell(f"{number} \udcff")
        os.write(2, b"next\n")
    lines = capfd.readouterr().err.splitlines()
    assert lines == [x for n in range(50) for x in (f"asyncwb: {n} \\udcff", "next")]


def test_a_pipe_without_a_reader_does_not_kill_the_program(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    reader, writer = os.pipe()
    kept = os.dup(2)
    try:
        os.close(reader)
        os.dup2(writer, 2)
        Notices().warn("lost")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writer)
        signal.signal(signal.SIGPIPE, before)


def test_a_caution_is_a_warning_or_else_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="mind this") as caught:
        (lambda: caution("mind this"))()
    assert caught[0].filename == __file__
    caution("mind that")  # here they are errors
    assert capsys.readouterr().err == "asyncwb: mind that\n"
