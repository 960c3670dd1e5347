"""Projects: whose they are, who may see them, and how they go away.

A run and what belongs to it goes with its row (`ON DELETE CASCADE`); what stands in the object
store is only named here, and is deleted by the caller once the row is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    case,
    delete,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.people.users import TakenError
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs import former_names
from asyncwb.server.store.runs.edits import delete_runs
from asyncwb.server.store.schema import projects, runs

_AT_ONCE: Final = 200
"""runs deleted in one transaction, so that nobody waits long for the database"""


@dataclass(frozen=True, slots=True)
class StoredProject:
    """A project. `visibility` is "private" or "public"; `user_id` is who made it, if known."""

    id: int
    entity: str
    name: str
    visibility: str
    description: str | None
    created_at: float
    user_id: int | None


@dataclass(frozen=True, slots=True)
class ProjectFigures:
    """A project with the number of its runs; `updated_at` is its last sign of life."""

    project: StoredProject
    runs: int
    running: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class LocatedRun:
    """What decides about a run: its inner id, its project and that one's name, who made it, the
    visibility."""

    id: int
    project_id: int
    project: str
    user_id: int | None
    visibility: str


class Projects:
    """Reads and changes projects. Methods are one short transaction or read where none is named."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, entity: str, name: str) -> StoredProject | None:
        """Return the project of that name, or else the one that had it."""
        statement = _PROJECT.where(_named(entity, name))
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
            if row is None:
                now = await former_names.current(connection, [(entity, name)])
                for names in now.values():
                    row = (await connection.execute(_PROJECT.where(_named(*names)))).first()
        return None if row is None else StoredProject(*row)

    async def some(self, ids: Collection[int]) -> dict[int, StoredProject]:
        """Return projects by id, in one statement."""
        found = await self._read(_PROJECT.where(projects.c.id.in_(ids))) if ids else []
        return {project.id: project for project in found}

    async def page(
        self,
        entity: str,
        readable: Collection[str] | None,
        *,
        limit: int = 100,
        before: int | None = None,
    ) -> list[StoredProject]:
        """Return projects of one entity, the newest first.

        Args:
            entity: whose.
            readable: what `access.readable` says of the user who asks.
            limit: projects at most.
            before: the id after which the page begins; page through by the last id of a page.
        """
        statement = _PROJECT.where(projects.c.entity == entity, _visible(readable))
        if before is not None:
            statement = statement.where(projects.c.id < before)
        return await self._read(statement.order_by(projects.c.id.desc()).limit(limit))

    async def figures(self, readable: Collection[str] | None) -> list[ProjectFigures]:
        """Return every project that somebody may read, the last active first.

        Args:
            readable: what `access.readable` says of the user who asks.
        """
        updated = func.coalesce(func.max(runs.c.heartbeat_at), projects.c.created_at)
        running = func.coalesce(func.sum(case((runs.c.state == "running", 1), else_=0)), 0)
        statement = (
            select(*_COLUMNS, func.count(runs.c.id), running, updated)
            .outerjoin(runs, runs.c.project_id == projects.c.id)
            .where(_visible(readable))
            .group_by(projects.c.id)
            .order_by(updated.desc(), projects.c.id)
        )
        width = len(_COLUMNS)
        async with self._database.connect() as connection:
            rows = [tuple(row) for row in await connection.execute(statement)]
        return [ProjectFigures(StoredProject(*row[:width]), *row[width:]) for row in rows]

    async def create(
        self,
        entity: str,
        name: str,
        now: float,
        *,
        user_id: int | None = None,
        visibility: str = "private",
        description: str | None = None,
    ) -> tuple[StoredProject, bool]:
        """Create a project; one that is there already stays as it is.

        Returns:
            The project, and whether it is new.
        """
        row = {"entity": entity, "name": name, "created_at": now, "user_id": user_id}
        new = self._database.insert(projects).values(
            **row, visibility=visibility, description=description
        )
        async with self._database.transaction() as connection:
            added = await connection.execute(new.on_conflict_do_nothing())
            found = (await connection.execute(_PROJECT.where(_named(entity, name)))).one()
        return StoredProject(*found), added.rowcount == 1

    async def rename(self, project_id: int, name: str) -> None:
        """Give a project another name; its runs go with it, and the old name leads to it.

        Raises:
            TakenError: the entity has a project of that name.
        """
        mine = projects.c.id == project_id
        before = select(projects.c.entity, projects.c.name).where(mine).with_for_update()
        try:
            async with self._database.transaction() as connection:
                row = (await connection.execute(before)).first()
                if row is None:  # deleted meanwhile
                    return
                await connection.execute(update(projects).where(mine).values(name=name))
                await former_names.forget(connection, row.entity, name)
                await former_names.remember(connection, self._database, *row, project_id)
        except IntegrityError as error:
            raise TakenError(name) from error

    async def set_visibility(self, project_id: int, visibility: str) -> None:
        """Make a project "private" or "public"."""
        await self._set(project_id, visibility=visibility)

    async def set_description(self, project_id: int, description: str | None) -> None:
        """Say what a project is about."""
        await self._set(project_id, description=description)

    async def locate_run(self, path: RunKey) -> LocatedRun | None:
        """Return what decides about the run at `path`; cheap. Former names of projects do."""
        async with self._database.connect() as connection:
            row = (await connection.execute(_located(path))).first()
            if row is None:
                for moved in (await former_names.follow(connection, [path])).values():
                    row = (await connection.execute(_located(moved))).first()
        return None if row is None else LocatedRun(*row)

    async def some_runs(self, project_id: int) -> list[int]:
        """Return the inner ids of a few runs of a project, for deleting them."""
        statement = select(runs.c.id).where(runs.c.project_id == project_id).limit(_AT_ONCE)
        async with self._database.connect() as connection:
            return list(await connection.scalars(statement))

    async def delete_runs(self, run_ids: Sequence[int], now: float) -> None:
        """Delete runs and all that belongs to them, some hundred in a transaction."""
        for some in batches(run_ids, _AT_ONCE):
            async with self._database.transaction() as connection:
                # The rows first: what is being added to a run is then committed, or refused.
                locked = select(runs.c.id).where(runs.c.id.in_(some)).order_by(runs.c.id)
                there = list(await connection.scalars(locked.with_for_update()))
                await delete_runs(connection, there, now)

    async def delete_empty(self, project_id: int) -> bool:
        """Delete a project without runs, its reports and fields; False where it has runs."""
        async with self._database.transaction() as connection:
            mine = projects.c.id == project_id
            # Nobody adds a run to a project whose row is locked.
            await connection.execute(select(projects.c.id).where(mine).with_for_update())
            one = select(runs.c.id).where(runs.c.project_id == project_id).limit(1)
            if (await connection.execute(one)).first() is not None:
                return False
            await connection.execute(delete(projects).where(mine))
            return True

    async def _set(self, project_id: int, **values: object) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                update(projects).where(projects.c.id == project_id).values(values)
            )

    async def _read(self, statement: Executable) -> list[StoredProject]:
        async with self._database.connect() as connection:
            return [StoredProject(*row) for row in await connection.execute(statement)]


_COLUMNS: Final = tuple(projects.c[name] for name in StoredProject.__slots__)
_PROJECT: Final = select(*_COLUMNS)


def _located(path: RunKey) -> Select[int, int, str, int | None, str]:
    return (
        select(*(runs.c.id, projects.c.id, projects.c.name, runs.c.user_id, projects.c.visibility))
        .join(projects, projects.c.id == runs.c.project_id)
        .where(_named(path.entity, path.project), runs.c.run == path.run)
    )


def _named(entity: str, name: str) -> ColumnElement[bool]:
    return (projects.c.entity == entity) & (projects.c.name == name)


def _visible(readable: Collection[str] | None) -> ColumnElement[bool]:
    if readable is None:
        return true()
    return or_(projects.c.entity.in_(readable), projects.c.visibility == "public")
