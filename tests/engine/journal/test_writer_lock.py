"""One at a time, whoever comes, and nobody waits for ever."""

from __future__ import annotations

import threading

from asyncwb.engine.journal.writer_lock import Token


def test_one_at_a_time() -> None:
    token, inside, most, count = Token(), 0, 0, 0

    def work() -> None:
        nonlocal inside, most, count
        for _ in range(2000):
            while not token.take():
                token.wait(30.0)
            inside += 1
            most = max(most, inside)
            count += 1
            inside -= 1
            token.give()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, count, token.is_taken) == (1, 8000, False)


def test_who_finds_it_taken_gives_up() -> None:
    token = Token()
    assert token.take()
    assert token.is_taken
    assert not token.take()
    token.wait(0.001)
    assert not token.take()
    token.give()
    token.give()  # once too often: there is still only one
    assert token.take()
    assert not token.take()
