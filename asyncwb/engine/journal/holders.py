"""Who holds an object's lock: told from the stacks of the threads, since a lock does not know.

That is for the rare case, when it is found gone: a signal handler or a finaliser that logs in the
middle of a `log()`, or an interrupt that came between taking the lock and entering the `try`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Container
from types import CodeType, FrameType


def is_held(
    owner: object, holders: Container[CodeType], waiting: CodeType, taker: int | None
) -> bool:
    """Tell whether another thread is in a method of `owner` that holds its lock (`holders`), other
    than waiting for it; of `taker`, the last thread that waited with success, that is not known."""
    for thread, top in sys._current_frames().items():
        if thread == threading.get_ident():
            continue
        frame: FrameType | None = top
        while frame is not None and (frame.f_code is not waiting or thread == taker):
            if frame.f_code in holders and frame.f_locals.get("self") is owner:
                return True
            frame = frame.f_back
    return False


def is_reentered(owner: object, holders: Container[CodeType], frame: FrameType | None) -> bool:
    """Tell whether this thread, from `frame` up, is in such a method."""
    while frame is not None:
        if frame.f_code in holders and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False
