"""RE2's patterns in the words of PostgreSQL, as far as both mean the same.

What is translated here runs where the texts are; a pattern that has anything else in it (flags but
a leading `(?i)`, named groups, classes by name, word boundaries) is not, and its texts have to be
read. Nor is what PostgreSQL may take long to prepare: large patterns, and `^` and `$` in groups.
The two differ in what `.` and the classes by letter match, in what is the same but for its
case, in what must be escaped, and in how large a count may be. Laziness is dropped: it changes what
is matched, not whether anything is.
"""

from __future__ import annotations

import string
from typing import Final

_LONGEST: Final = 1000
"""characters of a pattern"""
_LARGEST: Final = 100
"""characters, classes and groups that a pattern may have, each as often as counts repeat it.
PostgreSQL copies what they repeat, and takes minutes over what becomes large, or refuses it"""
_DEEPEST: Final = 5
"""groups within one another"""

_ANY_CASE: Final = "(?i)"
_ODD_CASES: Final = {"k": "\u212a", "s": "\u017f"}
"""letters beyond ASCII that RE2 takes for one of ASCII's in another case"""
_CLASSES: Final = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PLAIN: Final = frozenset(string.ascii_letters + string.digits + " ")
_QUANTIFIERS: Final = "*+?{"


class _Unknown(Exception):  # noqa: N818 - not a fault of anybody's
    """The pattern has something in it that is not translated."""


def as_postgres(pattern: str) -> str | None:
    r"""Return a pattern for PostgreSQL's `~` that is found in the same texts; None: there is none.

    >>> as_postgres(r"^run-\d+(a|b)?$")
    '^run\\-[0-9]+(?:a|b)?$'
    >>> as_postgres("(?i)v2")
    '[vV]2'
    >>> as_postgres(r"\bword\b") is None
    True
    """
    if len(pattern) > _LONGEST:
        return None
    try:
        reader = _Reader(pattern)
        found = reader.alternatives()
        return found if reader.done and reader.size <= _LARGEST else None
    except (_Unknown, IndexError):
        return None


class _Reader:
    """Reads a pattern from its beginning.

    Mutable state: `at`, where it is; `size`, what it has read (`_LARGEST`); `_depth`, how many
    groups it is in.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._any_case = pattern.startswith(_ANY_CASE)
        self.at = len(_ANY_CASE) if self._any_case else 0
        self.size = 0
        self._depth = 0

    @property
    def done(self) -> bool:
        """Whether all was read."""
        return self.at == len(self._pattern)

    def _next(self) -> str:
        self.at += 1
        return self._pattern[self.at - 1]

    def _looks_at(self, *starts: str) -> bool:
        return self._pattern.startswith(starts, self.at)

    def alternatives(self) -> str:
        """Read `a|b|c`, to the end or to a closing bracket."""
        branches = [self._branch()]
        while self._looks_at("|"):
            self._next()
            branches.append(self._branch())
        return "|".join(branches)

    def _branch(self) -> str:
        found = ""
        while not self.done and not self._looks_at("|", ")"):
            if self._looks_at("^", "$"):
                found += self._next()
                if self._depth or self._looks_at(*_QUANTIFIERS):
                    raise _Unknown
                continue
            before = self.size
            found += self._atom()
            quantifier, times = self._quantifier()
            self.size = before + (self.size - before) * times
            found += quantifier
        if not found:
            raise _Unknown  # an empty branch
        return found

    def _atom(self) -> str:
        self.size += 1
        match char := self._next():
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return "[^\n]"
            case "\\":
                return self._escape(self._next())
            case "*" | "+" | "?" | "{" | "}" | "]":
                raise _Unknown
        cases = self._cases(char)
        return f"[{cases}]" if len(cases) > 1 else _literal(char)

    def _cases(self, char: str) -> str:
        """Return what is the same as a character but for its case, where that is of no matter."""
        if not self._any_case:
            return char
        if not char.isascii():
            raise _Unknown
        return "".join(
            dict.fromkeys(char.lower() + char.upper() + _ODD_CASES.get(char.lower(), ""))
        )

    def _group(self) -> str:
        if self._looks_at("?:"):
            self.at += 2
        elif self._looks_at("?"):
            raise _Unknown
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Unknown
        inner = self.alternatives()
        if self._next() != ")":
            raise _Unknown
        self._depth -= 1
        return f"(?:{inner})"

    def _escape(self, char: str) -> str:
        if char.lower() in _CLASSES and not self._any_case:
            return f"[{'^' if char.isupper() else ''}{_CLASSES[char.lower()]}]"
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in string.punctuation:
            return _literal(char)
        raise _Unknown

    def _class(self) -> str:
        found = "["
        if self._looks_at("^"):
            found += self._next()
        empty = True
        while empty or not self._looks_at("]"):
            found += self._member()
            empty = False
        self._next()
        return found + "]"

    def _member(self) -> str:
        """Read a character, a range or a class by letter, within brackets."""
        char = self._next()
        if char == "\\":
            char = self._next()
            if char in _CLASSES and not self._any_case:
                member = _CLASSES[char]
            elif char in _CONTROLS:
                member = _CONTROLS[char]
            elif char in string.punctuation:
                member = _literal(char)
            else:
                raise _Unknown
        elif char in "[]^-" and not (char == "-" and self._looks_at("]")):
            raise _Unknown
        elif self._looks_at("-") and not self._looks_at("-]"):
            self._next()
            last = self._next()
            if not any(char in some and last in some for some in _RANGES) or char > last:
                raise _Unknown
            some = map(chr, range(ord(char), ord(last) + 1))
            return "".join(map(self._cases, some)) if self._any_case else f"{char}-{last}"
        else:
            cases = self._cases(char)
            member = cases if len(cases) > 1 else _literal(char)
        if self._looks_at("-") and not self._looks_at("-]"):
            raise _Unknown  # a range from what is none
        return member

    def _quantifier(self) -> tuple[str, int]:
        """Read what says how often; returns it, and how many copies it makes."""
        if self.done or not self._looks_at(*_QUANTIFIERS):
            return "", 1
        sign, times = self._next(), 1
        if sign == "{":
            end = self._pattern.index("}", self.at) if "}" in self._pattern[self.at :] else -1
            text = self._pattern[self.at : end]
            low, comma, high = text.partition(",")
            if end < 0 or not text.isascii() or not low.isdecimal():
                raise _Unknown
            if not (high or "0").isdecimal() or (high and int(low) > int(high)):
                raise _Unknown
            self.at = end + 1
            times = max(1, int(low), int(high or 0))
            sign = f"{{{int(low)}{comma}{int(high) if high else ''}}}"
        if self._looks_at("?"):
            self._next()  # lazy
        if self._looks_at(*_QUANTIFIERS):
            raise _Unknown
        return sign, times


_RANGES: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


def _literal(char: str) -> str:
    if char in "\x00\x01":
        raise _Unknown  # which are stored as something else
    return char if char in _PLAIN or not char.isascii() or char < " " else f"\\{char}"
