"""Projects.

Source: https://docs.wandb.ai/ref/python/public-api/project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncwb.client.query.attributes import Attributes, frame
from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import of_projects, page_size, pages
from asyncwb.client.query.requests.query import Connection
from asyncwb.client.query.sweeps import AsyncSweeps
from asyncwb.client.query.users import AsyncUser
from asyncwb.client.waiting import wait_async
from asyncwb.errors import NotFoundError, UsageError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.paths import ProjectPath, route


class AsyncProject(Attributes):
    """A project: where runs and reports are. Made by `AsyncApi.project()` and `projects()`.

    `id` and `created_at` are attributes, as is every other field that the server sends.

    Args:
        client: the server.
        entity: who owns the project.
        project: its name.
        attrs: its fields, where they were loaded already.
    """

    def __init__(
        self, client: Connection, entity: str, project: str, attrs: JsonObject | None = None
    ) -> None:
        super().__init__(attrs or {})
        self._client = client
        self.entity = entity
        self.name = project

    async def load(self, force: bool = False) -> JsonObject:
        """Load the project's fields, with `force` anew; returns them.

        Raises:
            NotFoundError: there is no such project, or the key may not see it.
        """
        if force or not self._attrs:
            names = {"name": self.name, "entity": self.entity}
            found = (await wait_async(self._client.ask(query_documents.PROJECT, **names))).get(
                "project"
            )
            if found is None:
                raise NotFoundError(
                    f"Could not find project {self.entity}/{self.name}: there is no project of "
                    "that name, or the key may not see it",
                    404,
                    "project_not_found",
                )
            self._attrs = found
        return self._attrs

    @property
    def path(self) -> list[str]:
        """`[entity, name]`."""
        return [self.entity, self.name]

    @property
    def url(self) -> str:
        """The project's page."""
        return f"{self._client.url}/{route(self.entity, self.name)}"

    @property
    def owner(self) -> AsyncUser:
        """Who made the project.

        Raises:
            NotFoundError: nobody knows.
        """
        found = self._field("user")
        if not found:
            raise NotFoundError(f"nobody knows who made the project {self.entity}/{self.name}")
        return AsyncUser(self._client, found)

    def sweeps(
        self,
        per_page: int | None = 50,
        filters: Mapping[str, object] | None = None,
        order: str | None = None,
    ) -> AsyncSweeps:
        """List the project's sweeps, the newest first; asks nothing before it is used.

        Args:
            per_page: how many sweeps one question gives, >= 1.
            filters: which sweeps, as a W&B server takes them; our own has no filters for sweeps,
                and says so by a FilterError.
            order: "+created_at", the oldest first, or "-created_at".

        Raises:
            ValueError: `per_page` is below 1, or `filters` is no dict.
        """
        place = ProjectPath(self.entity, self.name)
        return AsyncSweeps(self._client, place, page_size(per_page), filters, order)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """Write an iframe of the project's page; arguments as for `display`."""
        return frame(self.url, "project", height, hidden)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return super().__getattr__(name) if self._attrs else self._field(name)

    def _field(self, name: str) -> Any:
        # sync: self.load()
        # sync: drop
        if not self._attrs:
            raise UsageError(
                f"the project {self.entity}/{self.name} was not loaded: `await project.load()` "
                f"before its {name}"
            )
        return super().__getattr__(name)

    def __repr__(self) -> str:
        return f"<Project {self.entity}/{self.name}>"


class AsyncProjects(AsyncPages[AsyncProject]):
    """The projects of an entity: a lazy list. Made by `AsyncApi.projects()`."""

    def __init__(self, client: Connection, entity: str | None, per_page: int = 50) -> None:
        super().__init__(
            pages(client, of_projects, entity, per_page),
            lambda entry: AsyncProject(client, entry["entity"], entry["name"], entry),
            per_page,
        )
        self.entity = entity

    def __repr__(self) -> str:
        return f"<Projects {self.entity}>" if self.entity else "<Projects>"
