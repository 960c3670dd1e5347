"""Queries over the runs of one project: filtered, in order, page by page.

What a filter means is said by `server.queries.conditions.evaluate`; `matching` makes SQL of it that
finds the same runs. What they are sorted by is joined to their ids, and only ids and sort values
are sorted; whole rows are read for one page. Without a filter, created_at and heartbeat_at are read
in the order of their indexes on `runs`.

A cursor is the sort value and the id of a run, so a page begins right behind that run, whatever
was added or deleted meanwhile.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    SelectBase,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.errors import FilterError
from asyncwb.server.queries.conditions import (
    EVERYTHING,
    Filter,
    Order,
)
from asyncwb.server.queries.document import ValueKind
from asyncwb.server.queries.filters import parse_order
from asyncwb.server.store.allowance import Allowance, sized_batches
from asyncwb.server.store.database import Database
from asyncwb.server.store.documents import Size
from asyncwb.server.store.queries.fields import Fields, numbers_of
from asyncwb.server.store.queries.left_out import incomplete, marked, with_sort_values
from asyncwb.server.store.queries.matching import matching
from asyncwb.server.store.records import RunKey, StoredRun
from asyncwb.server.store.schema import field_values, projects, runs

MAX_PAGE: Final = 1000
"""runs of one page."""
_OWN: Final = {"createdAt": runs.c.created_at, "heartbeatAt": runs.c.heartbeat_at}
_SORTED_KINDS: Final = (None, *(kind.value for kind in ValueKind if kind.sortable))


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs in order; `cursors[i]` is where a page behind `rows[i]` begins."""

    rows: list[StoredRun]
    cursors: list[str]
    has_next: bool


class _Place(NamedTuple):
    """Where a run stands in an order: what it is sorted by (kind None: by nothing), and its id."""

    kind: int | None
    number: float | None
    text: str | None
    id: int


