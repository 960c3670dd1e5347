"""One virtual environment a rival, under `.venvs/`, from the pinned requirements beside it."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from bench.rivals import AT_HOME, CLASSES, SHARED

ROOM = Path(__file__).parent
ENVIRONMENTS = ROOM / ".venvs"


def python_of(rival: str) -> Path:
    """Return the interpreter that a rival is measured in."""
    if rival in AT_HOME:
        return Path(sys.executable)
    return ENVIRONMENTS / SHARED.get(rival, rival) / "bin" / "python"


def installed(rival: str) -> bool:
    """Tell whether the rival's environment is there; `setup` makes it."""
    return python_of(rival).exists()


def requirements_of(rival: str) -> Path:
    """Return the file that pins the rival and all it brings."""
    return ROOM / "rivals" / f"requirements-{rival}.txt"


def setup(rival: str) -> None:
    """Make the rival's environment and install what it needs; some 100 to 250 MB each.

    Raises subprocess.CalledProcessError if pip fails; running it again is safe.
    """
    if rival in AT_HOME:
        return
    if not installed(rival):
        venv.create(ENVIRONMENTS / rival, with_pip=True)
    pip = [str(python_of(rival)), "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--requirement", str(requirements_of(rival))], check=True)


def others() -> list[str]:
    """Return the rivals that need an environment of their own."""
    return [name for name in CLASSES if name not in AT_HOME and name not in SHARED]
