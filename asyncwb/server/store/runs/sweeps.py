"""Sweeps: what is searched, how far it is, and which runs belong to it.

A run belongs to the sweep of its project that `runs.sweep` names. What a list of sweeps says of
their runs is one statement for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, func, insert, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.queries.conditions import Field, Order
from asyncwb.server.queries.document import ValueKind
from asyncwb.server.store.database import Database
from asyncwb.server.store.queries.fields import Fields
from asyncwb.server.store.queries.left_out import incomplete, marked, sort_values
from asyncwb.server.store.schema import field_values, fields, runs, sweeps
from asyncwb.server.store.texts import stored_path


@dataclass(frozen=True, slots=True)
class StoredSweep:
    """A sweep. `sweep` is its name in paths; `config` is YAML; times are unix seconds.

    `metric` is the path of a field of its runs, `expected_runs` None where there is no end.
    """

    id: int
    project_id: int
    sweep: str
    display_name: str | None
    config_name: str | None
    description: str | None
    config: str
    method: str
    metric: str | None
    maximize: bool
    expected_runs: int | None
    state: str
    user_id: int
    created_at: float
    updated_at: float


class RunFigures(NamedTuple):
    """How many runs a sweep has, and when the last heartbeat of one of them came."""

    runs: int
    heartbeat_at: float


class Sweeps:
    """Reads and changes sweeps. Every method is one short transaction or read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, project_id: int, sweep: str) -> StoredSweep | None:
        """Return the sweep of that name."""
        return (await self.some([(project_id, sweep)])).get((project_id, sweep))

    async def some(self, names: Collection[tuple[int, str]]) -> dict[tuple[int, str], StoredSweep]:
        """Return sweeps by (project id, name), in one statement."""
        named = tuple_(sweeps.c.project_id, sweeps.c.sweep).in_(names)
        async with self._database.connect() as connection:
            found = [StoredSweep(*row) for row in await connection.execute(_SWEEP.where(named))]
        return {(sweep.project_id, sweep.sweep): sweep for sweep in found}

    async def page(
        self, project_id: int, *, descending: bool = True, limit: int = 50, after: int | None = None
    ) -> list[StoredSweep]:
        """Return sweeps of a project in the order in which they were made.

        Args:
            project_id: whose.
            descending: the newest first.
            limit: sweeps at most.
            after: the id of the last one of the page before.
        """
        statement = _SWEEP.where(sweeps.c.project_id == project_id)
        if after is not None:
            statement = statement.where(sweeps.c.id < after if descending else sweeps.c.id > after)
        order = sweeps.c.id.desc() if descending else sweeps.c.id
        async with self._database.connect() as connection:
            rows = await connection.execute(statement.order_by(order).limit(limit))
            return [StoredSweep(*row) for row in rows]

    async def count(self, project_id: int) -> int:
        """Return how many sweeps a project has."""
        counted = select(func.count()).where(sweeps.c.project_id == project_id)
        async with self._database.connect() as connection:
            return int((await connection.execute(counted)).scalar_one())

    async def create(
        self, project_id: int, user_id: int, now: float, columns: dict[str, Any]
    ) -> StoredSweep:
        """Create a sweep.

        Args:
            project_id: where.
            user_id: who makes it.
            now: unix seconds.
            columns: the rest of a `StoredSweep`, without its id.
        """
        times = {"created_at": now, "updated_at": now}
        row = {**_bounded(columns), "project_id": project_id, "user_id": user_id, **times}
        async with self._database.transaction() as connection:
            added = await connection.execute(insert(sweeps).values(row))
        assert added.inserted_primary_key is not None
        return StoredSweep(id=added.inserted_primary_key[0], **row)

    async def change(
        self, sweep: StoredSweep, now: float, columns: dict[str, Any]
    ) -> StoredSweep | None:
        """Change columns of a sweep.

        None, and nothing is changed, where there is no such sweep any more, or where its state is
        to change and is not what `sweep` says any more.
        """
        known = sweeps.c.state == sweep.state if "state" in columns else true()
        mine = and_(sweeps.c.id == sweep.id, known)
        changed = update(sweeps).where(mine).values(**_bounded(columns), updated_at=now)
        async with self._database.transaction() as connection:
            if not (await connection.execute(changed)).rowcount:
                return None
            row = (await connection.execute(_SWEEP.where(sweeps.c.id == sweep.id))).one()
        return StoredSweep(*row)

    async def take(self, project_id: int, sweep: str, run_ids: Sequence[int]) -> None:
        """Let runs of a project belong to a sweep, whichever they belonged to."""
        some = (runs.c.project_id == project_id) & runs.c.id.in_(run_ids)
        # The order of ids is that of ingest, which holds the same rows: no deadlock.
        held = select(runs.c.id).where(some).order_by(runs.c.id).with_for_update()
        async with self._database.transaction() as connection:
            await connection.execute(held)
            moved = update(runs).where(some).values(sweep=sweep, version=runs.c.version + 1)
            await connection.execute(moved)

    # About the runs of sweeps.

    async def figures(self, ids: Collection[int]) -> dict[int, RunFigures]:
        """Return the figures of those sweeps that have runs, in one statement."""
        statement = (
            select(sweeps.c.id, func.count(runs.c.id), func.max(runs.c.heartbeat_at))
            .join(runs, _BELONGS)
            .where(sweeps.c.id.in_(ids))
            .group_by(sweeps.c.id)
        )
        async with self._database.connect() as connection:
            rows = await connection.execute(statement)
            return {row[0]: RunFigures(row[1], row[2]) for row in rows}

    async def best(self, found: Collection[StoredSweep]) -> dict[int, float]:
        """Return the best value of each sweep's metric in the summaries of its runs.

        Sweeps without a metric, and such of which no run has a finite value, are left out. One
        statement, and one a project, after the runs that changed were brought up to date.

        Raises:
            FilterError: too many runs would have to be read whole, see `left_out`.
        """
        index = Fields(self._database)
        for project_id in {sweep.project_id for sweep in found if sweep.metric is not None}:
            await index.catch_up(project_id)
        value = field_values.c.number
        statement = (
            select(sweeps.c.id, func.min(value), func.max(value))
            .join(runs, _BELONGS)
            .join(fields, _SEARCHED)
            .join(field_values, _SUMMARIZED)
            .where(sweeps.c.id.in_([sweep.id for sweep in found]), func.abs(value) < math.inf)
            .group_by(sweeps.c.id)
        )
        maximize = {sweep.id: sweep.maximize for sweep in found}
        async with self._database.connect() as connection:
            rows = await connection.execute(statement)
            best = {row[0]: row[2] if maximize[row[0]] else row[1] for row in rows}
            for sweep, number in await _evaluated(connection, found):
                better = max if sweep.maximize else min
                best[sweep.id] = better(number, best.get(sweep.id, number))
            return best


