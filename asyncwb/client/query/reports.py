"""Reports.

Source: https://docs.wandb.ai/ref/python/public-api/betareport.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from asyncwb.client.query.attributes import Attributes, frame
from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import of_reports, page_size, pages
from asyncwb.client.query.requests.query import Connection
from asyncwb.client.query.requests.report_filters import query_of
from asyncwb.client.query.runs import AsyncRuns
from asyncwb.errors import ArgumentError
from asyncwb.typing import JsonObject
from asyncwb.wire.paths import ProjectPath, route
from asyncwb.wire.rows.values import loads


class AsyncReport(Attributes):
    """A report of a project. Made by `AsyncApi.reports()`.

    `id`, `name`, `display_name`, `description`, `user`, `created_at` and `updated_at` are
    attributes.

    Args:
        client: the server.
        attrs: the report's fields.
        entity: who owns the project.
        project: the project's name.
    """

    def __init__(self, client: Connection, attrs: JsonObject, entity: str, project: str) -> None:
        spec = attrs.get("spec") or {}
        super().__init__({**attrs, "spec": loads(spec) if isinstance(spec, str) else spec})
        self._client = client
        self.entity = entity
        self.project = project

    @property
    def spec(self) -> JsonObject:
        """What the report consists of, as the server keeps it."""
        spec: JsonObject = self._attrs["spec"]
        return spec

    @property
    def sections(self) -> list[JsonObject]:
        """The parts of the report that show runs: each has `runSets`, and panels over them."""
        grids = [b for b in self.spec.get("blocks", []) if b.get("type") == "panel-grid"]
        found: list[JsonObject] = self.spec.get("panelGroups") or [
            block.get("metadata", {}) for block in grids
        ]
        return found

    def runs(
        self, section: JsonObject, per_page: int = 50, only_selected: bool = True
    ) -> AsyncRuns:
        """List the runs that a section shows; asks nothing before it is used.

        Args:
            section: one of `sections`.
            per_page: how many runs one question gives.
            only_selected: whether runs that the section does not show by default are left out.

        Raises:
            ValueError: it is no section, has no set of runs, or a filter that has no meaning.
        """
        if not isinstance(section, Mapping):
            raise ArgumentError(f"section is one of `report.sections`, not {section!r}")
        sets = section.get("runSets") or []
        if not sets:
            raise ArgumentError("the section has no set of runs")
        filters, order = query_of(sets[section.get("openRunSet") or 0], only_selected)
        path = ProjectPath(self.entity, self.project)
        return AsyncRuns(self._client, path, filters, order, page_size(per_page))

    @property
    def slug(self) -> str:
        """The report's own part of its address: "My-Report--" and its id."""
        shown = re.sub(r"\W+", "-", self._attrs.get("displayName") or "").strip("-")
        return f"{quote(shown)}--{str(self._attrs['id']).rstrip('=')}"

    @property
    def url(self) -> str:
        """The report's page."""
        return f"{self._client.url}/{route(self.entity, self.project)}/reports/{self.slug}"

    def is_at(self, text: str) -> bool:
        """Tell whether an address's last part means this report: its id, slug or name."""
        own = str(self._attrs["id"]).rstrip("=")
        given = text.rstrip("=")
        names = (own, self._attrs.get("name"), self._attrs.get("displayName"), self.slug)
        return given in names or given.endswith(f"-{own}")

    def to_html(self, height: int = 1024, hidden: bool = False) -> str:
        """Write an iframe of the report's page; arguments as for `display`."""
        return frame(self.url, "report", height, hidden)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return f"<Report {self._attrs.get('displayName')!r} of {self.entity}/{self.project}>"


class AsyncReports(AsyncPages[AsyncReport]):
    """The reports of a project: a lazy list. Made by `AsyncApi.reports()`."""

    def __init__(
        self, client: Connection, path: ProjectPath, name: str | None = None, per_page: int = 50
    ) -> None:
        super().__init__(
            pages(client, of_reports, path, {"name": name, "perPage": per_page}),
            lambda entry: AsyncReport(client, entry, entry["entity"], path.project),
            per_page,
        )
        self._path = path

    def __repr__(self) -> str:
        return f"<Reports {self._path}>"
