"""What the engine says to the user: one line to stderr, and never the same twice."""

from __future__ import annotations

import sys
from typing import Final

_PREFIX: Final = "asyncwb: "


class Notices:
    """Prints lines for one run; `silent` says nothing, `quiet` only warnings.

    `prefix` is put into every warning's end: where the data is and how to go on.
    """

    def __init__(self, *, silent: bool = False, quiet: bool = False) -> None:
        self._silent = silent
        self._quiet = quiet
        self._said: set[str] = set()
        self.advice = ""

    def tell(self, text: str) -> None:
        """Print a line that is no warning."""
        if not self._silent and not self._quiet:
            print(f"{_PREFIX}{text}", file=sys.stderr, flush=True)  # noqa: T201

    def warn(self, text: str, *, advise: bool = True) -> None:
        """Print a warning; `advise`: with the advice that stands for this run."""
        if not self._silent:
            line = f"{text} {self.advice}".rstrip() if advise else text
            print(f"{_PREFIX}{line}", file=sys.stderr, flush=True)  # noqa: T201

    def warn_once(self, topic: str, text: str, *, advise: bool = True) -> None:
        """Print a warning the first time that its topic comes up."""
        if topic not in self._said:
            self._said.add(topic)
            self.warn(text, advise=advise)
