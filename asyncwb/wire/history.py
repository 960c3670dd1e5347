"""The step and commit rules of one writer: which row does this `log()` go to?

Theory of operation. A writer counts steps. `step` is the step that the next plain `log()` writes;
the row at that step is *open* while more may be added to it. Rows are journaled at once and never
held back: an open row is one that carries the flag `open`, and readers merge the rows of one step,
the later value of a key winning.

| call | counter before | the row's step | open | counter after |
| --- | --- | --- | --- | --- |
| `log(d)`, `log(d, commit=True)` | c | c, closing it | no | c + 1 |
| `log(d, commit=False)` | c | c | yes | c |
| `log(d, step=n)`, n >= c | c | n | yes | n |
| `log(d, step=n, commit=True)`, n >= c | c | n, closing it | no | n + 1 |
| `log(d, step=n)`, n < c, "merge" | c | n: merged into that step's row | no | c |
| the same under "drop" | c | none: dropped, with the reason | | c |
| the same under "raise" | c | none: StepError | | c |
| `log(d, step=n)`, n < 0, not "raise" | c | none: dropped, with the reason | | c |

The rules are those of W&B (https://docs.wandb.ai/ref/python/sdk/classes/run, method `log`), but
for a step that goes backwards, which W&B drops: asynchronous evaluation logs late steps as a
matter of course, and a chart that lacks them lies.
"""

from __future__ import annotations

import operator
from typing import Final, NamedTuple, SupportsIndex, get_args

from asyncwb.errors import ArgumentError, LogTypeError, StepError
from asyncwb.typing import StepPolicy

STEP_MIN: Final = -(2**63)
STEP_MAX: Final = 2**62
"""The largest step that can be given: rows without one, which count on from it, fit 64 bits for
longer than any program runs."""
_START_MAX: Final = 2**63 - 2**40
"""the largest step that a run can go on from; another client may have given it"""


class Assigned(NamedTuple):
    """The step of a row, whether that step may still be added to, and why it is dropped, if so.

    A tuple, since a slotted dataclass takes three times as long to build and `log()` waits for it.
    """

    step: int
    open: bool
    dropped: str | None = None


class StepRule:
    """Assigns steps to the rows of one writer.

    Not thread-safe: the caller holds its own lock, or is one thread. `step` and `fast` are public
    for the caller's hot path, which may replace `assign(None, None)` while `fast` is true:

        if step is None and commit is None and rule.fast:
            at = rule.step
            rule.step = at + 1          # the row is at step `at`, not open

    `policy` is what becomes of steps that go backwards; `step >= 0` is where the counter starts
    (one after the last step when a run is resumed).
    """

    # step: the counter. fast: no row is open at it, so a plain log() takes it and adds 1.
    __slots__ = ("fast", "policy", "step")

    def __init__(self, policy: StepPolicy = "merge", step: SupportsIndex = 0) -> None:
        if policy not in get_args(StepPolicy):
            raise ArgumentError(
                f"step_policy is one of {', '.join(get_args(StepPolicy))}; not {policy!r}"
            )
        self.policy: StepPolicy = policy
        self.step = check_step(step, most=_START_MAX)
        self.fast = True

    def assign(self, step: SupportsIndex | None = None, commit: bool | None = None) -> Assigned:
        """Decide where a row goes and move the counter, as the module's table says.

        Raises LogTypeError for a step that is no int up to STEP_MAX, and StepError under "raise"
        for one that lies behind the counter; the counter does not move then.

        >>> rule = StepRule()
        >>> rule.assign(), rule.assign(5), rule.assign(commit=True), rule.assign(2)[:2]
        (Assigned(step=0, open=False, dropped=None), Assigned(step=5, open=True, dropped=None), \
Assigned(step=5, open=False, dropped=None), (2, False))
        """
        if step is None:
            at = self.step
            is_open = commit is not None and not commit
        else:
            at = step if type(step) is int and 0 <= step <= STEP_MAX else check_step(step, STEP_MIN)
            if at < self.step:
                return self._late(at)
            is_open = not commit
        self.step = at if is_open else at + 1
        self.fast = not is_open
        return Assigned(at, is_open)

    def _late(self, at: int) -> Assigned:
        if self.policy == "merge" and at >= 0:
            return Assigned(at, False)
        reason = f"step {at} lies behind the run's step {self.step} (step_policy={self.policy!r})"
        if self.policy != "raise":
            return Assigned(at, False, reason)
        raise StepError(
            f"{reason}; the row was not recorded, what was logged before is safe. Log with an "
            'ascending step, or use step_policy="merge" to add to the row of that step'
        )


def check_step(step: SupportsIndex, least: int = 0, most: int = STEP_MAX) -> int:
    """Return a step as a plain int; numpy's ints are steps too.

    Raises LogTypeError for other types, bools among them, and outside `least` to `most`.
    """
    try:
        number = None if isinstance(step, bool) else operator.index(step)
    except TypeError:
        number = None
    if number is None:
        raise LogTypeError(
            f"step is an int, not {step!r} of type {type(step).__name__}; the row was not recorded",
            key="step",
        )
    if not least <= number <= most:
        raise LogTypeError(
            f"step is from 0 to {most}, not {number}; the row was not recorded",
            key="step",
        )
    return number
