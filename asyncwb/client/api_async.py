"""Asking a server about its runs, async: `AsyncApi`, the way in to everything that was logged.

Making an Api costs no network; each question is one, asked on the engine's thread. The sync face
is generated from this file.

Source: https://docs.wandb.ai/ref/python/public-api/api.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from asyncwb.client.paging_async import AsyncPages
from asyncwb.client.paths import ProjectPath, parse_project, parse_run
from asyncwb.client.projects import Project, User
from asyncwb.client.public_async import AsyncPublicRun
from asyncwb.client.query import Connection
from asyncwb.client.waiting import wait_async
from asyncwb.errors import RunNotFoundError, UsageError
from asyncwb.settings import Settings

_OVERRIDES: Final = {
    "base_url": "base_url",
    "entity": "entity",
    "project": "project",
    "run": "run_id",
}
_MAX_PAGE: Final = 1000


class AsyncRuns(AsyncPages[AsyncPublicRun]):
    """The runs of a project, newest first: a lazy list. Made by `AsyncApi.runs()`.

    async for run in api.runs("mnist"):
        print(run.name, run.summary)
    """

    def __init__(self, connection: Connection, path: ProjectPath, per_page: int) -> None:
        super().__init__(
            lambda cursor: connection.runs(path, per_page, cursor),
            lambda entry: AsyncPublicRun(connection, entry, full=False),
        )
        self._path = path
        self.per_page = per_page

    def __repr__(self) -> str:
        return f"<Runs {self._path}>"


class AsyncProjects(AsyncPages[Project]):
    """The projects of an entity, the last active first: a lazy list."""

    def __init__(self, connection: Connection, entity: str | None) -> None:
        super().__init__(lambda _cursor: connection.projects(entity), Project.from_entry)
        self._entity = entity

    def __repr__(self) -> str:
        return f"<Projects {self._entity}>" if self._entity else "<Projects>"


class AsyncApi:
    """Query a server: its projects, its runs and what they logged.

        api = asyncwb.AsyncApi()
        run = await api.run("mnist/abc123")
        frame = await run.history(keys=["loss"])

    Making one costs about a millisecond and asks nothing; the server is found, or the one of this
    machine started, by the first question. What it does not say itself comes from the settings,
    as for `init()`.

    Args:
        overrides: any of "base_url", "entity", "project" and "run": what a path leaves out.
        timeout: seconds that one answer may take; the default is the setting `http_timeout`. One
            request never takes longer than the engine's own bound of 30 s.
        api_key: the key for the server.

    Raises:
        UsageError: an unknown override, a timeout that is none, or no key for a server elsewhere.
        SettingsError: a value that does not fit.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
    ) -> None:
        given = {_setting(name): value for name, value in (overrides or {}).items()}
        settings = Settings.resolve({**given, "api_key": api_key, "http_timeout": timeout})
        if settings.base_url is not None and settings.api_key is None:
            raise UsageError(
                f"No API key configured for {settings.base_url}. Nothing was asked; use "
                "`asyncwb login`, ASYNCWB_API_KEY or Api(api_key=...)."
            )
        self._settings = settings
        self._connection = Connection(settings, settings.http_timeout, api_key)

    async def run(self, path: str = "") -> AsyncPublicRun:
        """Load a run: everything about it but its history, in one question.

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
        try:
            info = await wait_async(self._connection.run(place))
        except RunNotFoundError as error:
            raise RunNotFoundError(
                f"Could not find run {place}: {error.message}", error.status, error.code
            ) from None
        return AsyncPublicRun(self._connection, info, full=True)

    def runs(self, path: str | None = None, per_page: int = 50) -> AsyncRuns:
        """List the runs of a project, newest first; asks nothing before it is used.

        The list's first use raises RunNotFoundError, a ValueError, where there is no such project.

        Args:
            path: `entity/project` or `project`; left out: the project of the settings.
            per_page: how many runs one question gives, >= 1; the server's bound is 1000.

        Raises:
            ValueError: the path has another form, or `per_page` is below 1.

        Source: https://docs.wandb.ai/ref/python/public-api/api (`runs`).
        """
        settings = self._settings
        if per_page < 1:
            raise ValueError(f"per_page is a whole number >= 1, not {per_page!r}")
        place = parse_project(path, settings.entity, settings.project)
        return AsyncRuns(self._connection, place, min(per_page, _MAX_PAGE))

    def projects(self, entity: str | None = None) -> AsyncProjects:
        """List the projects of an entity, the last active first; asks nothing before it is used.

        Left out, the entity is that of `overrides` and the settings, at last the key's own user.

        Source: https://docs.wandb.ai/ref/python/public-api/api (`projects`).
        """
        return AsyncProjects(self._connection, entity or self._settings.entity)

    @property
    def viewer(self) -> Awaitable[User]:
        """Who the API key belongs to: `await api.viewer`; asked anew each time.

        Raises:
            AuthenticationError: the server does not accept the key.
            CommError: it does not answer.
        """
        return self._viewer()

    async def _viewer(self) -> User:
        found = await wait_async(self._connection.viewer())
        return User(found["username"], found["entity"], bool(found["admin"]))


def _setting(override: str) -> str:
    if override not in _OVERRIDES:
        known = ", ".join(_OVERRIDES)
        raise UsageError(f"Api(overrides=...) has no {override!r}: it takes {known}")
    return _OVERRIDES[override]
