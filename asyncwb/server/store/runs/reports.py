"""Reports and other saved views of a project: a name, a text of JSON, and who made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from asyncwb.server.store.database import Database
from asyncwb.server.store.people.users import TakenError
from asyncwb.server.store.schema import reports, users


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report. `type` is "runs" (W&B's word for a report) or another view's; `spec` is JSON.

    Times are unix seconds.
    """

    id: int
    project_id: int
    type: str
    name: str
    display_name: str
    description: str | None
    spec: str
    user_id: int
    created_at: float
    updated_at: float


class Reports:
    """Reads and changes reports. Every method is one short transaction or read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, report_id: int) -> StoredReport | None:
        """Return a report by id."""
        async with self._database.connect() as connection:
            found = (await connection.execute(_REPORT.where(reports.c.id == report_id))).first()
        return None if found is None else StoredReport(*found)

    async def page(
        self,
        project_id: int,
        *,
        type: str | None = None,
        name: str | None = None,
        user: str | None = None,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[StoredReport]:
        """Return reports of a project, the newest first.

        Args:
            project_id: whose.
            type: only those of this type.
            name: only those of this name or with this title.
            user: only those that the user of this name made.
            limit: reports at most.
            before: (created_at, id) of the last one of the page before.
        """
        statement = _REPORT.where(reports.c.project_id == project_id)
        if type is not None:
            statement = statement.where(reports.c.type == type)
        if name is not None:
            named = or_(reports.c.name == name, reports.c.display_name == name)
            statement = statement.where(named)
        if user is not None:
            made_by = select(users.c.id).where(users.c.name == user)
            statement = statement.where(reports.c.user_id.in_(made_by))
        age = (reports.c.created_at, reports.c.id)
        if before is not None:
            statement = statement.where(tuple_(*age) < tuple_(*before))
        ordered = statement.order_by(*(column.desc() for column in age)).limit(limit)
        async with self._database.connect() as connection:
            return [StoredReport(*row) for row in await connection.execute(ordered)]

    async def create(
        self,
        project_id: int,
        user_id: int,
        now: float,
        *,
        type: str,
        name: str,
        display_name: str,
        description: str | None,
        spec: str,
    ) -> StoredReport:
        """Create a report.

        Raises:
            TakenError: the project has one of that name.
        """
        row: dict[str, Any] = {
            "project_id": project_id,
            "type": type,
            "name": name,
            "display_name": display_name,
            "description": description,
            "spec": spec,
            "user_id": user_id,
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.transaction() as connection:
                added = await connection.execute(insert(reports).values(row))
        except IntegrityError as error:
            raise TakenError(name) from error
        assert added.inserted_primary_key is not None
        return StoredReport(id=added.inserted_primary_key[0], **row)

    async def change(self, report_id: int, now: float, changes: Mapping[str, object]) -> None:
        """Change columns of a report.

        Raises:
            TakenError: the project has another report of the new name.
        """
        statement = update(reports).where(reports.c.id == report_id)
        try:
            async with self._database.transaction() as connection:
                await connection.execute(statement.values(**changes, updated_at=now))
        except IntegrityError as error:
            raise TakenError(str(changes.get("name"))) from error

    async def delete(self, report_ids: Sequence[int]) -> int:
        """Delete reports; returns how many there were."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(delete(reports).where(reports.c.id.in_(report_ids)))
            return gone.rowcount


_REPORT: Final = select(*(reports.c[name] for name in StoredReport.__slots__))
