"""The order of metrics on the page: by section, as people count.

A section is the text before the last slash of a name. Names without one come first, the system's
last; layer2 stands before layer10, and accents and capitals make no difference unless all else is
the same. The page shows names in the order in which the server says them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from asyncwb.wire.rows.keys import display

_UNGROUPED: Final = "charts"
"""the section of names without one"""
_NUMBER: Final = re.compile(r"\d+", re.ASCII)


def ordered(keys: Iterable[str]) -> Iterator[str]:
    """Yield keys (paths) in order. Only the sections that are reached are put in order inside."""
    sections: dict[str, list[str]] = {}
    for key in keys:
        sections.setdefault(_section(display(key)), []).append(key)
    for section in sorted(sections, key=_place_of_section):
        yield from sorted(sections[section], key=_place)


def _section(name: str) -> str:
    return name.rpartition("/")[0] or _UNGROUPED


def _place_of_section(section: str) -> tuple[int, str, str]:
    system = section == "system" or section.startswith("system/")
    rank = 0 if section == _UNGROUPED else 2 if system else 1
    return rank, _folded(section), section


def _place(key: str) -> tuple[str, str]:
    name = display(key)
    return _folded(name), name


def _folded(text: str) -> str:
    """Return a text whose plain order is the natural order of names."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in parts if not unicodedata.combining(c))
    return _NUMBER.sub(_by_length, text.lower())


def _by_length(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0") or "0"
    return f"0{chr(32 + min(90, len(digits)))}{digits}"
