"""Stopping a program whose run is to stop: Ctrl-C, sent by the engine's thread.

It is a signal to the main thread and not an exception set from outside, so it also ends a
`time.sleep` or a wait for a socket, runs the program's own handler of SIGINT where it has one,
and lets asyncio cancel its main task first.

A program that was started with SIGINT ignored (`nohup`, `&` in a script, a batch system) shall
not feel the Ctrl-C of a terminal, nor shall what it starts, so SIGINT stays ignored. There SIGURG,
which does nothing by itself, raises the KeyboardInterrupt. Where that cannot be prepared (the run
was started on another thread, or SIGURG is taken) SIGTERM is sent, and SIGKILL where that is
ignored too: what was logged survives both.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Final

INTERRUPTS: Final = (signal.SIGINT, signal.SIGURG)
"""signals after which the program ends by itself, and its runs with it"""
_KINDEST_FIRST: Final = (*INTERRUPTS, signal.SIGTERM, signal.SIGKILL)
_asked: set[int] = set()
"""processes that were asked to stop: a forked child inherits the handler, not the request"""


def prepare() -> None:
    """Make sure that the main thread can be interrupted; for the thread that starts a run."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        and signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGURG, _interrupt)


def best_signal() -> signal.Signals:
    """Return the signal that ends this program, the kindest that it does not ignore."""
    return next(filter(_works, _KINDEST_FIRST))


def interrupt_main(number: signal.Signals) -> None:
    """Send `best_signal()` to the main thread, as Ctrl-C would; never waits."""
    main = threading.main_thread().ident
    assert main is not None
    _asked.add(os.getpid())
    signal.pthread_kill(main, number)


def _works(number: signal.Signals) -> bool:
    handler = signal.getsignal(number)
    if number is signal.SIGURG:
        return handler is _interrupt
    return handler is not signal.SIG_IGN


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if os.getpid() in _asked:  # anybody may send the signal
        _asked.clear()
        raise KeyboardInterrupt
