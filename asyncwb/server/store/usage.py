"""How much room what people logged takes up."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select, union_all

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import blobs, files, frames, projects, runs, segments


async def stored_bytes(database: Database, entities: Collection[str]) -> dict[str, int]:
    """Return the bytes of history and files of some entities' runs, in one statement.

    It adds up a row for each file and each segment, so it is for who asks, not for every page. What
    several files of an entity have in common counts once.
    """
    mine = projects.c.entity.in_(entities)
    parts = [
        select(projects.c.entity, func.sum(table.c.size).label("size"))
        .join(runs, runs.c.id == table.c.run_id)
        .join(projects, projects.c.id == runs.c.project_id)
        .where(mine)
        .group_by(projects.c.entity)
        for table in (frames, segments)
    ]
    each = (
        select(projects.c.entity, blobs.c.id, blobs.c.size)
        .join(runs, runs.c.project_id == projects.c.id)
        .join(files, files.c.run_id == runs.c.id)
        .join(blobs, blobs.c.id == files.c.blob_id)
        .where(mine)
        .distinct()
        .subquery()
    )
    parts.append(select(each.c.entity, func.sum(each.c.size).label("size")).group_by(each.c.entity))
    every = union_all(*parts).subquery()
    total = select(every.c.entity, func.sum(every.c.size)).group_by(every.c.entity)
    async with database.connect() as connection:
        found = {row[0]: int(row[1]) for row in await connection.execute(total)}
    return {entity: found.get(entity, 0) for entity in entities}
