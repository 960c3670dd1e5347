"""The fields of a run that is read back: what the server said, and what was changed since."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from asyncwb.client.query.assigned import AssignedDict
from asyncwb.client.query.attributes import Attributes, frame
from asyncwb.client.query.edits import read_object
from asyncwb.client.query.requests.query import Connection
from asyncwb.client.query.summary import AsyncRunSummary
from asyncwb.client.query.users import AsyncUser
from asyncwb.client.waiting import wait_async
from asyncwb.errors import ArgumentError, UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.names import fits, rule
from asyncwb.wire.paths import RunPath, route
from asyncwb.wire.rows.keys import INTERNAL
from asyncwb.wire.rows.values import dumps, to_wire_again

_OWN_KEYS: Final = (INTERNAL, "wandb_version")
TEXTS: Final = ("displayName", "description", "notes", "group", "jobType")
"""fields of a run that `update` sends, which are variables of the documents that change runs"""


class AsyncRunFields(Attributes):
    """Hold a run's fields; loads them, and knows which ones were changed.

    Mutable state: the fields; `_summary`; `_sent`, the editable fields as the server has them;
    `_assigned`, the names of those that were set since; `_info`, what our own server adds; `_full`,
    whether all of it was loaded (lists leave the keys of the history out); `_sweep`, its sweep, and
    `_dir`, its folder, once somebody asked for it.
    """

    _sweep_type: ClassVar[type[Any]]
    """makes the sweep of a run: what is loaded after this module puts it here"""

    def __init__(
        self,
        client: Connection,
        entity: str,
        project: str,
        run_id: str,
        attrs: JsonObject | None = None,
        include_sweeps: bool = True,
    ) -> None:
        super().__init__({"name": run_id})
        self._client = client
        self._entity = entity
        self._project = project
        self._include_sweeps = include_sweeps
        self._info: JsonObject = {}
        self._full = False
        self._sweep: Any = None
        self._dir: str | None = None
        self._known = attrs is not None
        self._take(attrs or {})
        # sync: if attrs is None: self.load()

    async def load(self, force: bool = False) -> JsonObject:
        """Load what is missing, with `force` all of it anew; returns the run's fields.

        What was changed here and not sent is forgotten.

        Raises:
            RunNotFoundError: the server does not have the run, or not any more.
            CommError: it does not answer.
        """
        if force or not self._full:
            ask = self._client.ask_run(
                self._run_path, query_documents.RUN, sweeps=self._include_sweeps
            )
            info = self._client.info(self._run_path)
            found = await wait_async(ask)
            self._info = await wait_async(info)
            self._full = self._known = True
            self._take(found)
        return self._attrs

    async def load_full_data(self, force: bool = False) -> JsonObject:
        """Do what `load` does: a run of a list gets what lists leave out."""
        return await self.load(force)

    def _take(self, found: JsonObject) -> None:
        """Take in the fields that the server sent."""
        attrs = {key: value for key, value in found.items() if key != "entity"}
        raw = {key: _unwrapped(item) for key, item in read_object(attrs.get("config")).items()}
        attrs["rawconfig"] = raw
        own = {key: item for key, item in raw.items() if key not in _OWN_KEYS}
        attrs["config"] = AssignedDict(own)
        attrs["summaryMetrics"] = read_object(attrs.get("summaryMetrics"))
        attrs["systemMetrics"] = read_object(attrs.get("systemMetrics"))
        attrs["tags"] = list(attrs.get("tags") or ())
        self._attrs = {**self._attrs, **attrs}
        storage_id = str(attrs.get("id", ""))
        summary: JsonObject = attrs["summaryMetrics"]
        self._summary = AsyncRunSummary(self._client, self._run_path, storage_id, summary)
        self._sent = self._editable()
        self._assigned: set[str] = set()

    def _loaded(self) -> JsonObject:
        """Return the whole account of the run."""
        # sync: self.load()
        # sync: drop
        if not self._full:
            raise UsageError(
                f"the run {self._run_path} was not loaded whole, which lists never do: "
                "`await run.load()` before you ask it for this"
            )
        return self._attrs

    def _field(self, name: str) -> Any:
        return (self._attrs if self._known else self._loaded()).get(name)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and not self._known:
            self._loaded()
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set a field by any of its names, which `update` sends; other attributes are your own.

        Raises AttributeError for a field of the server that cannot be changed.
        """
        own = name.startswith("_") or hasattr(type(self), name)
        key = name if own else self.snake_to_camel(name)
        if own or (key not in TEXTS and key not in self._attrs):
            super().__setattr__(name, value)
        elif key in TEXTS:
            self._assign(key, value)
        else:
            raise AttributeError(f"{name} of a run is the server's: it cannot be changed here")

    def _assign(self, key: str, value: object) -> None:
        self._field(key)
        self._attrs[key] = value
        self._assigned.add(key)

    @property
    def config(self) -> JsonObject:
        """The configuration that the run was given; change it and `update()`."""
        config: JsonObject = self._field("config")
        return config

    @property
    def rawconfig(self) -> JsonObject:
        """The configuration with W&B's own part, under the key `_wandb`."""
        return {**self._field("rawconfig"), **self.config}

    @property
    def json_config(self) -> str:
        """The configuration as JSON, as W&B writes it: `{key: {"value": ..., "desc": null}}`."""
        values = {key: to_wire_again(value, key) for key, value in self.config.items()}
        own = {key: value for key, value in self.rawconfig.items() if key in _OWN_KEYS}
        return dumps(
            {key: {"value": value, "desc": None} for key, value in {**own, **values}.items()}
        ).decode()

    @property
    def summary(self) -> AsyncRunSummary:
        """The last value of each metric, or what its definition asks for; nested like the keys.

        Change it and `update()` it, or the run.
        """
        self._field("summaryMetrics")
        return self._summary

    @property
    def summary_metrics(self) -> JsonObject:
        """The summary as it was loaded."""
        metrics: JsonObject = self._field("summaryMetrics")
        return metrics

    @property
    def system_metrics(self) -> JsonObject:
        """The last values of the machine's metrics."""
        metrics: JsonObject = self._field("systemMetrics")
        return metrics

    @property
    def history_keys(self) -> JsonObject:
        """`{"keys": {name: {"typeCounts": [{"type", "count"}]}}, "lastStep"}`, as W&B has it."""
        known = self._attrs if "historyKeys" in self._attrs else self._loaded()
        return read_object(known.get("historyKeys"))

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802 - W&B's name
        """The highest step that was logged, -1 before there is one."""
        last = self.history_keys.get("lastStep")
        return -1 if last is None else int(last)

    @property
    def entity(self) -> str:
        """Who owns the run."""
        return self._entity

    @property
    def username(self) -> str:
        """Deprecated: use `entity`."""
        warnings.warn("Run.username is deprecated: use entity", DeprecationWarning, stacklevel=2)
        return self._entity

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self._project

    @property
    def id(self) -> str:
        """The run's id, unique in its project.

        Set it to have this object stand for another run of the project, which is then loaded; no
        run on the server changes its id.
        """
        return str(self._attrs["name"])

    @id.setter
    def id(self, run_id: str) -> None:
        if not fits("run", run_id):
            raise ArgumentError(f"{run_id!r} is no run's id, which has {rule('run')}")
        self._attrs = {"name": run_id}
        self._known = self._full = False
        self._info = {}
        self._take({})

    @property
    def storage_id(self) -> str:
        """The id by which the server's mutations know the run."""
        return str(self._field("id"))

    @property
    def name(self) -> str:
        """The name shown for the run; set it and `update()`."""
        return self._field("displayName") or self.id

    @name.setter
    def name(self, name: str) -> None:
        self._assign("displayName", name)

    @property
    def state(self) -> str:
        """What became of it: "running", "finished", "failed", "crashed", "killed", "pending"."""
        return str(self._field("state"))

    @property
    def exit_code(self) -> int | None:
        """What the run ended with; None while it runs, and where the server does not know."""
        self._loaded()
        code: int | None = self._info.get("exit_code")
        return code

    @property
    def lost(self) -> int:
        """How many logged rows never reached the server, and are known to be gone."""
        self._loaded()
        return int(self._info.get("lost", 0))

    @property
    def tags(self) -> list[str]:
        """The run's labels; change them and `update()`."""
        tags: list[str] = self._field("tags")
        return tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self._assign("tags", list(tags))

    @property
    def notes(self) -> str | None:
        """Free text about the run; set it and `update()`."""
        notes: str | None = self._field("notes")
        return notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._assign("notes", notes)

    @property
    def description(self) -> str | None:
        """A description of the run; set it and `update()`."""
        description: str | None = self._field("description")
        return description

    @description.setter
    def description(self, description: str | None) -> None:
        self._assign("description", description)

    @property
    def group(self) -> str | None:
        """The group that the run belongs to; set it and `update()`."""
        group: str | None = self._field("group")
        return group

    @group.setter
    def group(self, group: str | None) -> None:
        self._assign("group", group)

    @property
    def job_type(self) -> str | None:
        """What the run does in its group; set it and `update()`."""
        job_type: str | None = self._field("jobType")
        return job_type

    @job_type.setter
    def job_type(self, job_type: str | None) -> None:
        self._assign("jobType", job_type)

    @property
    def sweep(self) -> Any:
        """The sweep that the run belongs to, a `Sweep`; None where it belongs to none.

        Where the run was asked for without sweeps (`include_sweeps=False`) it is None. It asks
        nothing: the sweep's fields are loaded by `sweep.load()`.
        """
        name = self._field("sweepName")
        if name and (self._sweep is None or self._sweep.id != name):
            self._sweep = self._sweep_type(self._client, self.entity, self.project, name)
        return self._sweep if name else None

    @property
    def sweep_name(self) -> str | None:
        """The id of the run's sweep; None where it belongs to none, or that was not asked for."""
        name: str | None = self._field("sweepName")
        return name

    @property
    def dir(self) -> str:
        """A temporary folder of this object's own, for what you download; made on first use.

        Nothing is ever deleted from it.
        """
        if self._dir is None:
            self._dir = tempfile.mkdtemp(prefix=f"asyncwb-{self.id}-")
        return self._dir

    @property
    def user(self) -> AsyncUser | None:
        """Who made the run; None where nobody knows."""
        found = self._field("user")
        return AsyncUser(self._client, found) if found else None

    @property
    def url(self) -> str:
        """The run's page."""
        return f"{self._client.url}/{route(self.entity, self.project)}/runs/{route(self.id)}"

    @property
    def path(self) -> list[str]:
        """`[entity, project, id]`."""
        return [self.entity, self.project, self.id]

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """Write an iframe of the run's page.

        Args:
            height: of the frame, in pixels.
            hidden: whether it starts hidden, behind a button.
        """
        return frame(self.url, "run", height, hidden)

    def _repr_html_(self) -> str:
        return self.to_html()

    @property
    def _run_path(self) -> RunPath:
        return RunPath(self.entity, self.project, self.id)

    def _names(self) -> dict[str, str]:
        return {"entity": self.entity, "project": self.project, "name": self.id}

    def _editable(self) -> JsonObject:
        """Return what `update` may send, as it is now."""
        fields = {key: self._attrs.get(key) for key in TEXTS}
        fields["tags"] = list(self._attrs["tags"])
        return {**fields, "config": self.json_config if self._known else ""}

    def __repr__(self) -> str:
        return f"<Run {self._run_path} ({self._attrs.get('state', 'not loaded')})>"


def _unwrapped(value: object) -> object:
    """Take a config's value out of W&B's `{"value": ..., "desc": ...}`."""
    return value["value"] if isinstance(value, dict) and "value" in value else value
