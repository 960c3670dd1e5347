"""How a run ended as far as this process goes: plain values, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple


class Others(NamedTuple):
    """Writers of this machine that logged to the same run: most of the time children of this
    process, or another `Run` of it.

    `sent`: how many had left something when they ended, which has been sent by now; `lost`: rows
    of theirs that are gone; `waiting`: run folders that they left and that are not all at the
    server, with the reason; `live`: how many are at work on it still; `unknown`: why nobody could
    look for them, None where that was done.
    """

    sent: int = 0
    lost: int = 0
    waiting: Mapping[Path, str] = MappingProxyType({})
    live: int = 0
    unknown: str | None = None


class Ending(NamedTuple):
    """Whether the server has all that this process said (offline: the disk), and of the others."""

    complete: bool
    others: Others = Others()
