"""What the uplink does with an answer, or with none: pure verdicts and the waits between tries.

| what came back | verdict | why |
| --- | --- | --- |
| 2xx | DONE | |
| no answer: refused, cut, timed out | RETRY | at-least-once sending makes it safe to send again |
| 408, 425, 429, 5xx | RETRY | the server is busy, restarting or full; `Retry-After` is honoured |
| 401, 403 | AUTH, lasting | said once; tried slowly, so that a corrected key heals it |
| 413 | SPLIT | send the same frames in smaller requests |
| 400, 409, 422 | FATAL | these bytes will never be taken; the batch is set aside and counted |
| anything else | RETRY, lasting | not an answer of our server: a wrong address or a proxy's page, |
| | | which may be put right, and nothing may be dropped on its word |

What is lasting does not pass by itself: it is tried slowly, and nobody waits for it.

W&B's servers have another list of final answers, which its clients keep to: 400, 404, 409, 410,
422 and 501 (but `UpsertBucket` is tried again on 409). See `wandb_verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

SLOW: Final = 30.0
"""Seconds between tries where a person has to act first."""
MAX_WAIT: Final = 300.0
"""Seconds: the longest `Retry-After` that is believed."""

_BUSY: Final = frozenset((408, 425, 429))
_REFUSED: Final = frozenset((400, 409, 422))
_REFUSED_BY_WANDB: Final = frozenset((400, 404, 409, 410, 422, 501))


class Action(Enum):
    """What to do with the batch that was sent."""

    DONE = "done"
    RETRY = "retry"
    AUTH = "auth"
    SPLIT = "split"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, the least wait before the next try (seconds; None: the backoff's), and why.

    `lasting`: a person has to put something right before trying again can help.
    """

    action: Action
    delay_hint: float | None
    reason: str
    lasting: bool = field(default=False, repr=False)


_NO_HEADERS: Final[Mapping[str, str]] = {}


def verdict(
    status: int | None,
    headers: Mapping[str, str] = _NO_HEADERS,
    error: str | None = None,
    *,
    now: float,
) -> Verdict:
    """Judge the outcome of one request.

    `status` is the HTTP status, None where no answer came; `error` then says what happened
    ("connection refused"); `now` is the time in unix seconds, for a `Retry-After` that is a date.

    >>> verdict(503, {"Retry-After": "7"}, now=0.0)
    Verdict(action=<Action.RETRY: 'retry'>, delay_hint=7.0, reason='HTTP 503')
    """
    if status is None:
        return Verdict(Action.RETRY, None, error or "no answer")
    reason = f"HTTP {status}" if error is None else f"HTTP {status}: {error}"
    if 200 <= status < 300:
        return Verdict(Action.DONE, None, reason)
    if status in _BUSY or 500 <= status < 600:
        return Verdict(Action.RETRY, retry_after(headers, now), reason)
    if status in (401, 403):
        return Verdict(Action.AUTH, SLOW, reason, lasting=True)
    if status == 413:
        return Verdict(Action.SPLIT, None, reason)
    if status in _REFUSED:
        return Verdict(Action.FATAL, None, reason)
    other = f"{reason}: not an answer of an asyncwb server"
    return Verdict(Action.RETRY, SLOW, other, lasting=True)


def wandb_verdict(
    status: int,
    headers: Mapping[str, str] = _NO_HEADERS,
    error: str | None = None,
    *,
    now: float,
    conflict_is_final: bool = True,
) -> Verdict:
    """Judge an answer of a W&B server as `verdict` does one of ours.

    `conflict_is_final` is False for what may be tried again on 409.

    >>> wandb_verdict(410, now=0.0)
    Verdict(action=<Action.FATAL: 'fatal'>, delay_hint=None, reason='HTTP 410')
    """
    reason = f"HTTP {status}" if error is None else f"HTTP {status}: {error}"
    if status == 409 and not conflict_is_final:
        return Verdict(Action.RETRY, retry_after(headers, now), reason)
    if status in _REFUSED_BY_WANDB:
        return Verdict(Action.FATAL, None, reason)
    if 400 <= status < 600 and status not in (401, 403, 413):
        return Verdict(Action.RETRY, retry_after(headers, now), reason)
    return verdict(status, headers, error, now=now)


def rate_limit_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds to leave before the next request: 0 to MAX_WAIT.

    Spreads the requests that `RateLimit-Remaining` still allows over the seconds of
    `RateLimit-Reset`; without both headers there is no limit.

    >>> rate_limit_wait({"RateLimit-Remaining": "2", "RateLimit-Reset": "10"})
    5.0
    """
    named = {name.lower(): value for name, value in headers.items()}
    try:
        remaining = float(named["ratelimit-remaining"])
        reset = float(named["ratelimit-reset"])
    except (KeyError, ValueError):
        return 0.0
    wait = reset / max(1.0, remaining)
    return min(MAX_WAIT, max(0.0, wait)) if math.isfinite(wait) else 0.0


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that `Retry-After` (RFC 9110, 10.2.3) asks for: 0 to MAX_WAIT, or None.

    Both forms are read, seconds and an HTTP date; what is neither counts as absent.
    """
    text = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(MAX_WAIT, max(0.0, seconds)) if math.isfinite(seconds) else None


class Backoff:
    """The waits between tries: doubling up to a cap, jittered so that clients spread out.

    `base` and `cap` are seconds; `random` returns a float in [0, 1). A wait is drawn from the
    upper half of the doubled interval. One instance serves one uplink; `reset` it after a success.
    """

    # attempts: failures since the last success.
    __slots__ = ("_random", "attempts", "base", "cap")

    def __init__(
        self, base: float = 0.25, cap: float = 30.0, *, random: Callable[[], float]
    ) -> None:
        self.base = base
        self.cap = cap
        self.attempts = 0
        self._random = random

    def next_wait(self, hint: float | None = None) -> float:
        """Count a failure and return the seconds to wait; never less than a verdict's hint.

        >>> backoff = Backoff(base=1.0, cap=8.0, random=lambda: 0.0)
        >>> [backoff.next_wait() for _ in range(6)]
        [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
        """
        # 2 ** 40 is beyond every cap, and floats overflow at 2 ** 1024.
        interval = min(self.cap, self.base * 2.0 ** min(self.attempts, 40))
        self.attempts += 1
        wait = interval * (0.5 + 0.5 * self._random())
        # Spread the ones that were all told the same time, but only to later.
        return wait if hint is None else max(wait, hint * (1.0 + 0.1 * self._random()))

    def reset(self) -> None:
        """Start again from `base`: the server took a batch."""
        self.attempts = 0
