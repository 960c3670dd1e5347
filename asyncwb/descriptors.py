"""File descriptors: that there are some, and that 0, 1 and 2 are nobody's files.

The C library and the programs of users write to those three unasked.

A process that was started without them (`2>&-`, some daemons) gives their numbers to the files
that it opens next: a warning that a library prints would overwrite a journal.
"""

from __future__ import annotations

import contextlib
import errno
import os


def fill_standard_descriptors() -> None:
    """Have the null device at each of 0, 1 and 2 that is closed; costs some microseconds.

    Raises OSError where no descriptor is left.
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        pass
    os.close(fd)


def lacks_descriptors(error: OSError | None) -> bool:
    """Tell whether an error means that the process, or the machine, may open no more files."""
    return error is not None and error.errno in (errno.EMFILE, errno.ENFILE)


def require_descriptors(count: int) -> None:
    """See that a process may open `count` files more; costs some microseconds each.

    Raises OSError where it may not.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
