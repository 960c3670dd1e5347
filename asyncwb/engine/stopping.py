"""Stopping a program whose run is to stop: Ctrl-C, sent by the engine's thread.

It is a signal to the main thread and not an exception set from outside, so it also ends a
`time.sleep` or a wait for a socket, runs the program's own handler of SIGINT where it has one,
and lets asyncio cancel its main task first.
"""

from __future__ import annotations

import signal
import threading


def interrupt_main() -> None:
    """Interrupt the main thread as Ctrl-C would; never waits."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
    else:  # Windows, where raising it in any thread reaches the main one
        signal.raise_signal(signal.SIGINT)
