"""What is others' is shown by a terminal, and does nothing to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncwb.printable import counted, in_seconds, printable


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert printable(shown) == shown
    shown.encode()  # no lone surrogate


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("loss/train", "[bold]x[/b]", "Zoë", "日本語", "👩\u200d🔬", "a\\x1b"):
        assert printable(text) == text


def test_escapes_say_what_was_there() -> None:
    assert printable("a\x1b]0;x\x07b\u202ec\nd\te") == "a\\x1b]0;x\\x07b\\u202ec\\nd\\te"
    assert printable("a\n\x1bb", lines=True) == "a\n\\x1bb"


def test_a_span_of_time_is_written_as_it_was_given() -> None:
    spans = (0, 0.0004, 0.2, 1.25, 30, 60.0, 99.96, 3600, 1e6)
    told = ["0 s", "0.0004 s", "0.2 s", "1.25 s", "30 s", "60 s", "100 s", "3,600 s", "1,000,000 s"]
    assert [in_seconds(span) for span in spans] == told


def test_one_thing_is_spoken_of_in_the_singular() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 3000)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "3,000 rows",
    ]
    told = [counted(n, "file waits", "files wait") for n in (0, 1, 2)]
    assert told == ["0 files wait", "1 file waits", "2 files wait"]
