"""What only its owner may read: closed from the first byte, whatever stood there before."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncwb.private import close_to_others, make_private_folder, write_private


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Give a folder that every user can reach and read, under an ordinary umask."""
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_that_is_missing_is_made_for_its_owner_alone(open_place: Path) -> None:
    make_private_folder(open_place / "a" / "b" / "c")
    assert [mode(open_place / one) for one in (".", "a", "a/b", "a/b/c")] == [0o755, *[0o700] * 3]
    make_private_folder(open_place)
    assert mode(open_place) == 0o755
    (open_place / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_private_folder(open_place / "file")


def test_a_folder_that_is_empty_or_ours_is_closed(open_place: Path) -> None:
    close_to_others(open_place, "mark")
    assert mode(open_place) == 0o700
    open_place.chmod(0o750)
    (open_place / "mark").touch()
    (open_place / "more").touch()
    close_to_others(open_place, "other", "mark")
    assert mode(open_place) == 0o700


def test_a_folder_of_other_things_is_refused_as_it_is(open_place: Path) -> None:
    (open_place / "letters").mkdir()
    with pytest.raises(PermissionError, match=f"chmod 700 {open_place}"):
        close_to_others(open_place, "mark")
    assert mode(open_place) == 0o755


def test_a_folder_that_nobody_else_reaches_is_left_alone(open_place: Path) -> None:
    inner = open_place / "inner"
    inner.mkdir()
    (inner / "letters").touch()
    open_place.chmod(0o700)
    close_to_others(inner, "mark")
    assert mode(inner) == 0o755


def test_a_folder_of_another_user_is_refused(
    open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: open_place.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        close_to_others(open_place, "mark")
    assert mode(open_place) == 0o755


def test_a_private_file_replaces_what_was_there(open_place: Path) -> None:
    (open_place / "key").write_text("old, for everybody")
    write_private(open_place / "key", b"new")
    assert ((open_place / "key").read_bytes(), mode(open_place / "key")) == (b"new", 0o600)
    assert [path.name for path in open_place.iterdir()] == ["key"]
