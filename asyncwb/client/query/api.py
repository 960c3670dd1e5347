"""Asking a server about its runs: `AsyncApi`, the way in to everything that was logged.

Making an Api costs no network; each question is one, asked on the engine's thread.

Source: https://docs.wandb.ai/ref/python/public-api/api.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from asyncwb.client.query.projects import AsyncProject, AsyncProjects
from asyncwb.client.query.reports import AsyncReport, AsyncReports
from asyncwb.client.query.requests.pages import page_size
from asyncwb.client.query.requests.query import Connection
from asyncwb.client.query.run import AsyncPublicRun
from asyncwb.client.query.runs import DEFAULT_ORDER, AsyncRuns, as_json
from asyncwb.client.query.sweeps import AsyncSweep
from asyncwb.client.query.teams import AsyncTeam
from asyncwb.client.query.users import AsyncUser
from asyncwb.client.waiting import wait_async
from asyncwb.engine.notices import caution
from asyncwb.errors import ArgumentError, AuthenticationError, NotFoundError, UsageError
from asyncwb.settings import Settings
from asyncwb.typing import FilePath, JsonObject
from asyncwb.version import __version__
from asyncwb.wire import query_documents
from asyncwb.wire.paths import parse_project, parse_run, parse_sweep, parts_of

T = TypeVar("T")

_OVERRIDES: Final = {
    "base_url": "base_url",
    "entity": "entity",
    "project": "project",
    "run": "run_id",
}
_FORMS: Final = (
    "'project', 'entity/project', 'entity/project/run', 'entity/project/runs/run', "
    "'entity/project/sweeps/sweep' or 'entity/project/reports/report'"
)


class AsyncApi:
    """Query a server: its projects, its runs and what they logged; its reports and its people.

        api = asyncwb.AsyncApi()
        run = await api.run("mnist/abc123")
        frame = await run.history(keys=["loss"])

    Making one costs about a millisecond and asks nothing; the server is found, or the one of this
    machine started, by the first question. What it does not say itself comes from the settings,
    as for `init()`. Runs, sweeps, lists of runs and reports are remembered until `flush()`: the
    same question gives the same object.

    A pickle of it has no API key and nothing that is remembered: where it is unpickled the key is
    looked up anew, in the settings and what `asyncwb login` stored. The same holds for runs.

    Mutable state: `_found`, what is remembered.

    Args:
        overrides: any of "base_url", "entity", "project" and "run": what a path leaves out.
        timeout: seconds that one answer may take; the default is the setting `http_timeout`, 30 s
            (W&B's client has 19).
        api_key: the key for the server.

    Raises:
        UsageError: an unknown override, a timeout that is none, or no key for a server elsewhere.
        SettingsError: a value that does not fit.
    """

    CREATE_PROJECT: Final = query_documents.CREATE_PROJECT
    DEFAULT_ENTITY_QUERY: Final = query_documents.DEFAULT_ENTITY
    USERS_QUERY: Final = query_documents.USERS
    VIEWER_QUERY: Final = query_documents.VIEWER

    def __init__(
        self,
        overrides: Mapping[str, object] | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
    ) -> None:
        if not isinstance(overrides, Mapping | None):
            raise ArgumentError(f"Api(overrides=...) is a dict, not {overrides!r}")
        given = {_setting(name): value for name, value in (overrides or {}).items()}
        settings = Settings.resolve({**given, "api_key": api_key, "http_timeout": timeout})
        if settings.base_url is not None and settings.api_key is None:
            raise UsageError(
                f"No API key configured for {settings.base_url}. Nothing was asked; use "
                "`asyncwb login`, ASYNCWB_API_KEY or Api(api_key=...)."
            )
        self._client = Connection(settings, settings.http_timeout, api_key)
        self._found: dict[tuple[object, ...], Any] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_client": self._client, "_found": {}}

    @property
    def _settings(self) -> Settings:
        return self._client.settings

    # Runs.

    async def run(self, path: str = "") -> AsyncPublicRun:
        """Load a run: everything about it but its history.

        Asked again for the same path it gives the same object, as it was loaded first, until
        `flush()`.

        Args:
            path: `entity/project/id`, `entity/project/runs/id`, `project/id`, `id` or
                `entity/project:id`; a "/" may lead. What it leaves out comes from `overrides` and
                the settings, at last the key's own user.

        Raises:
            RunNotFoundError: the server has no such run; a CommError and a ValueError.
            ValueError: the path has another form, or names no run.
            AuthenticationError: the server does not accept the key.
            CommError: it does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/api (`run`).
        """
        settings = self._settings
        place = parse_run(path, settings.entity, settings.project, settings.run_id)
        key = ("run", place)
        if key not in self._found:
            entity = place.entity or await self._default_entity()
            run = AsyncPublicRun(self._client, entity, place.project, place.run)
            await run.load()
            self._found[key] = run
        found: AsyncPublicRun = self._found[key]
        return found

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, object] | None = None,
        order: str = DEFAULT_ORDER,
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
    ) -> AsyncRuns:
        """List the runs of a project; asks nothing before it is used.

            runs = api.runs("mnist", {"state": "finished", "config.lr": {"$lt": 0.1}},
                            order="-summary_metrics.accuracy")

        Asked again for the same it gives the same list, as far as it was loaded, until `flush()`.
        The list's first use raises NotFoundError where there is no such project, and FilterError
        for filters or an order that the server does not understand; both are ValueErrors.

        Args:
            path: `entity/project` or `project`; left out: the project of the settings.
            filters: which runs, in MongoDB's query language: `$and $or $nor $not $eq $ne $gt $gte
                $lt $lte $in $nin $exists $regex` over `config.KEY`, `summary_metrics.KEY`, `tags`,
                `state`, `display_name`, `group`, `job_type`, `username`, `created_at`, ...
            order: `created_at`, `heartbeat_at`, `config.KEY.value` or `summary_metrics.KEY`, with
                "+" (ascending) or "-" (descending) before it; without a sign it is descending.
            per_page: how many runs one question gives, >= 1; the server's bound is 1000.
            include_sweeps: whether runs that belong to a sweep are among them.
            lazy: whether the keys of the runs' histories (`history_keys`, `lastHistoryStep`) are
                left out; `upgrade_to_full()` of the list, or `load()` of a run, asks for them.

        Raises:
            ValueError: the path has another form, `filters` is no dict, `per_page` is below 1.

        Source: https://docs.wandb.ai/ref/python/public-api/api (`runs`).
        """
        place = parse_project(path, self._settings.entity, self._settings.project)
        size = page_size(per_page)
        key = ("runs", place, as_json(filters or {}), order, size, include_sweeps, lazy)
        runs = AsyncRuns(self._client, place, filters, order, size, include_sweeps, lazy)
        return self._remembered(key, runs)

    async def sweep(self, path: str = "") -> AsyncSweep:
        """Load a sweep.

        Asked again for the same path it gives the same object, as it was loaded first, until
        `flush()`.

        Args:
            path: `entity/project/id`, `entity/project/sweeps/id`, `project/id` or `id`; a "/" may
                lead. What it leaves out comes from `overrides` and the settings, at last the key's
                own user.

        Raises:
            NotFoundError: the server has no such sweep; a CommError and a ValueError.
            ValueError: the path has another form, or names no sweep.
            CommError: the server does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/api (`sweep`).
        """
        place = parse_sweep(path, self._settings.entity, self._settings.project)
        key = ("sweep", place)
        if key not in self._found:
            entity = place.entity or await self._default_entity()
            sweep = AsyncSweep(self._client, entity, place.project, place.sweep)
            await sweep.load()
            self._found[key] = sweep
        found: AsyncSweep = self._found[key]
        return found

    async def create_run(
        self, *, run_id: str | None = None, project: str | None = None, entity: str | None = None
    ) -> AsyncPublicRun:
        """Make a run on the server that nobody logs to yet.

        Args:
            run_id: the run's id; left out, a random one.
            project: left out, that of the settings, at last "uncategorized".
            entity: left out, that of the settings, at last the key's own user.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        return await AsyncPublicRun.create(self, run_id, project, entity)

    async def sync_tensorboard(
        self,
        root_dir: FilePath,
        run_id: str | None = None,
        project: str | None = None,
        entity: str | None = None,
    ) -> AsyncPublicRun:
        """Bring a folder of TensorBoard's event files to the server, as one run; returns the run.

        Called again it sends what was added since. Needs the extra `tensorboard`, and our own
        server.

        Args:
            root_dir: the folder; the folders in it are namespaces.
            run_id: the run's id; left out, one that belongs to the folder, the same each time.
            project: left out, that of the settings, at last "uncategorized".
            entity: left out, that of the settings, at last the key's own user.

        Raises:
            UsageError: there is no such folder, or no event file in it.
            UnsupportedError: the extra `tensorboard` is not installed.
            CommError: not all of it could be sent; call it again for the rest.
        """
        owner = entity or await self._default_entity()
        name = project or self._settings.project
        sent = self._client.sync_tensorboard(Path(root_dir), run_id, name, owner)
        place = await wait_async(sent)
        run = AsyncPublicRun(self._client, place.entity or owner, place.project, place.run)
        await run.load()
        return run

    def flush(self) -> None:
        """Forget every run, sweep, list of runs and report: the next question asks anew."""
        self._found.clear()

    # Projects and reports.

    async def project(self, name: str, entity: str | None = None) -> AsyncProject:
        """Name a project; its fields are loaded by `project.load()`.

        Asks the server only for the entity, where nobody names one.

        Args:
            name: the project's name.
            entity: left out, that of `overrides` and the settings, at last the key's own user.

        Raises:
            CommError: the entity had to be asked for, and the server does not answer.
        """
        owner = entity or await self._default_entity()
        return AsyncProject(self._client, owner, name)

    def projects(self, entity: str | None = None, per_page: int | None = 200) -> AsyncProjects:
        """List the projects of an entity; asks nothing before it is used.

        Args:
            entity: left out, that of `overrides` and the settings, at last the key's own user.
            per_page: how many projects one question gives, >= 1.

        Source: https://docs.wandb.ai/ref/python/public-api/api (`projects`).
        """
        return AsyncProjects(self._client, entity, page_size(per_page, 200))

    async def create_project(self, name: str, entity: str) -> None:
        """Make a project; nothing happens where there is one of that name.

        Args:
            name: the project's name.
            entity: who owns it.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        await wait_async(self._client.ask(query_documents.CREATE_PROJECT, name=name, entity=entity))

    def reports(
        self, path: str = "", name: str | None = None, per_page: int | None = 50
    ) -> AsyncReports:
        """List the reports of a project; asks nothing before it is used.

        Args:
            path: `entity/project` or `project`; left out: the project of the settings.
            name: only the reports with this title, or of this name (which W&B's page never shows,
                and by which alone its servers filter).
            per_page: how many reports one question gives, >= 1.

        Raises:
            ValueError: the path has another form.
        """
        place = parse_project(path, self._settings.entity, self._settings.project)
        size = page_size(per_page)
        reports = AsyncReports(self._client, place, name, size)
        return self._remembered(("reports", place, name, size), reports)

    async def from_path(
        self, path: str
    ) -> AsyncPublicRun | AsyncProject | AsyncReport | AsyncSweep:
        """Load what a path means: a project, a run, a sweep or a report.

        Args:
            path: `project`, `entity/project`, `entity/project/run`, `entity/project/runs/run`,
                `entity/project/sweeps/sweep` or `entity/project/reports/My-Report--id`
                (`My-Report-id` will do).

        Raises:
            UsageError: the path has another form.
            NotFoundError: there is no such thing.
            CommError: the server does not answer.
        """
        parts = parts_of(path)
        if len(parts) in (1, 2):
            place = parse_project("/".join(parts), self._settings.entity, self._settings.project)
            project = await self.project(place.project, place.entity)
            await project.load()
            return project
        if len(parts) == 3 or (len(parts) == 4 and parts[2] in ("run", "runs")):
            return await self.run("/".join([*parts[:2], parts[-1]]))
        if len(parts) == 4 and parts[2].startswith("report"):
            return await self._report("/".join(parts[:2]), parts[3])
        if len(parts) == 4 and parts[2].startswith("sweep"):
            return await self.sweep("/".join([*parts[:2], parts[3]]))
        raise ArgumentError(
            f"{path!r} is no path of a project, run, sweep or report: write {_FORMS}"
        )

    async def _report(self, project: str, text: str) -> AsyncReport:
        async for report in self.reports(project):
            if report.is_at(text):
                return report
        raise NotFoundError(f"the project {project} has no report {text!r}", 404, "not_found")

    # People.

    @property
    def viewer(self) -> Awaitable[AsyncUser]:
        """Who the API key belongs to: `await api.viewer`; asked anew each time.

        Raises:
            AuthenticationError: the server does not accept the key.
            CommError: it does not answer.
        """
        return self._viewer()

    async def _viewer(self) -> AsyncUser:
        found = (await wait_async(self._client.ask(query_documents.VIEWER))).get("viewer")
        if not found:
            raise AuthenticationError(
                f"{self._client.url} does not know whose API key this is. Check the key, or run "
                "`asyncwb login`.",
                200,
            )
        return AsyncUser(self._client, found, user_api=self)

    async def user(self, username_or_email: str) -> AsyncUser | None:
        """Look an account up; None where there is none, or you share no team with it.

        An admin of the server finds all.

        Where the server finds several, the one of exactly this name or address is meant; else it
        is the first, and a warning says so.

        Args:
            username_or_email: the account's name or address.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        found = await self.users(username_or_email)
        exact = [u for u in found if username_or_email in (u.username, u.email)]
        if len(found) > 1 and not exact:
            caution(f"{len(found)} users match {username_or_email!r}; this is the first of them")
        return next(iter(exact or found), None)

    async def users(self, username_or_email: str) -> list[AsyncUser]:
        """Find accounts by a part of their name or address, among those you share a team with.

        An admin of the server finds all.

        Args:
            username_or_email: how the name or address begins or ends.

        Raises:
            CommError: the server refuses, or does not answer.
        """
        data = await wait_async(self._client.ask(query_documents.USERS, query=username_or_email))
        edges = (data.get("users") or {}).get("edges") or []
        return [AsyncUser(self._client, edge["node"]) for edge in edges]

    async def create_user(self, email: str, admin: bool | None = False) -> AsyncUser:
        """Make an account; only an admin of the server may.

        Args:
            email: the address of the person.
            admin: whether the account administers the server.

        Raises:
            CommError: the server refuses, or there is such an account.
        """
        return await AsyncUser.create(self, email, admin)

    async def team(self, team: str) -> AsyncTeam:
        """Load a team and its members.

        Args:
            team: the team's name.

        Raises:
            NotFoundError: there is no such team, or the key may not see it.
            CommError: the server does not answer.
        """
        found = AsyncTeam(self._client, team)
        await found.load()
        return found

    async def create_team(self, team: str, admin_username: str | None = None) -> AsyncTeam:
        """Make a team.

        Args:
            team: the team's name.
            admin_username: who administers it; left out, whose key it is.

        Raises:
            CommError: the server refuses, or the name is taken.
        """
        return await AsyncTeam.create(self, team, admin_username)

    # What the Api itself is.

    @property
    def default_entity(self) -> Awaitable[str]:
        """Who owns what names no owner: `await api.default_entity`.

        That is the entity of `overrides` and the settings, at last the key's own user.

        Raises:
            AuthenticationError: the server does not accept the key.
            CommError: it does not answer.
        """
        return self._default_entity()

    async def _default_entity(self) -> str:
        return await wait_async(self._client.entity())

    @property
    def api_key(self) -> str | None:
        """The key that is sent; None where it is the embedded server's and nothing was asked."""
        return self._client.api_key

    @property
    def settings(self) -> JsonObject:
        """What paths may leave out: "entity", "project", "run"; and "base_url"."""
        own = self._settings
        return {
            "entity": own.entity,
            "project": own.project,
            "run": own.run_id,
            "base_url": own.base_url or self._client.url or None,
        }

    @property
    def user_agent(self) -> str:
        """How the program names itself to servers."""
        return f"asyncwb/{__version__}"

    @property
    def client(self) -> Connection:
        """The server that is asked; what `Run(client, ...)` takes."""
        return self._client

    def _remembered(self, key: tuple[object, ...], fresh: T) -> T:
        found: T = self._found.setdefault(key, fresh)
        return found


def _setting(override: str) -> str:
    if override not in _OVERRIDES:
        known = ", ".join(_OVERRIDES)
        raise ArgumentError(f"Api(overrides=...) has no {override!r}: it takes {known}")
    return _OVERRIDES[override]
