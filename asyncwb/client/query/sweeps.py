"""Sweeps: what is searched, how far it is, and the runs that belong to it.

Source: https://docs.wandb.ai/ref/python/public-api/sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asyncwb.client.query.attributes import Attributes, frame
from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import of_sweeps, pages
from asyncwb.client.query.requests.query import Asker, Connection
from asyncwb.client.query.run import AsyncPublicRun
from asyncwb.client.query.run_fields import AsyncRunFields
from asyncwb.client.query.runs import DEFAULT_ORDER, AsyncRuns, as_json, with_sign
from asyncwb.client.waiting import wait_async
from asyncwb.errors import ArgumentError, NotFoundError, UnsupportedError, UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.paths import ProjectPath, route

_NEWEST_FIRST: Final = "-created_at"
_SPACES: Final = ("config", "summary_metrics", "tags")
_OF_RUNS: Final = (
    *("createdAt", "created_at", "updatedAt", "updated_at", "heartbeatAt", "heartbeat_at"),
    *("name", "sweep"),
)


class AsyncSweep(Attributes):
    """A search over configurations. Made by `AsyncApi.sweep()` and `AsyncProject.sweeps()`.

        sweep = await asyncwb.AsyncApi().sweep("me/mnist/k3v9x1ab")
        print(sweep.state, sweep.config["parameters"])
        best = await sweep.best_run()

    Every field that the server sends is an attribute, in snake_case too: `method`, `description`,
    `best_loss`, `run_count`, `created_at` and `updated_at` (ISO 8601).

    Args:
        client: the server.
        entity: who owns the sweep's project.
        project: the project's name.
        sweep_id: the sweep's id.
        attrs: its fields, where they were loaded already.
    """

    def __init__(
        self,
        client: Connection,
        entity: str,
        project: str,
        sweep_id: str,
        attrs: JsonObject | None = None,
    ) -> None:
        super().__init__(attrs or {})
        self._client = client
        self._runs_order = DEFAULT_ORDER
        self._runs: AsyncRuns | None = None
        self.entity = entity
        self.project = project
        self.id = sweep_id

    @classmethod
    async def get(
        cls,
        api: Asker,
        entity: str | None = None,
        project: str | None = None,
        sid: str | None = None,
        order: str | None = None,
    ) -> AsyncSweep | None:
        """Load a sweep; None where there is none, or the key may not see it.

        Args:
            api: whose server and key.
            entity: left out, that of the Api.
            project: left out, that of the Api.
            sid: the sweep's id.
            order: by what `runs` are sorted, as for `Api.runs`.

        Raises:
            UsageError: no `sid` was given.
            CommError: the server does not answer.
        """
        if not sid:
            raise ArgumentError(
                "Sweep.get(api, entity, project, sid) needs the id of a sweep: `sid`"
            )
        client = api.client
        if entity is None:
            entity = await wait_async(client.entity())
        sweep = cls(client, entity, project or client.settings.project, sid)
        sweep._runs_order = order or DEFAULT_ORDER
        try:
            await sweep.load()
        except NotFoundError:
            return None
        return sweep

    async def load(self, force: bool = False) -> JsonObject:
        """Load the sweep's fields, with `force` anew; returns them.

        Raises:
            NotFoundError: there is no such sweep, or the key may not see it; a ValueError.
            CommError: the server does not answer.
        """
        if force or not self._attrs:
            names = {"entity": self.entity, "project": self.project, "name": self.id}
            data = await wait_async(self._client.ask(query_documents.SWEEP, **names))
            found = (data.get("project") or {}).get("sweep")
            if found is None:
                raise NotFoundError(
                    f"Could not find sweep {'/'.join(self.path)}: the server has no such sweep, or "
                    "the key may not see it",
                    404,
                    "sweep_not_found",
                )
            self._attrs = found
            self._runs = None
        return self._attrs

    @property
    def name(self) -> str:
        """The name shown for the sweep: the one it was given, its configuration's, or its id."""
        return str(self._field("displayName") or self.config.get("name") or self.id)

    @property
    def state(self) -> str:
        """How far it is: "PENDING", "RUNNING", "PAUSED", "FINISHED" or "CANCELED"."""
        return str(self._field("state"))

    @property
    def config(self) -> JsonObject:
        """What is searched, and how. It is YAML at the server, and read anew each time.

        Raises:
            UnsupportedError: PyYAML is not installed.
        """
        text = self._field("config")
        try:
            import yaml
        except ImportError as error:
            raise UnsupportedError(
                "The configuration of a sweep is YAML, and PyYAML is not installed. Nothing was "
                "changed; pip install pyyaml"
            ) from error
        return dict(yaml.safe_load(text) or {})

    @property
    def expected_run_count(self) -> int | None:
        """How many runs the configuration allows for; None where there is no end to them."""
        count: int | None = self._field("runCountExpected")
        return count

    @property
    def order(self) -> str | None:
        """By what the best run comes first: "+summary_metrics.loss"; None without a metric."""
        metric = self.config.get("metric")
        if not metric:
            return None
        sign = "+" if metric.get("goal", "minimize") == "minimize" else "-"
        return _order(sign + metric["name"])

    @property
    def runs(self) -> AsyncRuns:
        """The runs that belong to the sweep, the oldest first: a lazy list."""
        if self._runs is None:
            self._runs = self._list(self._runs_order)
        return self._runs

    async def best_run(self, order: str | None = None) -> AsyncPublicRun | None:
        """Return the best run; None where the sweep has none.

        Args:
            order: by what it is the first, such as "-summary_metrics.accuracy" or "accuracy"
                (which is the same); left out, the sweep's `order`, at last the newest run.

        Raises:
            FilterError: the server does not understand the order.
            CommError: it does not answer.
        """
        wanted = self.order if order is None else _order(order)
        return await self._list(wanted or _NEWEST_FIRST, 1).first()

    @property
    def path(self) -> list[str]:
        """`[entity, project, id]`."""
        return [self.entity, self.project, self.id]

    @property
    def url(self) -> str:
        """The sweep's page."""
        return f"{self._client.url}/{route(self.entity, self.project)}/sweeps/{route(self.id)}"

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """Write an iframe of the sweep's page; arguments as for `display`."""
        return frame(self.url, "sweep", height, hidden)

    def _repr_html_(self) -> str:
        return self.to_html()

    def _list(self, order: str, per_page: int = 50) -> AsyncRuns:
        place = ProjectPath(self.entity, self.project)
        return AsyncRuns(self._client, place, {"sweep": self.id}, order, per_page)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return super().__getattr__(name) if self._attrs else self._field(name)

    def _field(self, name: str) -> Any:
        # sync: self.load()
        # sync: drop
        if not self._attrs:
            raise UsageError(
                f"the sweep {'/'.join(self.path)} was not loaded: `await sweep.load()` before its "
                f"{name}"
            )
        return super().__getattr__(name)

    def __repr__(self) -> str:
        return f"<Sweep {'/'.join(self.path)} ({self._attrs.get('state', 'not loaded')})>"


