"""Former names of projects: they lead to the project for as long as nothing else has the name.

Whoever renames a project while runs log to it, or has its address somewhere, goes on under the old
name. A project that is made under a former name takes it, with all runs that are new to both. Those
that the renamed project had by then are still found under the old name, as long as the new one has
none of that id: they may log yet. All of these take part in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeAlias

from sqlalchemy import bindparam, delete, exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database, batches
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.schema import former_names, projects, runs

ProjectName: TypeAlias = tuple[str, str]
"""An entity and the name of one of its projects."""

_CHUNK: Final = 1000


async def remember(
    connection: AsyncConnection, database: Database, entity: str, old: str, project_id: int
) -> None:
    """Let a name that a project gives up lead to it."""
    new = database.insert(former_names).values(entity=entity, name=old, project_id=project_id)
    key = [former_names.c.entity, former_names.c.name]
    moved = new.on_conflict_do_update(index_elements=key, set_={"project_id": project_id})
    await connection.execute(moved)


async def forget(connection: AsyncConnection, entity: str, name: str) -> None:
    """Let a name lead nowhere else: a project has it."""
    mine = (former_names.c.entity == entity) & (former_names.c.name == name)
    await connection.execute(delete(former_names).where(mine))


async def current(
    connection: AsyncConnection, names: Collection[ProjectName]
) -> dict[ProjectName, ProjectName]:
    """Return, for each former name among these, the project's name of today."""
    found: dict[ProjectName, ProjectName] = {}
    ordered = sorted(names)
    for some in batches(ordered, _CHUNK):
        rows = await connection.execute(_CURRENT, {"some": some})
        found.update(((row[0], row[1]), (row[2], row[3])) for row in rows)
    return found


async def follow(connection: AsyncConnection, paths: Collection[RunKey]) -> dict[RunKey, RunKey]:
    """Return where runs are that were asked for under a former name of their project.

    Args:
        connection: of the caller's transaction.
        paths: of runs that are not there under the names of today.
    """
    found = await current(connection, {path[:2] for path in paths})
    moved = {path: RunKey(*found[path[:2]], path.run) for path in paths if path[:2] in found}
    left = sorted(path for path in paths if path not in moved)
    for some in batches(left, _CHUNK):
        for row in await connection.execute(_LEFT_BEHIND, {"some": some}):
            moved[RunKey(row[0], row[1], row[2])] = RunKey(row[3], row[4], row[2])
    return moved


_taken = projects.alias("taken")
_CURRENT: Final = (
    select(former_names.c.entity, former_names.c.name, projects.c.entity, projects.c.name)
    .join(projects, projects.c.id == former_names.c.project_id)
    .where(
        tuple_(former_names.c.entity, former_names.c.name).in_(bindparam("some", expanding=True)),
        ~exists().where(
            _taken.c.entity == former_names.c.entity, _taken.c.name == former_names.c.name
        ),
    )
)

# Runs that a project had before another one took its former name.
_LEFT_BEHIND: Final = (
    select(
        former_names.c.entity, former_names.c.name, runs.c.run, projects.c.entity, projects.c.name
    )
    .join(projects, projects.c.id == former_names.c.project_id)
    .join(
        _taken,
        (_taken.c.entity == former_names.c.entity) & (_taken.c.name == former_names.c.name),
    )
    .join(runs, (runs.c.project_id == projects.c.id) & (runs.c.created_at <= _taken.c.created_at))
    .where(
        tuple_(former_names.c.entity, former_names.c.name, runs.c.run).in_(
            bindparam("some", expanding=True)
        )
    )
)