class RunQuery:
    """Finds and counts runs by filter, in order, page by page.

    Args:
        database: where they are.
        allowance: the bytes of summaries that may be read.
    """

    def __init__(self, database: Database, allowance: Allowance | None = None) -> None:
        self._database = database
        self._allowance = allowance or Allowance()
        self._fields = Fields(database)

    async def page(
        self,
        project_id: int,
        filters: Filter = EVERYTHING,
        order: Order | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> RunPage:
        """Return the first runs that pass the filter, behind a cursor.

        Costs milliseconds where few runs of the project have the field of the most telling
        condition, and up to some 100 ms where 100,000 do. Runs that changed since they were
        queried last are brought up to date before.

        Args:
            project_id: `projects.id`.
            filters: see `server.queries.filters.parse`.
            order: see `server.queries.filters.parse_order`; None is the oldest first.
            first: the number of runs, 1 to 1,000.
            after: a cursor of an earlier page of the same order.

        Raises:
            FilterError: the cursor is none, or of another project or order; or too many runs would
                have to be read whole, see `left_out`.
            IndexBehindError: too many runs changed since the last query.
            TooMuchError: the runs have more than may be read.
        """
        order = order or parse_order(None)
        first = max(1, min(first, MAX_PAGE))
        place = None if after is None else _read_cursor(after, project_id, order)
        plain = filters == EVERYTHING and order.field.path in _OWN
        if not plain:
            await self._fields.catch_up(project_id)
        async with self._database.connect() as connection:
            if plain:
                statement = _by_column(project_id, order, place)
            else:
                found = await matching(connection, self._database, project_id, filters)
                statement = await self._sorted(connection, project_id, found, order, place)
            rows = await connection.execute(statement.limit(first + 1))
            places = [_Place(*row) for row in rows]
            ids = [place.id for place in places[:first]]
            stored = await _stored(connection, ids, self._allowance)
        cursors = [_cursor(place, project_id, order) for place in places[:first]]
        return RunPage(stored, cursors, len(places) > first)

    async def count(self, project_id: int, filters: Filter = EVERYTHING) -> int:
        """Return how many runs of the project pass the filter.

        Raises:
            FilterError: too many runs would have to be read whole, see `left_out`.
            IndexBehindError: too many runs changed since the last query.
        """
        if filters != EVERYTHING:
            await self._fields.catch_up(project_id)
        async with self._database.connect() as connection:
            found = await matching(connection, self._database, project_id, filters)
            total = await connection.execute(select(func.count()).select_from(found.subquery()))
            return int(total.scalar_one())

    async def _sorted(
        self,
        connection: AsyncConnection,
        project_id: int,
        found: SelectBase,
        order: Order,
        place: _Place | None,
    ) -> Select[int, float, str, int]:
        """Return the SELECT of the places of `found` behind `place`, in order."""
        path = order.field.path
        number = (await numbers_of(connection, project_id, [path])).get(path)
        some = found.subquery("found")
        values: SelectBase = await _sort_values(connection, -1 if number is None else number, order)
        doubtful = await incomplete(connection, project_id, [path])
        if doubtful:
            candidates = select(some.c.id).where(marked(some.c.id, doubtful[path]))
            values = await with_sort_values(connection, self._database, values, candidates, order)
        by = values.subquery("by")
        joined = some.outerjoin(by, by.c.run_id == some.c.id)
        statement = select(by.c.kind, by.c.number, by.c.text, some.c.id).select_from(joined)
        if place is not None:
            statement = statement.where(_behind(place, by, some.c.id, order.descending))
        keys = (by.c.kind, by.c.number, by.c.text, some.c.id)
        return statement.order_by(
            by.c.kind.is_(None), *(key.desc() if order.descending else key for key in keys)
        )


# Order and pages.


def _by_column(project_id: int, order: Order, place: _Place | None) -> Select[int, float, str, int]:
    column = _OWN[order.field.path]
    statement = select(literal(int(ValueKind.NUMBER)), column, literal(None), runs.c.id).where(
        runs.c.project_id == project_id
    )
    if place is not None:
        here, there = tuple_(column, runs.c.id), tuple_(place.number, place.id)
        statement = statement.where(here < there if order.descending else here > there)
    columns = (column, runs.c.id)
    return statement.order_by(*(c.desc() if order.descending else c for c in columns))


async def _sort_values(
    connection: AsyncConnection, number: int, order: Order
) -> Select[int, int, float, str]:
    """Return what each run is sorted by, of a field; where some run has several, one of them."""
    held = field_values.alias("held")
    sortable = and_(held.c.field_id == number, held.c.kind <= ValueKind.TEXT.value)
    columns = (held.c.run_id, held.c.kind, held.c.number, held.c.text)
    several = select(held.c.run_id).where(held.c.field_id == number, held.c.position > 0)
    if (await connection.execute(several.limit(1))).first() is None:
        # All are the first: said so that SQLite takes the primary key, which has them side by side.
        return select(*columns).where(sortable, held.c.position == 0)
    keys = [key.desc() if order.descending else key for key in columns[1:]]
    place = func.row_number().over(partition_by=held.c.run_id, order_by=keys).label("place")
    ranked = select(*columns, place).where(sortable).subquery("ranked")
    first = (ranked.c[column.name] for column in columns)
    return select(*first).where(ranked.c.place == 1)


def _behind(
    place: _Place, by: FromClause, run_id: ColumnElement[int], descending: bool
) -> ColumnElement[bool]:
    if place.kind is None:
        by_id = run_id < place.id if descending else run_id > place.id
        return and_(by.c.kind.is_(None), by_id)
    here = tuple_(by.c.kind, func.coalesce(by.c.number, 0.0), func.coalesce(by.c.text, ""), run_id)
    there = tuple_(place.kind, place.number or 0.0, place.text or "", place.id)
    return or_(here < there if descending else here > there, by.c.kind.is_(None))


_LISTED: Final = [column for column in runs.c if column.name not in ("config", "fold")]
_SIZE: Final = Size(runs.c.summary, runs.c.system)
_ROWS: Final = (
    select(projects.c.entity, projects.c.name.label("project"), *_LISTED)
    .join(projects, projects.c.id == runs.c.project_id)
    .where(runs.c.id.in_(bindparam("some", expanding=True)))
)


async def _stored(
    connection: AsyncConnection, ids: Sequence[int], allowance: Allowance
) -> list[StoredRun]:
    found = {}
    for some in await sized_batches(connection, runs.c.id, _SIZE, ids, allowance):
        rows = await connection.execute(_ROWS, {"some": some})
        for row in rows:
            columns = dict(row._mapping)
            path = RunKey(columns.pop("entity"), columns.pop("project"), columns["run"])
            found[columns["id"]] = StoredRun(columns["id"], path, columns)
    return [found[number] for number in ids]


def _cursor(place: _Place, project_id: int, order: Order) -> str:
    said = json.dumps([project_id, str(order), *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, project_id: int, order: Order) -> _Place:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        project, name, *rest = json.loads(base64.b64decode(padded, b"-_", validate=True))
        kind, number, said, run_id = rest
        place = _Place(kind, None if number is None else float(number), said, run_id)
        (said or "").encode()
    except (ValueError, TypeError, OverflowError, RecursionError):  # of a foreign shape
        raise _no_cursor() from None
    good = (
        (project, name) == (project_id, str(order))
        and kind in _SORTED_KINDS
        and "\x00" not in (said or "")
        and type(run_id) is int
        and 0 < run_id < 2**63
    )
    if not good:
        raise _no_cursor()
    return place


def _no_cursor() -> FilterError:
    return FilterError(
        "the cursor is none of this query's: take it from a page of the same project and order, "
        "or begin at the first page",
        "after",
    )
