"""What an edit does to a run: decided here, on values alone, and written by `store/runs/edits.py`.

Whoever edits a run comes through here: the W&B client that begins one (`upsertBucket`), the
public API that renames or tags it, `updateRunState`, the page. An `Edit` says what is asked; a
field that is None is left alone. `changed` gives the columns of the table `runs` that become
something else.

W&B wraps every value of a config, `{"lr": {"value": 0.1, "desc": null}}`; we store it plain, and
wrap it again on the way out. A config that comes is the whole config. A summary that comes is the
whole summary: `folds.summary_event` says how the run's fold gets there. Who knows what it changes
says that instead (`config_changes` and its like), so that what others wrote meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from asyncwb.server.http.answers import RunState
from asyncwb.server.store.texts import storable
from asyncwb.typing import JsonObject
from asyncwb.wire import names
from asyncwb.wire.changes import Changes
from asyncwb.wire.rows import keys

STATES: Final[tuple[RunState, ...]] = get_args(RunState)
ACTIVE: Final = ("running", "pending", "preempting")

_TEXTS: Final = {
    "notes": "notes",
    "description": "description",
    "group": "group_name",
    "job_type": "job_type",
    "commit": "commit",
    "repo": "repo",
    "host": "host",
    "program": "program",
    "sweep": "sweep",
}
_MOVES: Final = {
    "pending": ("running", "failed", "crashed", "preempted"),
    "failed": ("pending", "running"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is asked of a run; None leaves as it is.

    `config` is plain and whole, `summary` nested and whole; `tags` replaces all tags; the changes,
    and tags to add and to remove, are of what is there, after these; `sweep` is the name of one
    that the project has.
    """

    name: str | None = None
    notes: str | None = None
    description: str | None = None
    group: str | None = None
    job_type: str | None = None
    commit: str | None = None
    repo: str | None = None
    host: str | None = None
    program: str | None = None
    state: str | None = None
    sweep: str | None = None
    tags: tuple[str, ...] | None = None
    config: JsonObject | None = None
    summary: JsonObject | None = None
    config_changes: Changes | None = None
    summary_changes: Changes | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()


class EditError(ValueError):
    """An edit that the run's state, or the words of the edit, do not allow; nothing is changed."""


def check(edit: Edit) -> None:
    """Let only what can be stored pass.

    Raises:
        EditError: a text or the tags are too long, or config or summary nested too deep.
    """
    for name, most in names.MAX_TEXT.items():
        value = getattr(edit, name)
        if value is not None and len(value) > most:
            raise EditError(f"{name} has {len(value)} characters; at most {most} are kept")
    tags = edit.tags or ()
    if len(tags) > names.MAX_TAGS or not all(0 < len(tag) <= names.MAX_TAG for tag in tags):
        raise EditError(
            f"a run has at most {names.MAX_TAGS} tags, each of 1 to {names.MAX_TAG} characters"
        )
    for what, tree in (("config", edit.config), ("summary", edit.summary)):
        if keys.is_too_deep(tree):
            raise EditError(f"the {what} is nested deeper than {keys.MAX_DEPTH} levels")


def merged(
    edit: Edit,
    config: JsonObject,
    tags: Iterable[str],
    summary: Callable[[], JsonObject],
) -> Edit:
    """Return an edit that says in whole what it said in changes, given what the run has.

    Args:
        edit: it may have both.
        config, tags: the run's.
        summary: gives the run's, where that is needed.

    Raises:
        EditError: with the changes there would be more of it than can be stored.
    """
    whole: dict[str, Any] = {}
    if edit.config_changes:
        old = config if edit.config is None else edit.config
        whole["config"] = edit.config_changes.applied(old)
    if edit.summary_changes:
        before = summary() if edit.summary is None else edit.summary
        whole["summary"] = edit.summary_changes.applied(before)
    if edit.add_tags or edit.remove_tags:
        kept = [t for t in (tags if edit.tags is None else edit.tags) if t not in edit.remove_tags]
        whole["tags"] = tuple(dict.fromkeys([*kept, *edit.add_tags]))
    if not whole:
        return edit
    done = replace(edit, **whole)
    check(done)
    return done


def changed(edit: Edit, now: float) -> dict[str, object]:
    """Return the columns that an edit sets, without the summary.

    Raises:
        EditError: there is no such state.
    """
    columns: dict[str, object] = {
        column: storable(value)
        for name, column in _TEXTS.items()
        if (value := getattr(edit, name)) is not None
    }
    if edit.name:
        columns["name"] = storable(edit.name)
    if edit.tags is not None:
        columns["tags"] = [storable(tag) for tag in dict.fromkeys(edit.tags)]
    if edit.config is not None:
        columns["config"] = dict(edit.config)
    if edit.state is not None:
        columns |= entered(edit.state, now)
    return columns


def entered(state: str, now: float) -> dict[str, object]:
    """Return the columns of a run that is put into a state by hand.

    Raises:
        EditError: there is no such state.
    """
    if state not in STATES:
        raise EditError(f"state must be one of {', '.join(STATES)}, not {state!r}")
    if state in ACTIVE:
        # Alive from now on: the time without a sign of life is counted anew.
        ended = {"finished_at": None, "exit_code": None, "heartbeat_at": now}
        return {"state": state, "stop_requested": False, **ended}
    return {"state": state, "finished_at": now}


def moved(current: str, wanted: str, now: float) -> dict[str, object]:
    """Return the columns of a run that `updateRunState` puts into another state.

    A run can be put back to pending to be taken up again, and given up as failed while it is
    pending or running.

    Raises:
        EditError: that is no way from the current state.
    """
    if current not in _MOVES.get(wanted, ()):
        raise EditError(
            f"invalid state transition: a run that is {current} cannot be put to {wanted!r}: only "
            + "; ".join(f"{' or '.join(old)} to {new}" for new, old in _MOVES.items())
        )
    return entered(wanted, now)
