"""What a figure was taken on: the size and kind of the machine, nothing that names it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_GIB = 2**30


def describe() -> dict[str, Any]:
    """Return cores, CPU model, memory, system and Python of this machine."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """Return the CPU's model name as Linux gives it, else what Python knows of it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
