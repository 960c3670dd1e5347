"""Runs as readers see them: lists, pages and one run's full account."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypeVarTuple

from sqlalchemy import Column, Row, Select, func, or_, select

from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.records import RunKey, StoredRun
from asyncwb.server.store.schema import projects, runs

Columns = TypeVarTuple("Columns")

_LISTED: Final = tuple(c for c in runs.c if c.name not in ("project_id", "config", "fold"))

_FIGURES: Final = ("version", "state", "rows", "last_step", "heartbeat_at", "lost")
_AT_ONCE: Final = 500


class Runs:
    """Reads runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        entity: str,
        project: str,
        *,
        limit: int,
        before: int | None = None,
        state: str | None = None,
        search: str | None = None,
    ) -> list[StoredRun]:
        """Return up to `limit` runs, newest first, that were created before run id `before`.

        Pages are cut by id, which only grows: a run that is added meanwhile moves no page.
        """
        statement = _joined(_LISTED).where(projects.c.entity == entity, projects.c.name == project)
        if before is not None:
            statement = statement.where(runs.c.id < before)
        if state is not None:
            statement = statement.where(runs.c.state == state)
        if search:
            statement = statement.where(
                or_(
                    runs.c.name.icontains(search, autoescape=True),
                    runs.c.run.icontains(search, autoescape=True),
                )
            )
        statement = statement.order_by(runs.c.id.desc()).limit(limit)
        async with self._database.connect() as connection:
            return [_stored(row) for row in await connection.execute(statement)]

    async def get(self, path: RunKey, without: Collection[str] = ()) -> StoredRun | None:
        """Return the run at `path` with all its columns but some, which may be large."""
        columns = tuple(column for column in runs.c if column.name not in without)
        async with self._database.connect() as connection:
            row = (await connection.execute(_at(_joined(columns), path))).first()
        return None if row is None else _stored(row)

    async def find(self, path: RunKey) -> tuple[int, int] | None:
        """Return the (inner id, version) of the run at `path`; cheap."""
        statement = _at(select(runs.c.id, runs.c.version).join(projects), path)
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else (row[0], row[1])

    async def fold(self, run_id: int) -> tuple[int, str] | None:
        """Return a run's version and its fold, JSON as text."""
        statement = select(runs.c.version, runs.c.fold).where(runs.c.id == run_id)
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else (row[0], row[1])

    async def figures_of(self, run_id: int, *, summary: bool) -> dict[str, Any] | None:
        """Return what a run's live events tell of it; `summary`, where asked for, is JSON text."""
        names = (*_FIGURES, "summary") if summary else _FIGURES
        statement = select(*(runs.c[name] for name in names)).where(runs.c.id == run_id)
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else dict(zip(names, row, strict=True))

    async def versions(self, ids: Collection[int]) -> dict[int, int]:
        """Return the versions of runs by their inner ids, of those that are there."""
        found: dict[int, int] = {}
        async with self._database.connect() as connection:
            for some in batches(ids, _AT_ONCE):
                statement = select(runs.c.id, runs.c.version).where(runs.c.id.in_(some))
                found.update((row[0], row[1]) for row in await connection.execute(statement))
        return found

    async def running(self) -> int:
        """Return how many runs are running."""
        statement = select(func.count(runs.c.id)).where(runs.c.state == "running")
        async with self._database.connect() as connection:
            return int((await connection.execute(statement)).scalar_one())


def _joined(columns: tuple[Column[Any], ...]) -> Select[*tuple[Any, ...]]:
    return select(projects.c.entity, projects.c.name.label("project"), *columns).join(
        projects, projects.c.id == runs.c.project_id
    )


def _at(statement: Select[*Columns], path: RunKey) -> Select[*Columns]:
    return statement.where(
        projects.c.entity == path.entity,
        projects.c.name == path.project,
        runs.c.run == path.run,
    )


def _stored(row: Row[*tuple[Any, ...]]) -> StoredRun:
    columns = dict(row._mapping)
    path = RunKey(columns.pop("entity"), columns.pop("project"), columns["run"])
    return StoredRun(columns["id"], path, columns)
