"""What an edit makes of a run: columns, states, and the way from one summary to another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.server.intake.folds import summary_event
from asyncwb.server.runs import edits
from asyncwb.server.runs.edits import Edit, EditError
from asyncwb.wire import wandb
from asyncwb.wire.changes import Changes, same
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.summary.fold import Fold
from tests.server.history_lab import table_of

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(0, 2), max_size=2),
)
_NESTED = st.recursive(
    _LEAVES,
    lambda inner: st.dictionaries(st.sampled_from("ab."), inner, min_size=1),
    max_leaves=6,
)
_SUMMARIES = st.dictionaries(st.sampled_from(("a", "b", "a.b", "c")), _NESTED)


def _shown(fold: Fold) -> dict[str, Any]:
    return {k: v for k, v in fold.as_dict().items() if k not in ("_step", "_timestamp", "_runtime")}


def _set(fold: Fold, summary: dict[str, Any]) -> dict[str, Any]:
    event = summary_event(fold, summary)
    fold.apply(empty(), [(0, event)])
    return event


@given(st.lists(_SUMMARIES, min_size=1, max_size=4))
def test_after_its_event_a_summary_is_what_was_asked_for(summaries: list[dict[str, Any]]) -> None:
    fold = Fold()
    fold.apply(table_of([(0, {"a": 1, "c.a": 2.5}), (1, {"b": "x"})]))
    for summary in summaries:
        _set(fold, summary)
        assert same(_shown(fold), summary), (summary, fold.values())
        again = summary_event(fold, summary)
        assert (again["set"], again["delete"]) == ({}, [])


def test_values_that_ops_computed_stay_computed() -> None:
    fold = Fold()
    fold.apply(empty(), [(0, {"t": "metric", "name": "loss", "summary": ["min"]})])
    fold.apply(table_of([(0, {"loss": 3.0}), (1, {"loss": 5.0})]))
    event = _set(fold, {"loss": {"min": 3.0}, "best": 1})
    assert (event["set"], event["delete"]) == ({"best": 1}, [])
    fold.apply(table_of([(2, {"loss": 2.0})]))
    assert _shown(fold) == {"loss": {"min": 2.0}, "best": 1}


def test_a_client_that_computes_ops_before_we_know_the_rule_leaves_no_trace() -> None:
    fold = Fold()
    fold.apply(table_of([(0, {"loss": 1.0})]))
    _set(fold, {"loss": {"min": 1.0}})
    fold.apply(empty(), [(0, {"t": "metric", "name": "loss", "summary": ["min"]})])
    fold.apply(table_of([(1, {"loss": 0.5})]))
    _set(fold, {"loss": {"min": 0.5}})
    assert _shown(fold) == {"loss": {"min": 0.5}}


def test_none_leaves_alone_and_an_empty_text_does_not() -> None:
    assert edits.changed(Edit(), 1.0) == {}
    asked = Edit(name="", notes="", group="g", tags=("b", "a", "b"), config={"lr": 1})
    assert edits.changed(asked, 1.0) == {
        "notes": "",
        "group_name": "g",
        "tags": ["b", "a"],
        "config": {"lr": 1},
    }


def test_text_that_a_database_cannot_hold_is_made_fit() -> None:
    assert edits.changed(Edit(notes="a\0b\ud800"), 1.0)["notes"] == "ab?"


@pytest.mark.parametrize("state", edits.STATES)
def test_a_state_set_by_hand_ends_a_run_or_revives_it(state: str) -> None:
    columns = edits.entered(state, 7.0)
    alive = state in ("pending", "running", "preempting")
    assert columns["state"] == state
    assert columns["finished_at"] == (None if alive else 7.0)


@pytest.mark.parametrize("old", edits.STATES)
@pytest.mark.parametrize("new", [*edits.STATES, "lost"])
def test_only_two_ways_lead_from_state_to_state(old: str, new: str) -> None:
    allowed = {
        "pending": {"running", "failed", "crashed", "preempted"},
        "failed": {"pending", "running"},
    }
    if old in allowed.get(new, ()):
        assert edits.moved(old, new, 1.0)["state"] == new
    else:
        with pytest.raises(EditError, match=f"is {old}"):
            edits.moved(old, new, 1.0)


def test_configs_are_unwrapped_and_wrapped_again() -> None:
    wrapped = {"lr": {"value": 0.1, "desc": None}, "_wandb": {"value": {"t": {}}, "desc": None}}
    plain = {"lr": 0.1, "_wandb": {"t": {}}}
    assert wandb.unwrap(wrapped) == plain
    assert wandb.wrap(plain) == wrapped
    bare = {"a": {"value": 1, "unit": "m"}, "b": 3}
    assert wandb.unwrap(bare) == bare


def test_changes_become_the_whole_of_what_they_lead_to() -> None:
    edit = Edit(
        name="n",
        config_changes=Changes({"opt.lr": 2}, ("old",)),
        summary_changes=Changes({"acc": 1}),
        add_tags=("new", "b"),
        remove_tags=("a",),
    )
    found = edits.merged(edit, {"opt": {"lr": 1, "eps": 3}, "old": 1}, ["a", "b"], lambda: {"l": 2})
    assert (found.name, found.config) == ("n", {"opt": {"lr": 2, "eps": 3}})
    assert (found.summary, found.tags) == ({"l": 2, "acc": 1}, ("b", "new"))
    deep = ".".join("a" * 200)
    for edit in (
        Edit(config_changes=Changes({deep: 1})),
        Edit(summary_changes=Changes({deep: 1})),
        Edit(add_tags=("x" * 100,)),
    ):
        with pytest.raises(EditError):
            edits.merged(edit, {}, [], dict)
