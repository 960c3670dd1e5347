"""The pages that lists are made of: one function a kind of list, run on the engine's loop.

A face asks with `pages(client, function, ...)`, which gives what `AsyncPages` fetches with. Runs,
sweeps and reports carry the name of their project's owner along, as `entity`: whoever asked may
have left it to the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Concatenate, Final, ParamSpec, TypeAlias

from asyncwb.client.query.requests.query import Connection, Page, Variables
from asyncwb.engine.session import Worker
from asyncwb.errors import ArgumentError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.paths import ProjectPath, RunPath

P = ParamSpec("P")

Fetch: TypeAlias = Callable[[str | None], Future[Page]]
Ask: TypeAlias = Callable[Concatenate[Connection, Worker, str | None, P], Awaitable[Page]]

MAX_PAGE: Final = 1000
"""how many entries a server gives at once, at most"""


def pages(client: Connection, ask: Ask[P], *args: P.args, **kwargs: P.kwargs) -> Fetch:
    """Return what fetches the page that begins at a cursor."""
    return lambda cursor: client.submit(lambda worker: ask(client, worker, cursor, *args, **kwargs))


def page_size(per_page: int | None, default: int = 50) -> int:
    """Check how many entries a page shall have; None is the default.

    Raises ValueError for what is no whole number >= 1; more than the server's bound is the bound.
    """
    size = default if per_page is None else per_page
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ArgumentError(f"per_page is a whole number >= 1, not {per_page!r}")
    return min(size, MAX_PAGE)


def page_of(connection: JsonObject | None, length: int | None = None) -> Page:
    """Read a page out of a GraphQL connection: its edges, and where they end."""
    edges = (connection or {}).get("edges") or []
    info = (connection or {}).get("pageInfo") or {}
    cursor = info.get("endCursor") or (edges[-1].get("cursor") if edges else None)
    more = bool(info.get("hasNextPage")) and bool(edges)
    return Page([edge["node"] for edge in edges], cursor if more else None, length)


async def of_runs(
    client: Connection, worker: Worker, cursor: str | None, path: ProjectPath, fixed: Variables
) -> Page:
    """Ask for runs of a project, and for how many there are."""
    variables = {**fixed, "cursor": cursor}
    project = await client.query_project(worker, path, query_documents.RUNS, variables)
    return _owned(page_of(project["runs"], project["runCount"]), project["entity"])


async def of_projects(
    client: Connection, worker: Worker, cursor: str | None, entity: str | None, size: int
) -> Page:
    """Ask for projects of an entity."""
    owner = await client.owner(worker, entity)
    variables = {"entity": owner, "cursor": cursor, "perPage": size}
    data = await client.query(worker, query_documents.PROJECTS, variables)
    return _owned(page_of(data["models"]), owner)


async def of_reports(
    client: Connection, worker: Worker, cursor: str | None, path: ProjectPath, fixed: Variables
) -> Page:
    """Ask for reports of a project."""
    variables = {**fixed, "cursor": cursor}
    project = await client.query_project(worker, path, query_documents.REPORTS, variables)
    return _owned(page_of(project["allViews"]), project["entity"])


async def of_sweeps(
    client: Connection, worker: Worker, cursor: str | None, path: ProjectPath, fixed: Variables
) -> Page:
    """Ask for sweeps of a project, and for how many there are."""
    variables = {**fixed, "cursor": cursor}
    document = query_documents.SORTED_SWEEPS if fixed["order"] else query_documents.SWEEPS
    project = await client.query_project(worker, path, document, variables)
    # The server counts all sweeps of the project, whichever were asked for.
    count = None if fixed["filters"] else project["totalSweeps"]
    return _owned(page_of(project["sweeps"], count), project["entity"])


async def of_files(
    client: Connection, worker: Worker, cursor: str | None, path: RunPath, fixed: Variables
) -> Page:
    """Ask for files of a run."""
    variables = {**fixed, "cursor": cursor}
    run = await client.query_run(worker, path, query_documents.FILES, variables)
    # The server counts all files of the run, whichever were asked for.
    some = fixed["names"] or fixed["pattern"]
    return page_of(run["files"], None if some else run["fileCount"])


async def of_lines(
    client: Connection, worker: Worker, cursor: str | None, path: RunPath, size: int
) -> Page:
    """Ask for lines that a run's program printed, from the first on."""
    place = {"first": size, "after": cursor}
    run = await client.query_run(worker, path, query_documents.LOG_LINES, place)
    return page_of(run["logLines"], run["logLineCount"])


async def of_last_lines(
    client: Connection, worker: Worker, cursor: str | None, path: RunPath, count: int
) -> Page:
    """Ask for the last lines that a run's program printed; there is one such page."""
    assert cursor is None
    run = await client.query_run(worker, path, query_documents.LAST_LOG_LINES, {"last": count})
    return page_of(run["logLines"])


def _owned(page: Page, entity: str) -> Page:
    return page._replace(entries=[{**entry, "entity": entity} for entry in page.entries])
