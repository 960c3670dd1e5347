"""What the engine says to the user: one line to stderr, and never the same twice.

To say something can neither fail nor hold anybody up. stderr may be closed, full, a pipe that
nobody reads, or an object of the program's own that raises or logs to a run itself. So lines are
written by a thread of its own (`Printer`); whoever says one waits for a moment that it is out, so
that it stands before what the program prints next. What cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from queue import SimpleQueue
from typing import Any, Final

from asyncwb.printable import printable

_PREFIX: Final = "asyncwb: "
_MOST_WAITING: Final = 100
_MOMENT: Final = 0.25
"""seconds for which a line is waited for: far more than it takes where stderr takes lines"""


class Printer:
    """Writes lines to stderr on a daemon thread, which alone waits for it.

    Mutable state: `_lines` (each with what is set once it is out), `_thread`, `_stuck`: a line has
    been waited for in vain, so that nobody waits until it is out.
    """

    def __init__(self) -> None:
        self._lines: SimpleQueue[tuple[str, threading.Event]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck = False

    def start(self) -> None:
        """Start the thread, unless it runs: early, since an interpreter that exits starts none."""
        if self._thread is None:
            thread = threading.Thread(target=self._main, name="asyncwb-notices", daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def say(self, line: str) -> None:
        """Have a line written; waits for it for a moment, and never raises."""
        self.start()
        if self._thread is None or self._lines.qsize() >= _MOST_WAITING:
            return
        out = threading.Event()
        self._lines.put((line, out))
        if not self._stuck and threading.current_thread() is not self._thread:
            self._stuck = not out.wait(_MOMENT)

    def _main(self) -> None:
        # A program may have SIGPIPE kill it, as `cat` does: not for a line of ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        while True:
            line, out = self._lines.get()
            with contextlib.suppress(BaseException):  # whatever stderr is, and does
                _write(line)
            self._stuck = False
            out.set()


def _write(line: str) -> None:
    stderr: Any = sys.stderr
    plain = stderr is sys.__stderr__
    if stderr is None or getattr(stderr, "closed", False):
        return
    if not plain:
        stderr.write(f"{line}\n")
        stderr.flush()
        return
    # Past its buffer, whose lock an exiting interpreter wants to have: it would wait for a pipe
    # that nobody reads, and abort.
    data = f"{line}\n".encode(stderr.encoding, "backslashreplace")
    while data:
        data = data[os.write(stderr.fileno(), data) :]


_printer = Printer()


def _forget_after_fork() -> None:
    global _printer
    _printer = Printer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class Notices:
    """Prints lines for one run; `silent` says nothing, `quiet` only warnings.

    `advice` is put at every warning's end: where the data is and how to go on.
    """

    def __init__(self, *, silent: bool = False, quiet: bool = False) -> None:
        self._silent = silent
        self._quiet = quiet
        self._said: set[str] = set()
        self.advice = ""
        if not silent:
            _printer.start()

    def tell(self, text: str) -> None:
        """Print a line that is no warning."""
        if not self._silent and not self._quiet:
            _say(text)

    def warn(self, text: str, *, advise: bool = True) -> None:
        """Print a warning; `advise`: with the advice that stands for this run."""
        if not self._silent:
            line = f"{text} {self.advice}".rstrip() if advise else text
            _say(line)

    def warn_once(self, topic: str, text: str, *, advise: bool = True) -> None:
        """Print a warning the first time that its topic comes up."""
        if topic not in self._said:
            self._said.add(topic)
            self.warn(text, advise=advise)


def _say(text: str) -> None:
    # Servers and other people's runs have their words in it.
    _printer.say(f"{_PREFIX}{printable(text, lines=True)}")


def caution(text: str) -> None:
    """Warn the caller of the function that calls this, through the module `warnings`.

    Where the program has made errors of warnings, or shows them in a way that fails, it is a line
    on stderr: what was asked for is there, and shall not be lost for a remark about it.
    """
    try:
        warnings.warn(text, stacklevel=3)
    except Exception:
        Notices().warn(text)
