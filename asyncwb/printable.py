"""Texts of others, written so that a terminal shows them and does nothing else.

A name, an address or an error message may have been chosen by somebody who wants the terminal of
its reader to do something: escape sequences move the cursor, set titles and fill clipboards,
controls of direction and line feeds make a text look like another.
"""

from __future__ import annotations

from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""parts of words in some scripts, and of emoji"""


def printable(text: str, *, lines: bool = False) -> str:
    """Return a text with what is not printable written as an escape; `lines` keeps line feeds.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    kept = _JOINERS + "\n" * lines
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def counted(count: int, one: str, many: str | None = None) -> str:
    """Write how many there are, in the singular for one: "1 row", "2,000 rows".

    `many`: the plural, where it is not the singular and an "s".
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def in_seconds(span: float) -> str:
    """Write a span of time as it was given, to three digits: "0.2 s", "1.25 s", "3,600 s"."""
    return f"{span:,.0f} s" if span >= 100 else f"{span:.3g} s"
