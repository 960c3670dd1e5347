"""One at a time, whoever comes, and nobody waits for ever."""

from __future__ import annotations

import threading

from asyncwb.engine.journal.writer_lock import WriterLock


def test_one_at_a_time() -> None:
    lock, inside, most, count = WriterLock(), 0, 0, 0

    def work() -> None:
        nonlocal inside, most, count
        for _ in range(2000):
            while not lock.take():
                lock.wait(30.0)
            inside += 1
            most = max(most, inside)
            count += 1
            inside -= 1
            lock.give()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, count, lock.is_taken) == (1, 8000, False)


def test_who_finds_it_taken_gives_up() -> None:
    lock = WriterLock()
    assert lock.take()
    assert lock.is_taken
    assert not lock.take()
    lock.wait(0.001)
    assert not lock.take()
    lock.give()
    lock.give()  # once too often: there is still only one
    assert lock.take()
    assert not lock.take()