class AsyncSweeps(AsyncPages[AsyncSweep]):
    """The sweeps of a project, the newest first: a lazy list. Made by `AsyncProject.sweeps()`."""

    def __init__(
        self,
        client: Connection,
        path: ProjectPath,
        per_page: int = 50,
        filters: Mapping[str, object] | None = None,
        order: str | None = None,
    ) -> None:
        fixed = {
            "perPage": per_page,
            "filters": as_json(filters) if filters else None,
            "order": with_sign(order) if order else None,
        }
        super().__init__(
            pages(client, of_sweeps, path, fixed),
            lambda entry: AsyncSweep(client, entry["entity"], path.project, entry["name"], entry),
            per_page,
        )
        self._path = path

    def __repr__(self) -> str:
        return f"<Sweeps {self._path}>"


def _order(text: str) -> str:
    """Write an order as the server takes it; a name that is none of a run's is a metric's."""
    sign, name = (text[0], text[1:]) if text.startswith(("+", "-")) else ("-", text)
    if name in _OF_RUNS or name.partition(".")[0] in _SPACES:
        return sign + name
    return f"{sign}summary_metrics.{name}"


# A sweep gives its runs and a run its sweep; of the two it is the run that is told of the other.
AsyncRunFields._sweep_type = AsyncSweep
