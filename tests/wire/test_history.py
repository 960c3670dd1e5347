"""The step rule: the table of its module, and a ten-line model under random calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.errors import LogTypeError, StepError, UsageError
from asyncwb.wire.history import STEP_MAX, Assigned, StepRule

CALLS = st.lists(st.tuples(st.none() | st.integers(0, 6), st.none() | st.booleans()), max_size=20)


def model(calls: list[tuple[int | None, bool | None]]) -> list[tuple[int, bool]]:
    counter, rows = 0, []
    for step, commit in calls:
        late = step is not None and step < counter
        at = counter if step is None else step
        commits = commit if commit is not None else step is None
        rows.append((at, not late and not commits))
        if not late:
            counter = at + 1 if commits else at
    return rows


@given(CALLS)
def test_rows_go_where_the_model_says(calls: list[tuple[int | None, bool | None]]) -> None:
    rule = StepRule()
    assert [rule.assign(*call)[:2] for call in calls] == model(calls)


@given(CALLS)
def test_the_hot_path_is_the_same_rule(calls: list[tuple[int | None, bool | None]]) -> None:
    plain, hot, rows = StepRule(), StepRule(), []
    for step, commit in calls:
        if step is None and commit is None and hot.fast:
            rows.append(Assigned(hot.step, False))
            hot.step += 1
        else:
            rows.append(hot.assign(step, commit))
    assert [plain.assign(*call) for call in calls] == rows
    assert (plain.step, plain.fast) == (hot.step, hot.fast)


def test_a_plain_log_joins_the_open_row_and_closes_it() -> None:
    rule = StepRule()
    assert rule.assign(commit=False) == (0, True, None)
    assert not rule.fast
    assert rule.assign() == (0, False, None)
    assert rule.fast
    assert rule.assign(7) == (7, True, None)
    assert rule.assign(7) == (7, True, None)
    assert rule.assign() == (7, False, None)
    assert rule.step == 8


def test_a_committed_step_can_still_be_added_to() -> None:
    rule = StepRule()
    assert rule.assign(5, True) == (5, False, None)
    assert rule.assign(5) == (5, False, None)
    assert rule.assign(2, True) == (2, False, None)
    assert (rule.step, rule.fast) == (6, True)


def test_drop_says_why_and_keeps_the_counter() -> None:
    rule = StepRule("drop", step=4)
    verdict = rule.assign(3)
    assert verdict.dropped == "step 3 lies behind the run's step 4 (step_policy='drop')"
    assert (rule.step, rule.fast) == (4, True)
    assert rule.assign(4) == (4, True, None)


def test_raise_names_both_steps_and_keeps_the_counter() -> None:
    rule = StepRule("raise", step=np.int64(4))
    with pytest.raises(StepError, match=r"step 3 .* step 4"):
        rule.assign(3)
    assert rule.assign() == (4, False, None)


@pytest.mark.parametrize("step", [1.5, "3", True, [], np.float64(1), np.bool_(True)])
def test_a_step_is_an_int(step: Any) -> None:
    rule = StepRule()
    with pytest.raises(LogTypeError, match="step is an int"):
        rule.assign(step)
    assert rule.step == 0


@pytest.mark.parametrize("step", [-(2**63) - 1, STEP_MAX + 1, 2**70])
def test_a_step_leaves_room_to_count_on(step: Any) -> None:
    rule = StepRule()
    with pytest.raises(LogTypeError, match=f"from 0 to {STEP_MAX}, not {step}"):
        rule.assign(step)
    with pytest.raises(LogTypeError, match="step is from 0"):
        StepRule(step=-1)
    with pytest.raises(LogTypeError, match="step is from 0"):
        StepRule(step=2**63 - 1)
    assert StepRule(step=STEP_MAX + 1).assign().step == STEP_MAX + 1, "a run is gone on with"
    assert rule.step == 0


@pytest.mark.parametrize("policy", ["merge", "drop"])
def test_a_negative_step_has_no_place(policy: Any) -> None:
    rule = StepRule(policy)
    assert rule.assign(np.int8(-5)).dropped == (
        f"step -5 lies behind the run's step 0 (step_policy={policy!r})"
    )
    assert rule.assign(-1, True).dropped
    assert rule.assign() == (0, False, None)
    with pytest.raises(StepError, match="step -1 "):
        StepRule("raise").assign(-1)


def test_numpy_ints_are_steps_and_come_back_plain() -> None:
    assert type(StepRule().assign(np.int32(3)).step) is int
    assert StepRule().assign(STEP_MAX, True).step == STEP_MAX


def test_an_unknown_policy_is_refused() -> None:
    policy: Any = "ignore"
    with pytest.raises(UsageError, match="merge, drop, raise; not 'ignore'"):
        StepRule(policy)
