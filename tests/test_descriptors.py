"""The descriptors that others write to: none of them is left for a file of ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FILLS = """
import os
from asyncwb.descriptors import fill_standard_descriptors
os.closerange(0, {closed})
fill_standard_descriptors()
for fd in range({closed}):
    assert os.path.realpath(f"/proc/self/fd/{{fd}}") == os.devnull
assert os.open(os.devnull, os.O_RDONLY) > 2
"""


@pytest.mark.parametrize("closed", [0, 1, 3])
def test_what_is_closed_becomes_the_null_device(closed: int) -> None:
    done = subprocess.run([sys.executable, "-c", _FILLS.format(closed=closed)], check=False)
    assert done.returncode == 0
