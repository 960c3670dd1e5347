"""Alerts that runs raised, as their pages show them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import alerts


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert of a run. `level` is INFO, WARN or ERROR, `created_at` unix seconds."""

    id: int
    title: str
    text: str
    level: str
    created_at: float


async def latest(database: Database, run_id: int, limit: int) -> list[StoredAlert]:
    """Return a run's last alerts, the newest first. One statement.

    Args:
        database: the server's.
        run_id: the run's inner id.
        limit: how many at most.
    """
    columns = (alerts.c.id, alerts.c.title, alerts.c.text, alerts.c.level, alerts.c.created_at)
    statement = select(*columns).where(alerts.c.run_id == run_id)
    async with database.connect() as connection:
        found = await connection.execute(statement.order_by(alerts.c.id.desc()).limit(limit))
        return [StoredAlert(*row) for row in found]