async def _evaluated(
    connection: AsyncConnection, found: Collection[StoredSweep]
) -> list[tuple[StoredSweep, float]]:
    """Return the values of those runs of which the index may lack the metric, each with its sweep.

    Where the name of a metric is too long for the index, they are not looked at.
    """
    values = []
    for project_id in {sweep.project_id for sweep in found}:
        ours = [one for one in found if one.project_id == project_id and one.metric is not None]
        doubtful = await incomplete(connection, project_id, {one.metric or "" for one in ours})
        for sweep in ours:
            metric = sweep.metric or ""
            if metric not in doubtful:
                continue
            belong = and_(runs.c.project_id == project_id, runs.c.sweep == sweep.sweep)
            candidates = select(runs.c.id).where(belong, marked(runs.c.id, doubtful[metric]))
            order = Order(Field(metric, "any"), sweep.maximize)
            for value in (await sort_values(connection, candidates, order)).values():
                number = None if value is None else value.number
                if value is not None and value.kind == ValueKind.NUMBER and number is not None:
                    values.append((sweep, number))
    return [(sweep, number) for sweep, number in values if math.isfinite(number)]


async def join(connection: AsyncConnection, project_id: int, sweep: str) -> bool:
    """Have a sweep take a run in: one that waited for its first run is running from now on.

    Returns:
        Whether there is such a sweep.
    """
    named = and_(sweeps.c.project_id == project_id, sweeps.c.sweep == sweep)
    state = (await connection.execute(select(sweeps.c.state).where(named))).scalar()
    if state == "PENDING":
        begun = update(sweeps).where(named, sweeps.c.state == "PENDING").values(state="RUNNING")
        await connection.execute(begun)
    return state is not None


def _bounded(columns: dict[str, Any]) -> dict[str, Any]:
    path = columns.get("metric")
    return columns if path is None else {**columns, "metric": stored_path(path)}


_SWEEP: Final = select(*(sweeps.c[name] for name in StoredSweep.__slots__))
_BELONGS: Final[ColumnElement[bool]] = and_(
    runs.c.project_id == sweeps.c.project_id, runs.c.sweep == sweeps.c.sweep
)
_SEARCHED: Final[ColumnElement[bool]] = and_(
    fields.c.project_id == sweeps.c.project_id, fields.c.path == sweeps.c.metric
)
_SUMMARIZED: Final[ColumnElement[bool]] = and_(
    field_values.c.field_id == fields.c.id,
    field_values.c.run_id == runs.c.id,
    field_values.c.position == 0,
    field_values.c.kind == ValueKind.NUMBER.value,
)
