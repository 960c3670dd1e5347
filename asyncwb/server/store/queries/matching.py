"""A filter becomes one SELECT of the ids of the runs that pass it.

All that can be asked about lies in `field_values`, one stretch a field, in the order of runs:

* a condition that every run found must meet *drives* the query: its stretch is read from end to
  end, and each further condition is an EXISTS on the run at hand;
* where there is no such condition (`$or`, `$ne`, no filter), the project's runs drive it.

Patterns mean what RE2 says on both databases. SQLite calls it. PostgreSQL matches by itself what
means the same to it (`postgres_patterns`); for other patterns the texts are read in slices and
matched here, and the runs found become an array.

Where the index lacks values of a field in question, the runs concerned are evaluated one by one
(see `left_out`): those of them that meet the conditions about which the index knows everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from anyio import to_thread
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Row,
    Select,
    SelectBase,
    and_,
    any_,
    bindparam,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.queries.conditions import (
    EVERYTHING,
    All,
    Either,
    Equal,
    Field,
    Filter,
    Has,
    Match,
    Not,
    Present,
    Range,
    Test,
    comparable,
    evaluate,
    searcher,
)
from asyncwb.server.queries.document import Value, ValueKind
from asyncwb.server.queries.postgres_patterns import as_postgres
from asyncwb.server.store.database import Database
from asyncwb.server.store.queries.fields import numbers_of
from asyncwb.server.store.queries.left_out import incomplete, marked, with_evaluated
from asyncwb.server.store.schema import field_values, projects, runs
from asyncwb.server.store.texts import ESCAPE, original_text, stored_text

T = TypeVar("T")

_SLICE: Final = 5000
_NO_LOOPS: Final = text("SET LOCAL enable_nestloop = off")
_CONSTANT: Final = ("entity", "project")


async def matching(
    connection: AsyncConnection, database: Database, project_id: int, filters: Filter
) -> SelectBase:
    """Return the SELECT of the ids (`id`), each once, of the runs of a project that pass.

    Costs a few statements, and on PostgreSQL a reading of the texts of a pattern's field where the
    pattern is none of its own.

    Args:
        connection: on which the SELECT is to run.
        database: whose connection it is.
        project_id: `projects.id`.
        filters: the tree.

    Raises:
        FilterError: too many runs would have to be read whole.
    """
    if not database.is_sqlite:
        # Its statistics cannot tell how many runs share a field's value: it guesses few, and
        # loops where a hash join takes half the time.
        await connection.execute(_NO_LOOPS)
    filters = await _without_constants(connection, project_id, filters)
    asked = list(_leaves(filters))
    numbers = await numbers_of(connection, project_id, {_path(leaf.field) for leaf in asked})
    matched: dict[Has, tuple[str | None, list[int]]] = {}
    if not database.is_sqlite:
        for leaf in asked:
            if isinstance(leaf.test, Match) and leaf not in matched:
                number, pattern = numbers.get(_path(leaf.field)), leaf.test.pattern
                own = as_postgres(pattern) if database.is_utf8 else None
                found = await _search(connection, number, pattern, escaped=own is not None)
                matched[leaf] = own, found
    compiler = _Compiler(numbers, matched, database.is_sqlite)
    passing = compiler.matching(project_id, filters)
    paths = {leaf.field.path for leaf in asked if leaf.field.kind != "logged"}
    doubtful = await incomplete(connection, project_id, paths)
    if not doubtful:
        return passing
    sure = [
        part
        for part in _conjuncts(filters)
        if not any(leaf.field.path in doubtful for leaf in _leaves(part))
    ]
    rest = compiler.matching(project_id, All(tuple(sure))).subquery()
    fields = {number for some in doubtful.values() for number in some}
    candidates = select(rest.c.id).where(marked(rest.c.id, fields))
    return await with_evaluated(connection, passing, candidates, filters)


class _Compiler:
    """Turns a filter into SQL.

    Args:
        numbers: the fields' numbers by path; a field that no run has is not in it.
        matched: on PostgreSQL, of each pattern, what it matches itself, and the ids of the runs in
            which it was found, of those whose texts it does not match.
        sqlite: whether it is SQLite, which searches itself.
    """

    def __init__(
        self,
        numbers: Mapping[str, int],
        matched: Mapping[Has, tuple[str | None, list[int]]],
        sqlite: bool,
    ) -> None:
        self._numbers = numbers
        self._matched = matched
        self._sqlite = sqlite

    def matching(self, project_id: int, filters: Filter) -> Select[int]:
        """Return the SELECT of the ids of the runs that pass."""
        parts = list(_conjuncts(filters))
        drivers = [part for part in parts if isinstance(part, Has)]
        if not drivers:
            statement = select(runs.c.id).where(runs.c.project_id == project_id)
            return statement.where(*(self._condition(part, runs.c.id) for part in parts))
        driver = min(drivers, key=_dearness)
        parts.remove(driver)
        values = field_values.alias("driver")
        condition = self._row(driver, values)
        others = [self._condition(part, values.c.run_id) for part in parts]
        return select(values.c.run_id.label("id")).where(condition, *others).distinct()

    def _condition(self, filters: Filter, run_id: ColumnElement[int]) -> ColumnElement[bool]:
        match filters:
            case All(parts):
                return and_(true(), *(self._condition(part, run_id) for part in parts))
            case Either(parts):
                return or_(false(), *(self._condition(part, run_id) for part in parts))
            case Not(part):
                return not_(self._condition(part, run_id))
            case Has() as leaf:
                if _path(leaf.field) not in self._numbers:
                    return false()
                values = field_values.alias()
                return exists().where(values.c.run_id == run_id, self._row(leaf, values))

    def _row(self, leaf: Has, values: FromClause) -> ColumnElement[bool]:
        """Return the condition under which a row of `field_values` meets the leaf's."""
        number = self._numbers.get(_path(leaf.field))
        if number is None:
            return false()
        of_field = values.c.field_id == number
        if leaf.field.kind == "logged":
            return and_(of_field, values.c.logged)
        if leaf in self._matched:
            pattern, ids = self._matched[leaf]
            found = values.c.run_id == any_(bindparam(None, ids, ARRAY(BigInteger)))
            if pattern is not None:
                found = or_(found, _matches(pattern, values))
            return and_(of_field, found)
        return and_(of_field, _test(leaf.test, values))


