"""Text in the tables of queries: without NUL, which PostgreSQL does not hold, and searchable.

`stored_text` is one to one and keeps the order, so that stored texts compare as the originals do.
"""

from __future__ import annotations

from typing import Final

from asyncwb.server.queries.conditions import searcher
from asyncwb.server.queries.document import short

ESCAPE: Final = "\x01"
"""what stands in a stored text before what is not itself"""


def stored_text(text: str) -> str:
    """Return text as the tables hold it."""
    if "\x00" not in text and "\x01" not in text:
        return text
    return text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")


def original_text(text: str) -> str:
    """Return what `stored_text` was given."""
    if "\x01" not in text:
        return text
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01")


def stored_path(path: str) -> str:
    """Return a path as the tables hold it: bounded."""
    return stored_text(short(path))


def re2_search(pattern: str, text: str | None) -> bool:
    """Tell whether a pattern is found in a stored text; SQLite knows it under this name."""
    return text is not None and bool(searcher(pattern)(original_text(text)))


def storable(text: str) -> str:
    """Return text that both databases can hold: no NUL, no lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def is_storable(*texts: str) -> bool:
    """Tell whether both databases can hold the texts as they are."""
    return all(storable(text) == text for text in texts)
