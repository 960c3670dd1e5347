"""Retry: what each answer means for a batch, and how long to wait."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from asyncwb.wire.retry import (
    MAX_WAIT,
    SLOW,
    Action,
    Backoff,
    rate_limit_wait,
    verdict,
    wandb_verdict,
)

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "action", "hint"),
    [
        (200, Action.DONE, None),
        (204, Action.DONE, None),
        (None, Action.RETRY, None),
        (408, Action.RETRY, None),
        (425, Action.RETRY, None),
        (429, Action.RETRY, None),
        (500, Action.RETRY, None),
        (503, Action.RETRY, None),
        (599, Action.RETRY, None),
        (401, Action.AUTH, SLOW),
        (403, Action.AUTH, SLOW),
        (413, Action.SPLIT, None),
        (400, Action.FATAL, None),
        (409, Action.FATAL, None),
        (422, Action.FATAL, None),
        (302, Action.RETRY, SLOW),
        (404, Action.RETRY, SLOW),
        (405, Action.RETRY, SLOW),
    ],
)
def test_verdicts(status: int | None, action: Action, hint: float | None) -> None:
    judged = verdict(status, now=NOW)
    assert (judged.action, judged.delay_hint) == (action, hint)
    assert judged.lasting is (hint == SLOW), "a person has to act first"


@pytest.mark.parametrize(
    ("status", "action"),
    [
        *((status, Action.FATAL) for status in (400, 404, 409, 410, 422, 501)),
        *((status, Action.RETRY) for status in (302, 405, 408, 418, 429, 500, 502, 503, 504)),
        (401, Action.AUTH),
        (403, Action.AUTH),
        (413, Action.SPLIT),
        (200, Action.DONE),
    ],
)
def test_verdicts_on_a_wandb_server(status: int, action: Action) -> None:
    judged = wandb_verdict(status, {"Retry-After": "7"}, "why", now=NOW)
    assert judged.action is action
    assert judged.reason.startswith(f"HTTP {status}: why")
    assert (judged.delay_hint == 7.0) is (action is Action.RETRY and status >= 400)
    assert wandb_verdict(409, now=NOW, conflict_is_final=False).action is Action.RETRY


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"RateLimit-Remaining": "5"}, 0.0),
        ({"ratelimit-remaining": "4", "RATELIMIT-RESET": "10"}, 2.5),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "10"}, 10.0),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "99999"}, MAX_WAIT),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "-1"}, 0.0),
        ({"RateLimit-Remaining": "x", "RateLimit-Reset": "10"}, 0.0),
        ({"RateLimit-Remaining": "1", "RateLimit-Reset": "nan"}, 0.0),
    ],
)
def test_rate_limits_spread_the_requests(headers: dict[str, str], seconds: float) -> None:
    assert rate_limit_wait(headers) == seconds


def test_the_reason_says_what_happened() -> None:
    assert verdict(None, error="connection refused", now=NOW).reason == "connection refused"
    assert verdict(400, error="bad_frame", now=NOW).reason == "HTTP 400: bad_frame"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("86400", MAX_WAIT),
        (formatdate(NOW + 42, usegmt=True), 42.0),
        (formatdate(NOW - 42, usegmt=True), 0.0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", MAX_WAIT),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("header", ["Retry-After", "retry-after"])
def test_retry_after(header: str, text: str, seconds: float | None) -> None:
    for status in (429, 503):
        assert verdict(status, {header: text}, now=NOW).delay_hint == seconds


def test_backoff_doubles_to_the_cap_and_starts_again() -> None:
    backoff = Backoff(base=0.25, cap=30.0, random=lambda: 0.999)
    waits = [backoff.next_wait() for _ in range(2000)]
    assert waits[:4] == pytest.approx([0.25, 0.5, 1.0, 2.0], rel=0.01)
    assert max(waits) == waits[-1] <= 30.0
    backoff.reset()
    assert backoff.next_wait() == waits[0]


def test_backoff_jitters_within_the_upper_half_and_never_before_the_hint() -> None:
    draws = iter([0.0, 0.5, 0.0, 0.5, 0.0, 0.0])
    backoff = Backoff(base=8.0, cap=8.0, random=lambda: next(draws))
    assert backoff.next_wait() == 4.0
    assert backoff.next_wait() == 6.0
    assert backoff.next_wait(hint=20.0) == 21.0
    assert backoff.next_wait(hint=1.0) == 4.0