def _matches(pattern: str, values: FromClause) -> ColumnElement[bool]:
    """Return whether PostgreSQL finds a pattern in a text in which nothing is escaped."""
    whole = func.coalesce(values.c.long, values.c.text)
    found = whole.collate("C").op("~", is_comparison=True)(pattern)
    return and_(values.c.kind == ValueKind.TEXT.value, not_(_escaped(whole)), found)


def _escaped(whole: ColumnElement[str]) -> ColumnElement[bool]:
    return func.strpos(whole, ESCAPE) > 0


def _test(test: Test, values: FromClause) -> ColumnElement[bool]:
    kind, number = values.c.kind, values.c.number
    match test:
        case Present():
            return kind != ValueKind.KEY.value
        case Equal(wanted):
            return or_(false(), *_equal(wanted, values))
        case Range(sign, bound):
            like = kind == bound.kind.value
            limit = comparable(bound)
            if isinstance(limit, str):
                whole = func.coalesce(values.c.long, values.c.text)
                return and_(like, whole.op(sign, is_comparison=True)(stored_text(limit)))
            return and_(like, number.op(sign, is_comparison=True)(limit))
        case Match(pattern):
            found = func.re2_search(pattern, func.coalesce(values.c.long, values.c.text))
            return and_(kind == ValueKind.TEXT.value, found == 1)


