"""The JSON that native routes answer, as far as the page reads it.

The page's types are written from these (`.ci/page_types.py`), so that they cannot differ; a test
holds what a server really answers to them. A field that is `NotRequired` is there only where it
was asked for, or where there is something to say.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict

from asyncwb.server.store.people.users import Role

RunState: TypeAlias = Literal[
    "pending",
    "running",
    "preempting",
    "preempted",
    "finished",
    "failed",
    "crashed",
    "killed",
]
DocumentName: TypeAlias = Literal["summary", "config", "fold"]
WireNumber: TypeAlias = float | str | None
"""A finite number, or "NaN", "Infinity", "-Infinity"; null where a bucket has no such value."""


# People.


class Viewer(TypedDict):
    """Who asks. `admin` is of the server."""

    username: str
    entity: str
    admin: bool
    email: str | None
    service: bool
    teams: dict[str, Role]


class User(TypedDict):
    """A user as the viewer may see one."""

    username: str
    email: str | None
    admin: bool
    service: bool
    disabled: bool
    created_at: float
    teams: dict[str, Role]


class Member(User):
    """A member of a team."""

    role: Role
    joined_at: float


class Key(TypedDict):
    """A key without its secret."""

    id: int
    hint: str
    description: str | None
    created_at: float


class NewKey(Key):
    """A key in the one answer that has its secret."""

    key: str


class Account(TypedDict):
    """A user who was made, with the first key."""

    user: User
    key: str


class Team(TypedDict):
    """A team; `role` is the viewer's in it."""

    name: str
    created_at: float
    role: Role | None


class Invitation(TypedDict):
    """An invitation without its secret; `team` is null where it is to the server alone."""

    id: int
    team: str | None
    email: str | None
    role: Role
    created_at: float
    expires_at: float


class Joined(TypedDict):
    """What somebody has become by an invitation."""

    team: str | None
    role: Role


class Offer(Joined):
    """What somebody who has its link is told of an invitation."""

    email: str | None
    invited_by: str | None
    expires_at: float


# Projects and runs.


class Project(TypedDict):
    """A project."""

    entity: str
    name: str
    visibility: str
    description: str | None
    created_at: float


class ListedProject(Project):
    """A project in a list; `updated_at` is its last sign of life."""

    runs: int
    running: int
    updated_at: float


class Cut(TypedDict):
    """What stands for a long text or list in lists, events and short answers."""

    _type: Literal["cut"]
    bytes: int
    crc: int
    start: str


class RunFigures(TypedDict):
    """A run without what may be large; long texts and lists of it are cut unless asked for whole.

    `damaged` names what is damaged in the server's store, and empty here, of what was asked for.
    """

    entity: str
    project: str
    id: str
    name: str
    state: RunState
    created_at: float
    started_at: float | None
    heartbeat_at: float
    finished_at: float | None
    exit_code: int | None
    rows: int
    last_step: int | None
    lost: int
    tags: list[str] | Cut
    notes: str | Cut | None
    group: str | None
    job_type: str | None
    host: str | Cut | None
    program: str | Cut | None
    python: str | Cut | None
    version: int
    url: str
    damaged: list[DocumentName]


class RunRow(RunFigures):
    """A run in a list; `summary_left_out` counts the keys that have no place there."""

    summary: dict[str, object]
    summary_left_out: int


class RunMetric(TypedDict):
    """What a run has logged under a key."""

    key: str
    kind: str
    count: int
    first_step: int
    last_step: int
    hidden: bool
    step_metric: str | None


class RunParts(TypedDict):
    """What of a run is in an answer where it was asked for."""

    summary: NotRequired[dict[str, object]]
    config: NotRequired[dict[str, object]]
    fold: NotRequired[str]
    metrics: NotRequired[list[RunMetric]]


class RunInfo(RunFigures, RunParts):
    """A run by itself."""


class LiveState(TypedDict):
    """What the live stream says after each committed ingest.

    `summary` has the keys that changed and `removed` those that are gone, or the first event of a
    connection (`whole`) all of it, where it was asked for; `more` has changed than fits an event.
    """

    version: int
    state: RunState
    rows: int
    last_step: int | None
    heartbeat_at: float
    lost: int
    damaged: list[DocumentName]
    whole: bool
    more: bool
    summary: dict[str, object]
    removed: list[str]


# History.


class WireMetrics(TypedDict):
    """The first metrics of a run that charts can draw, or all; `total` counts all of them."""

    key: list[str]
    count: list[int]
    total: int


class WireMissing(TypedDict):
    """Rows that are left out because they are damaged; `keys` null: every key of them."""

    place: str
    first_step: int
    last_step: int
    rows: int
    keys: list[str] | None
    why: str


class WireSeries(TypedDict):
    """One metric in buckets; `valid` counts the values of each bucket that are numbers."""

    key: str
    exact: bool
    rows: int
    x: list[WireNumber]
    min: list[WireNumber]
    max: list[WireNumber]
    mean: list[WireNumber]
    last: list[WireNumber]
    count: list[int]
    valid: list[int]
    missing: NotRequired[list[WireMissing]]
