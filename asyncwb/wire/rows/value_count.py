"""How many values a JSON text holds, counted without reading it.

A document is bounded in bytes and in levels; these say little of what reading it costs. 15 MB may
be one long text, or 7,000,000 numbers, which hold the interpreter for a second: no other thread,
and no event loop, goes on while a parser makes objects of them. So whoever takes in a document
asks here first, and refuses one of more than `MAX_VALUES` before anything is made of it.
"""

from __future__ import annotations

from typing import Final

MAX_VALUES: Final = 300_000
"""values and names that one document (a config, a summary, a logged row) may have: reading as many
takes 0.01 (numbers in a list) to 0.1 s (names, each another one). A summary of 100,000 numbers has
200,001"""

_PARTS: Final = b",:[{"
"""a value or a name goes with each of these"""
_PIECE: Final = 2**20
"""bytes looked at in one step; other threads go on between two"""


def has_too_many(text: bytes | bytearray | str, most: int = MAX_VALUES) -> bool:
    """Tell whether a JSON text holds more than `most` values, as `count` counts them.

    Costs nothing for a text that is too short for them, and some 2 ns a byte for others; up to
    10 ns where it has as many commas and brackets, and they might stand inside strings.
    """
    if len(text) <= most:  # each has a character that no other one has
        return False
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    separators = text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")
    return separators >= most and count(text) > most


def count(text: bytes | bytearray) -> int:
    """Count the values of a JSON text: numbers, strings, bools, nulls, lists and mappings, at any
    level, the outermost included; an empty list or mapping counts as two. The names in a mapping
    count as well: to read one takes longer than a number.

    Of what is no JSON the result is not less than what a parser meets before it stops.

    >>> count(b'{"loss": 0.5, "classes": ["a, b", "c"]}')
    7
    """
    import numpy as np  # here: who starts a run does not wait for it

    is_part = np.isin(np.arange(256), list(_PARTS))
    # There are backslashes in strings only: without the escaped ones and the escaped quotes every
    # quote begins or ends a string.
    plain = np.frombuffer(text.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    found, inside = 1, False
    for at in range(0, len(plain), _PIECE):
        piece = plain[at : at + _PIECE]
        within = np.logical_xor.accumulate(piece == ord('"')) ^ inside
        parts = is_part[piece]
        found += int(np.count_nonzero(parts & ~within))
        inside = bool(within[-1])
    return found