def _equal(wanted: Sequence[Value], values: FromClause) -> Iterator[ColumnElement[bool]]:
    for kind in ValueKind:
        some = [value for value in wanted if value.kind == kind]
        if not some:
            continue
        like = values.c.kind == kind.value
        numbers = [value.number for value in some if value.number is not None]
        texts = [stored_text(value.text) for value in some if value.text is not None]
        if numbers:
            yield and_(like, _is_in(values.c.number, numbers))
        elif texts:
            yield and_(like, _is_in(values.c.text, texts))
        else:
            yield like


def _is_in(column: ColumnElement[T], items: list[T]) -> ColumnElement[bool]:
    return column == items[0] if len(items) == 1 else column.in_(items)


# The tree.


def _conjuncts(filters: Filter) -> Iterator[Filter]:
    if isinstance(filters, All):
        for part in filters.parts:
            yield from _conjuncts(part)
    else:
        yield filters


def _leaves(filters: Filter) -> Iterator[Has]:
    match filters:
        case All(parts) | Either(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part):
            yield from _leaves(part)
        case Has() as leaf:
            yield leaf


def _dearness(leaf: Has) -> int:
    """Guess which condition leaves the fewest runs: it should drive the query."""
    match leaf.test:
        case Equal(values):
            return 0 if len(values) <= 1 else 1
        case Match():
            return 2
        case Range():
            return 3
        case Present():
            return 4


def _path(field: Field) -> str:
    return f"summary_metrics.{field.path}" if field.kind == "logged" else field.path


async def _without_constants(
    connection: AsyncConnection, project_id: int, filters: Filter
) -> Filter:
    """Decide what is asked about the entity and the project, which all runs here share."""
    if not any(leaf.field.path in _CONSTANT for leaf in _leaves(filters)):
        return filters
    statement = select(projects.c.entity, projects.c.name).where(projects.c.id == project_id)
    row = (await connection.execute(statement)).first()
    return _decided(filters, dict(zip(_CONSTANT, row or ("", ""), strict=True)))


def _decided(filters: Filter, known: dict[str, str]) -> Filter:
    match filters:
        case All(parts):
            return All(tuple(_decided(part, known) for part in parts))
        case Either(parts):
            return Either(tuple(_decided(part, known) for part in parts))
        case Not(part):
            return Not(_decided(part, known))
        case Has(field, _) if field.path in _CONSTANT and field.kind == "text":
            return EVERYTHING if evaluate(filters, known) else Either()
        case Has():
            return filters


# Patterns on PostgreSQL.


async def _search(
    connection: AsyncConnection, number: int | None, pattern: str, *, escaped: bool
) -> list[int]:
    """Return the ids of the runs in which the field's text has the pattern; where `escaped`, only
    of texts in which something is."""
    search, texts = searcher(pattern), _ESCAPED_TEXTS if escaped else _TEXTS
    found: list[int] = []
    last = (-1, -1)
    while number is not None:
        rows = (
            await connection.execute(texts, {"number": number, "r": last[0], "p": last[1]})
        ).all()
        found += await to_thread.run_sync(_found, rows, search)
        if len(rows) < _SLICE:
            break
        last = (rows[-1][0], rows[-1][1])
    return sorted(set(found))


def _found(rows: Sequence[Row[int, int, str]], search: Callable[[str], object]) -> list[int]:
    return [row[0] for row in rows if search(original_text(row[2]))]


_VALUE_PLACE: Final = tuple_(field_values.c.run_id, field_values.c.position)
_TEXTS: Final = (
    select(
        field_values.c.run_id,
        field_values.c.position,
        func.coalesce(field_values.c.long, field_values.c.text),
    )
    .where(
        field_values.c.field_id == bindparam("number"),
        field_values.c.kind == ValueKind.TEXT.value,
        tuple_(bindparam("r", type_=BigInteger), bindparam("p", type_=BigInteger)) < _VALUE_PLACE,
    )
    .order_by(field_values.c.run_id, field_values.c.position)
    .limit(_SLICE)
)
_ESCAPED_TEXTS: Final = _TEXTS.where(
    _escaped(func.coalesce(field_values.c.long, field_values.c.text))
)
