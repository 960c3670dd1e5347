"""SQLite's write-ahead log: damage that SQLite does not speak of is found, and nothing else is."""

from __future__ import annotations

import io
import random
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.store.write_ahead_log import LogDamage, find_damage

PAGE = 512
FRAME = 24 + PAGE
COMMITS = 6


@dataclass(frozen=True)
class Killed:
    """The files of a database as a process leaves them that is killed, and a place to open them."""

    folder: Path
    database: bytes
    log: bytes
    index: bytes

    def rows(self, log: bytes) -> list[int]:
        """Return what SQLite reads with another log."""
        file = self.folder / "read.db"
        file.write_bytes(self.database)
        (self.folder / "read.db-wal").write_bytes(log)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]

    def damage(self, log: bytes, *, index: bool = True) -> LogDamage | None:
        """Look at another log, with the index that was beside the first or without one."""
        return find_damage(io.BytesIO(log), self.index if index else b"")


def written(folder: Path, *, page: int = PAGE) -> sqlite3.Connection:
    """Open a new database, with a table, whose log is empty and nothing empties but the test."""
    connection = sqlite3.connect(folder / "a.db", isolation_level=None)
    for pragma in (f"page_size={page}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE t (n INTEGER, text TEXT)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return connection


def add(connection: sqlite3.Connection, first: int, count: int) -> None:
    """Commit some rows, one in a transaction."""
    for n in range(first, first + count):
        connection.execute("INSERT INTO t VALUES (?, ?)", (n, f"row {n} " * 60))


def as_killed(folder: Path) -> Killed:
    """Copy the files of a database that is open."""
    parts = ((folder / f"a.db{end}").read_bytes() for end in ("", "-wal", "-shm"))
    return Killed(folder, *parts)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Six transactions in the log of a process that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    with closing(written(folder)) as connection:
        add(connection, 0, COMMITS)
        return as_killed(folder)


def ends(log: bytes) -> Iterator[int]:
    """Yield the byte at which each transaction ends."""
    for start in range(32, len(log), FRAME):
        if struct.unpack_from(">I", log, start + 4)[0]:
            yield start + FRAME


def flipped(log: bytes, byte: int, bit: int) -> bytes:
    """Return a log with one bit changed."""
    return log[:byte] + bytes([log[byte] ^ 1 << bit]) + log[byte + 1 :]


def test_a_log_that_is_whole_is_not_damaged(killed: Killed) -> None:
    assert killed.rows(killed.log) == list(range(COMMITS))
    assert killed.damage(killed.log) is None
    assert killed.damage(killed.log, index=False) is None
    assert len(list(ends(killed.log))) == COMMITS


def test_a_bit_flipped_in_any_byte_loses_rows_and_is_named(killed: Killed) -> None:
    chance = random.Random(1)
    for byte in range(len(killed.log)):
        log = flipped(killed.log, byte, chance.randrange(8))
        damage = killed.damage(log)
        assert damage is not None, f"byte {byte} is another one, and nothing says so"
        start = 0 if byte < 32 else byte - (byte - 32) % FRAME
        assert damage.offset == start
        if byte - start >= 32 and byte % 10:
            continue  # to ask SQLite about each byte of a page takes long
        rows = killed.rows(log)
        assert rows == list(range(len(rows)))
        assert len(rows) < COMMITS
        # One more or less where the bit is in the mark of a commit.
        assert abs(damage.lost - (COMMITS - len(rows))) <= 1


@given(data=st.data())
def test_without_the_index_all_but_the_last_transaction_is_proven(
    killed: Killed, data: st.DataObject
) -> None:
    byte = data.draw(st.integers(0, len(killed.log) - 1))
    log = flipped(killed.log, byte, data.draw(st.integers(0, 7)))
    *_, before_last, _ = ends(killed.log)
    # With the checksum that the last one goes on from, it does not fit either.
    if killed.damage(log, index=False) is None:
        assert byte >= before_last - FRAME
        assert len(killed.rows(log)) >= COMMITS - 2


def test_a_log_cut_short_at_any_byte_is_named_where_it_was_committed(killed: Killed) -> None:
    for size in range(len(killed.log)):
        log = killed.log[:size]
        whole = sum(end <= size for end in ends(killed.log))
        assert killed.damage(log, index=False) is None, "a torn end is no damage"
        if size % 10 == 0 or (size - 32) % FRAME in (0, 1, 24, 25):
            assert killed.rows(log) == list(range(whole))
        if size >= 32:
            assert killed.damage(log) is not None, "the index knows that more was committed"


def test_what_was_never_committed_is_no_damage(tmp_path: Path) -> None:
    with closing(written(tmp_path)) as connection:
        add(connection, 0, 2)
        connection.execute("PRAGMA cache_size=2")
        connection.execute("BEGIN")
        add(connection, 2, 40)  # more than the cache holds: written before the commit
        left = as_killed(tmp_path)
        assert len(left.log) > 40 * FRAME
        for log in (left.log, left.log[: len(left.log) // 2], flipped(left.log, -2000, 3)):
            assert left.rows(log) == [0, 1]
            assert left.damage(log) is None
        connection.execute("ROLLBACK")
        add(connection, 2, 2)  # over the beginning of it; the rest stays, with the same salts
        left = as_killed(tmp_path)
        assert left.rows(left.log) == [0, 1, 2, 3]
        assert left.damage(left.log) is left.damage(left.log, index=False) is None


def test_frames_of_a_former_use_of_the_file_are_no_damage(tmp_path: Path) -> None:
    with closing(written(tmp_path)) as connection:
        add(connection, 0, 20)
        former = as_killed(tmp_path)
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        add(connection, 20, 3)
        left = as_killed(tmp_path)
    assert len(left.log) > 20 * FRAME
    assert left.rows(left.log) == list(range(23))
    assert left.damage(left.log) is left.damage(left.log, index=False) is None
    begun = left.log[:32] + former.log[32:]  # killed when it had written the header alone
    assert left.damage(begun, index=False) is None
    for byte in range(32):
        for bit in range(8):
            assert left.damage(flipped(begun, byte, bit), index=False) is None
            damage = left.damage(flipped(left.log, byte, bit))
            assert damage is not None
            assert (damage.offset, damage.lost) == (0, 3)


@pytest.mark.parametrize("page", [512, 4096, 16384, 65536])
def test_pages_of_every_size_are_read(tmp_path: Path, page: int) -> None:
    with closing(written(tmp_path, page=page)) as connection:
        add(connection, 0, 30)
        left = as_killed(tmp_path)
    assert left.damage(left.log) is None
    first = 32 + 24 + page
    damage = left.damage(flipped(left.log, first + 100, 2), index=False)
    assert damage is not None
    assert damage.offset == (first if page > 512 else 32 + (first + 100 - 32) // FRAME * FRAME)


def test_the_index_of_another_log_says_nothing(killed: Killed) -> None:
    torn = killed.log[:-1]
    assert killed.damage(torn) is not None
    for byte in range(32, 40):  # the salts in both heads; then its own checksum does not fit
        index = flipped(flipped(killed.index, byte, 1), byte + 48, 1)
        assert find_damage(io.BytesIO(torn), index) is None
    assert find_damage(io.BytesIO(torn), killed.index[:3]) is None


def test_nothing_and_what_is_no_log_is_not_damaged(killed: Killed) -> None:
    for log in (b"", killed.log[:31], killed.log[:32], bytes(5000), b"\xff" * 5000):
        assert killed.damage(log, index=False) is None
