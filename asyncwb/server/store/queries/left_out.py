"""Runs of which the index has left something out: they are read whole, and evaluated.

The index keeps a bounded number of values of each run (see `server.queries.document.Values`), and
beside them marks, which say below which paths it lacks some. Where a query asks about such a path,
the marked runs are looked at one by one: `server.queries.conditions` says of each what the query
would have found. A query reads a bounded number of them, and is refused where there are more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from anyio import to_thread
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    SelectBase,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from asyncwb.errors import FilterError
from asyncwb.server.queries.conditions import Filter, Order, holds
from asyncwb.server.queries.document import Document, Value, marks
from asyncwb.server.store.allowance import portions
from asyncwb.server.store.database import Database
from asyncwb.server.store.queries.fields import DOCUMENT_COLUMNS, document, numbers_of
from asyncwb.server.store.schema import field_values, runs, users
from asyncwb.server.store.texts import stored_text

MAX_RUNS: Final = 500
"""runs that one query reads whole"""
MAX_SIZE: Final = 64_000_000
"""characters of the configs and summaries of these runs together"""
_AT_ONCE: Final = 4_000_000
"""characters that are in memory at once, or one run"""
T = TypeVar("T")


async def incomplete(
    connection: AsyncConnection, project_id: int, paths: Collection[str]
) -> dict[str, list[int]]:
    """Return those paths of which the index may lack values, with the fields of their marks."""
    asked = await to_thread.run_sync(lambda: {path: marks(path) for path in paths})
    every = {mark for some in asked.values() for mark in some}
    numbers = await numbers_of(connection, project_id, every)
    found = {path: [numbers[m] for m in some if m in numbers] for path, some in asked.items()}
    return {path: some for path, some in found.items() if some}


def marked(run_id: ColumnElement[int], fields: Collection[int]) -> ColumnElement[bool]:
    """Return the condition that a run has one of these marks."""
    return run_id.in_(select(field_values.c.run_id).where(field_values.c.field_id.in_(fields)))


async def with_evaluated(
    connection: AsyncConnection, found: SelectBase, candidates: SelectBase, filters: Filter
) -> SelectBase:
    """Return the SELECT of the ids of the runs that pass, each once.

    Args:
        connection: on which it is to run.
        found: the SELECT of the ids (`id`) that the index alone finds.
        candidates: the SELECT of the ids (`id`) of the runs that are to be evaluated instead.
        filters: what they are evaluated by.

    Raises:
        FilterError: there are too many candidates.
    """
    passed = await _each(connection, candidates, lambda run: holds(filters, run))
    some = found.subquery()
    indexed = select(some.c.id).where(some.c.id.not_in(passed))
    ids = [number for number, passes in passed.items() if passes]
    return union_all(indexed, select(runs.c.id).where(runs.c.id.in_(ids)))


async def with_sort_values(
    connection: AsyncConnection,
    database: Database,
    by: SelectBase,
    candidates: SelectBase,
    order: Order,
) -> SelectBase:
    """Return the SELECT of what runs are sorted by: (run_id, kind, number, text).

    Args:
        connection: on which it is to run.
        database: whose connection it is.
        by: the same, by the index alone.
        candidates: the SELECT of the ids (`id`) of the runs that are to be evaluated instead.
        order: by what is sorted.

    Raises:
        FilterError: there are too many candidates.
    """
    values = await sort_values(connection, candidates, order)
    some = by.subquery()
    indexed = select(some).where(some.c.run_id.not_in(values))
    known = {number: value for number, value in values.items() if value is not None}
    if not known:
        return indexed
    text: ColumnElement[str] = _lookup(known, Text(), _text)
    if not database.is_sqlite:
        text = text.collate("C")
    evaluated = select(
        runs.c.id,
        _lookup(known, Integer(), lambda value: int(value.kind)),
        _lookup(known, Double(), lambda value: value.number),
        text,
    ).where(runs.c.id.in_(known))
    return union_all(indexed, evaluated)


async def sort_values(
    connection: AsyncConnection, candidates: SelectBase, order: Order
) -> dict[int, Value | None]:
    """Return what each candidate is sorted by, of its whole document.

    Raises:
        FilterError: there are too many candidates.
    """
    path, descending = order.field.path, order.descending
    return await _each(
        connection, candidates, lambda run: run.sort_value(path, descending=descending)
    )


def _lookup(
    known: Mapping[int, Value], kind: TypeEngine[T], of: Callable[[Value], T | None]
) -> ColumnElement[T]:
    plain = {number: of(value) for number, value in known.items()}
    told = {n: literal(item, kind) for n, item in plain.items() if item is not None}
    return cast(case(told, value=runs.c.id), kind) if told else cast(null(), kind)


def _text(value: Value) -> str | None:
    return None if value.text is None else stored_text(value.text)


async def _each(
    connection: AsyncConnection, candidates: SelectBase, ask: Callable[[Document], T]
) -> dict[int, T]:
    """Return what is asked of the whole document of each candidate, by its id."""
    answers: dict[int, T] = {}
    for ids in await _portions(connection, candidates):
        rows = [dict(row._mapping) for row in await connection.execute(_WHOLE, {"some": ids})]
        documents = await to_thread.run_sync(_documents, rows)
        for number, run in documents.items():
            answers[number] = await to_thread.run_sync(ask, run)
    return answers


def _documents(rows: Sequence[Mapping[str, Any]]) -> dict[int, Document]:
    return {row["id"]: Document(document(row)) for row in rows}


async def _portions(connection: AsyncConnection, candidates: SelectBase) -> list[list[int]]:
    some = candidates.subquery()
    size = func.length(runs.c.config, type_=BigInteger) + func.length(runs.c.summary)
    statement = select(runs.c.id, size).where(runs.c.id.in_(select(some.c.id)))
    rows = (await connection.execute(statement.order_by(runs.c.id).limit(MAX_RUNS + 1))).all()
    if len(rows) > MAX_RUNS or sum(row[1] for row in rows) > MAX_SIZE:
        raise FilterError(_TOO_MANY)
    return list(portions(((row[0], row[1]) for row in rows), _AT_ONCE))


_TOO_MANY: Final = (
    "the query asks about what only the whole config or summary of many runs can tell (an element "
    "far behind in a list, something in lists within lists, or a run of very many keys); one query "
    f"reads at most {MAX_RUNS} runs or {MAX_SIZE // 1_000_000} million characters for it. Narrow "
    'it by another condition, such as {"state": "running"}, or ask about another key'
)
_WHOLE: Final = (
    select(runs.c.id, *DOCUMENT_COLUMNS)
    .outerjoin(users, users.c.id == runs.c.user_id)
    .where(runs.c.id.in_(bindparam("some", expanding=True)))
)
