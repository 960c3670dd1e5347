"""How this process is about to end: with which exit code, as far as Python's exit has begun.

An uncaught exception is left in `sys.last_value`, whatever `sys.excepthook` is. An uncaught
SystemExit (`sys.exit(3)`, `exit(3)`, `raise SystemExit(3)`) leaves nothing and calls nothing: the
interpreter only reads its `code`, with no Python code running any more, and exits. So `code` is
read through a descriptor of ours, which notes what is asked for from there; one that is caught, or
only ends its thread, is not noted. A built-in type is changed by way of its dictionary, since there
is no other door; what the attribute does for anybody else stays as it is.

Before Python 3.12 `sys.exit` raises something that has no such attribute as long as nobody looks at
it, so it is replaced by a function that raises it in full. One that was imported from `sys` before
the first run goes unnoticed there. ctypes costs 3 ms here, and numpy needs it anyway.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable
from types import MemberDescriptorType
from typing import NoReturn


class ProcessEnd:
    """Notes how the process ends, once it watches.

    Mutable state: `_exits`, the code of each SystemExit that nobody caught; `_before`, what was in
    `sys.last_value` already; `_child`, the exit code of a child of `multiprocessing`.
    """

    def __init__(self) -> None:
        self._exits: list[object] = []
        self._before: object = None
        self._child: int | None = None

    def watch(self) -> None:
        """Begin to watch; to be called once."""
        self._before = getattr(sys, "last_value", None)
        sys.exit = _exit
        if sys.implementation.name == "cpython":
            _watch_system_exit(self._exits.append)
        try:
            threading._register_atexit(self._note_child)  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError):  # a foreign implementation, or nearly gone
            return

    @property
    def error(self) -> BaseException | None:
        """What ends the process; None where it ends by itself."""
        if self._child is not None:
            return SystemExit(self._child)
        if self._exits:
            return SystemExit(self._exits[-1])
        last = getattr(sys, "last_value", None)
        interactive = sys.flags.interactive or hasattr(sys, "ps1")  # there it ends nothing
        return None if interactive or last is self._before else last

    def _note_child(self) -> None:
        """In a child of `multiprocessing`: note the code that it has settled on."""
        module = sys.modules.get("multiprocessing.process")
        frame = sys._getframe()
        while module is not None and frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code is module.BaseProcess._bootstrap.__code__:
                self._child = frame.f_locals.get("exitcode")


def _exit(status: object = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status); replaces `sys.exit`."""
    raise SystemExit if status is None else SystemExit(status)


def _watch_system_exit(note: Callable[[object], None]) -> None:
    attributes = gc.get_referents(SystemExit.__dict__)[0]
    attributes["code"] = _Code(attributes["code"], note)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))


class _Code:
    """`SystemExit.code`, which also notes when the interpreter itself asks for it."""

    def __init__(self, original: MemberDescriptorType, note: Callable[[object], None]) -> None:
        self._original = original
        self._note = note
        self.__doc__ = original.__doc__

    def __get__(self, error: SystemExit | None, kind: type[SystemExit] | None = None) -> object:
        if error is None:
            return self
        code = self._original.__get__(error, kind)
        try:
            sys._getframe(1)
        except ValueError:  # nobody called: the process ends
            self._note(code)
        return code

    def __set__(self, error: SystemExit, code: object) -> None:
        self._original.__set__(error, code)

    def __delete__(self, error: SystemExit) -> None:
        self._original.__delete__(error)
