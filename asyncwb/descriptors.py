"""The descriptors 0, 1 and 2, which the C library and the programs of users write to unasked.

A process that was started without them (`2>&-`, some daemons) gives their numbers to the files
that it opens next: a warning that a library prints would overwrite a journal.
"""

from __future__ import annotations

import os


def fill_standard_descriptors() -> None:
    """Have the null device at each of 0, 1 and 2 that is closed; costs some microseconds.

    Raises OSError where no descriptor is left.
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        pass
    os.close(fd)
