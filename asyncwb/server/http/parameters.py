"""Parameters of an address, checked."""

from __future__ import annotations

from typing import TypeVar

from asyncwb.server.http.errors import ApiError

D = TypeVar("D", int, None)


def whole_number(text: str | None, name: str, *, default: D, least: int, most: int) -> int | D:
    """Return the whole number that a parameter gives, or the default where it is not given.

    Args:
        text: what the address says; None: nothing.
        name: of the parameter, for the error.
        default: without one.
        least: the smallest that is taken.
        most: the largest.

    Raises:
        ApiError: 400.
    """
    if text is None:
        return default
    digits = text.removeprefix("-")
    fits = digits.isascii() and digits.isdigit() and len(digits) < 20
    if not fits or not least <= int(text) <= most:
        message = f"{name} must be a whole number from {least} to {most}."
        raise ApiError(400, "bad_request", message)
    return int(text)
