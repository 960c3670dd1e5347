"""The folder of one writer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from asyncwb.engine.folder import Description, RunFolder


def test_nobody_else_reads_what_a_run_keeps() -> None:
    described = Description(None, "p", "r1", "w", "offline", None, 0.0)
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            folder = RunFolder.create(Path(place) / "runs", described)
            folder.unlock()
            kept = [path.stat().st_mode & 0o077 for path in (folder.path, folder.path.parent)]
    finally:
        os.umask(before)
    assert kept == [0, 0]
