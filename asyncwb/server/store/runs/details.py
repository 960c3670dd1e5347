"""What a list of runs needs beyond the rows of the list: one statement for all of its runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeVar

from sqlalchemy import Column, Select, func, or_, select

from asyncwb.server.store.allowance import Allowance, sized_batches
from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.documents import Size
from asyncwb.server.store.records import RunKey, StoredRun
from asyncwb.server.store.schema import files, lines, projects, runs, writers

V = TypeVar("V")

_AT_ONCE: Final = 500


class Details:
    """Reads parts of many runs, by their inner ids. Runs that are not there are left out.

    Args:
        database: where they are.
        allowance: the bytes of configs and folds that may be read.
    """

    def __init__(self, database: Database, allowance: Allowance | None = None) -> None:
        self._database = database
        self._allowance = allowance or Allowance()

    async def run(self, path: RunKey) -> StoredRun | None:
        """Return the run at `path` as lists have it."""
        listed = [column for column in runs.c if column.name not in ("config", "fold")]
        statement = (
            select(*listed)
            .join(projects, projects.c.id == runs.c.project_id)
            .where(
                projects.c.entity == path.entity,
                projects.c.name == path.project,
                runs.c.run == path.run,
            )
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else StoredRun(row.id, path, dict(row._mapping))

    async def configs(self, ids: Collection[int]) -> dict[int, str]:
        """Return configs as JSON text; raises TooMuchError."""
        return await self._documents(runs.c.config, ids)

    async def folds(self, ids: Collection[int]) -> dict[int, str]:
        """Return what the summaries are folded into, as JSON text; raises TooMuchError."""
        return await self._documents(runs.c.fold, ids)

    async def ends(self, ids: Collection[int]) -> dict[int, int]:
        """Return the number behind the last line of W&B clients, of those runs that have any.

        Lines of clients that share a run ("wandb-...") are numbered apart and do not count.
        """
        name = writers.c.writer
        own = or_(name == "wandb", name.startswith("wandb+"), name.startswith("wandb."))
        statement = select(writers.c.run_id, func.max(writers.c.next_seq)).where(own)
        return await self._pairs(statement.group_by(writers.c.run_id), writers.c.run_id, ids)

    async def line_counts(self, ids: Collection[int], stream: str) -> dict[int, int]:
        """Return the number behind the last line of a stream, of those runs that have lines."""
        statement = (
            select(lines.c.run_id, func.max(lines.c.first + lines.c.count))
            .where(lines.c.stream == stream)
            .group_by(lines.c.run_id)
        )
        return await self._pairs(statement, lines.c.run_id, ids)

    async def file_counts(self, ids: Collection[int]) -> dict[int, int]:
        """Return the number of uploaded files, of those runs that have any."""
        statement = (
            select(files.c.run_id, func.count(files.c.id))
            .where(files.c.blob_id.is_not(None))
            .group_by(files.c.run_id)
        )
        return await self._pairs(statement, files.c.run_id, ids)

    async def places(self, ids: Collection[int]) -> dict[int, tuple[int, RunKey]]:
        """Return the (project id, path) of runs."""
        found: dict[int, tuple[int, RunKey]] = {}
        columns = (runs.c.id, projects.c.id, projects.c.entity, projects.c.name, runs.c.run)
        statement = select(*columns).join(projects, projects.c.id == runs.c.project_id)
        async with self._database.connect() as connection:
            for some in batches(ids, _AT_ONCE):
                rows = await connection.execute(statement.where(runs.c.id.in_(some)))
                found.update((row[0], (row[1], RunKey(*row[2:]))) for row in rows)
        return found

    async def _documents(self, document: Column[str], ids: Collection[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        statement = select(runs.c.id, document)
        async with self._database.connect() as connection:
            size = Size(document)
            for some in await sized_batches(connection, runs.c.id, size, ids, self._allowance):
                rows = await connection.execute(statement.where(runs.c.id.in_(some)))
                found.update((row[0], row[1]) for row in rows)
        return found

    async def _pairs(
        self, statement: Select[int, V], key: Column[int], ids: Collection[int]
    ) -> dict[int, V]:
        found: dict[int, V] = {}
        async with self._database.connect() as connection:
            for some in batches(ids, _AT_ONCE):
                rows = await connection.execute(statement.where(key.in_(some)))
                found.update((row[0], row[1]) for row in rows)
        return found
