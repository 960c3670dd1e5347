"""What the case `queries` measures, in the environment that has the server.

One project of 100,000 runs with 50 config and 50 summary keys each. Half of the runs pass each of
the two config conditions, a quarter of them matches both, and those are sorted by a summary key:
what is asked for is dear, and an index by value would not make it cheaper. The runs are written
straight into the tables, as ingest and the index of queries would have left them; every query is
the server's own code, from the filter's JSON to whole rows.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from asyncwb.server.config import ServerConfig
from asyncwb.server.queries.document import ValueKind
from asyncwb.server.queries.filters import parse, parse_order
from asyncwb.server.store.database import Database
from asyncwb.server.store.migrate import migrate
from asyncwb.server.store.queries.query import RunQuery
from asyncwb.wire.rows.values import dumps
from bench.case import Figures, Size
from tests.fix_postgres import Cluster

_READS = 7
_MS = 1e3
_NAMES = ("adam", "adamw", "sgd", "lion")
_START = 1_700_000_000.0

# One column of values: (path, kind, values).
Values = tuple[str, ValueKind, Sequence[Any]]


def measure(size: Size, seed: int) -> Figures:
    """Fill a database with `size.rows` runs of twice `size.metrics` keys, and ask it."""
    return asyncio.run(_measure(size, seed))


async def _measure(size: Size, seed: int) -> Figures:
    async with _database(size.label) as database:
        await _fill(database, size, seed)
        query = RunQuery(database)
        order = parse_order("-summary_metrics.key_0")
        half = parse(
            {"config.key_0": {"$gt": 0.5}, "config.key_1.value": {"$in": ["adam", "lion"]}}
        )
        few = parse({"config.key_0": {"$lt": 0.001}, "config.key_1.value": "sgd"})
        by_id = {row.id for row in (await query.page(1, half, order)).rows}
        if len(by_id) != 50:
            raise RuntimeError(f"a page has {len(by_id)} runs instead of 50")
        return {
            "page_ms": await _best(lambda: query.page(1, half, order)),
            "count_ms": await _best(lambda: query.count(1, half)),
            "few_page_ms": await _best(lambda: query.page(1, few, order)),
            "few_count_ms": await _best(lambda: query.count(1, few)),
            "recent_ms": await _best(
                lambda: query.page(1, parse(None), parse_order("-created_at"))
            ),
            "all_sorted_ms": await _best(lambda: query.page(1, parse(None), order)),
            "regex_ms": await _best(
                lambda: query.page(1, parse({"display_name": {"$regex": "run-.*99$"}}), order)
            ),
            "either_ms": await _best(
                lambda: query.count(
                    1, parse({"$or": [{"config.key_0": {"$gt": 0.9}}, {"state": "failed"}]})
                )
            ),
            "index_bytes": await _size(database, ("field_values",)) / size.rows,
            "run_bytes": await _size(database, ()) / size.rows,
        }


async def _best(ask: Callable[[], Awaitable[Any]]) -> float:
    taken = []
    for _ in range(_READS):
        start = perf_counter()
        await ask()
        taken.append(perf_counter() - start)
    return min(taken) * _MS


@asynccontextmanager
async def _database(label: str) -> AsyncIterator[Database]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if label.startswith("SQLite"):
            yield await _open(ServerConfig(data=folder).database_url)
            return
    # A short path, which a Unix socket needs, and one that PostgreSQL's user may enter.
    with tempfile.TemporaryDirectory(prefix="awb-", dir="/tmp", ignore_cleanup_errors=True) as name:
        cluster = Cluster(Path(name))
        try:
            _, url = cluster.create_database()
            config = ServerConfig(data=Path(name) / "server", database=url)
            yield await _open(config.database_url)
        finally:
            cluster.stop()


async def _open(url: str) -> Database:
    database = Database(url)
    await migrate(database)
    return database


# The data.


def _columns(size: Size, seed: int) -> Iterator[Values]:
    """Give the values of each field, for every run one."""
    random = np.random.default_rng(seed)
    n = size.rows
    for key in range(size.metrics):
        if key % 5 == 1:
            picked = random.integers(0, len(_NAMES), n).tolist()
            yield f"config.key_{key}", ValueKind.TEXT, [_NAMES[i] for i in picked]
        else:
            yield f"config.key_{key}", ValueKind.NUMBER, random.random(n).tolist()
    for key in range(size.metrics):
        yield f"summary_metrics.key_{key}", ValueKind.NUMBER, random.random(n).tolist()
    states = random.integers(0, 20, n).tolist()
    yield "state", ValueKind.TEXT, ["failed" if i == 0 else "finished" for i in states]
    yield "name", ValueKind.TEXT, [f"{i:08x}" for i in range(n)]
    yield "displayName", ValueKind.TEXT, [f"run-{i}" for i in range(n)]
    yield "createdAt", ValueKind.NUMBER, [_START + i for i in range(n)]
    yield "heartbeatAt", ValueKind.NUMBER, [_START + i + 60 for i in range(n)]
    yield "duration", ValueKind.NUMBER, [60.0] * n


async def _fill(database: Database, size: Size, seed: int) -> None:
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("SELECT 1")  # begins the transaction
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        put = _put_sqlite if database.is_sqlite else _put_postgres
        names = ("id", "entity", "name", "created_at")
        await put(driver, "projects", names, [(1, "team", "project", _START)])
        columns = list(_columns(size, seed))
        keyed = [(path, values) for path, _, values in columns if "." in path]
        await put(driver, "runs", _RUN, _run_rows(size.rows, keyed))
        fields = [(number, 1, path) for number, (path, _, _) in enumerate(columns, start=1)]
        await put(driver, "fields", ("id", "project_id", "path"), fields)
        for number, (path, kind, values) in enumerate(columns, start=1):
            rows = _value_rows(number, path.startswith("summary_"), kind, values)
            await put(driver, "field_values", _VALUE, rows)
        await connection.commit()
        if database.is_sqlite:
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        # What autovacuum would have done by now; the tests' server runs without it. Twice, since
        # the first time may find pages whose rows are too new to be known as visible to all.
        for table in ("field_values", "runs", "fields") * 2:
            await driver.execute(f"VACUUM ANALYZE {table}")


_VALUE = ("run_id", "number", "field_id", "position", "kind", "logged", "text")
_RUN = (
    *("id", "project_id", "run", "name", "state", "created_at", "heartbeat_at", "rows", "lost"),
    *("tags", "version", "indexed_version", "config", "summary", "fold"),
)


def _value_rows(
    field: int, logged: bool, kind: ValueKind, values: Sequence[Any]
) -> Iterator[tuple[Any, ...]]:
    is_text = kind == ValueKind.TEXT
    for run_id, value in enumerate(values, start=1):
        number, text = (None, value) if is_text else (value, None)
        yield run_id, number, field, 0, int(kind), logged, text


def _run_rows(n: int, keyed: list[tuple[str, Sequence[Any]]]) -> Iterator[tuple[Any, ...]]:
    parts = [(path.partition("."), values) for path, values in keyed]
    for i in range(n):
        found: dict[str, dict[str, Any]] = {"config": {}, "summary_metrics": {}}
        for (space, _, key), values in parts:
            found[space][key] = values[i]
        config, summary = (dumps(found[space]).decode() for space in found)
        at = _START + i
        yield (
            *(i + 1, 1, f"{i:08x}", f"run-{i}", "finished", at, at + 60, 100, 0),
            *("[]", 5, 5, config, summary, summary),
        )


async def _put_sqlite(
    driver: Any, table: str, names: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    await driver.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


async def _put_postgres(
    driver: Any, table: str, names: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    await driver.copy_records_to_table(table, records=rows, columns=names)


async def _size(database: Database, tables: Sequence[str]) -> float:
    """Return the bytes of some tables with their indexes, or of everything."""
    async with database.engine.connect() as connection:
        if not database.is_sqlite:
            what = [f"pg_total_relation_size('{table}')" for table in tables]
            statement = f"SELECT {'+'.join(what) or 'pg_database_size(current_database())'}"
        elif tables:
            some = ",".join(f"'{table}'" for table in tables)
            statement = (
                "SELECT SUM(pgsize) FROM dbstat WHERE aggregate = TRUE AND name IN "
                f"(SELECT name FROM sqlite_schema WHERE tbl_name IN ({some}))"
            )
        else:
            statement = "SELECT SUM(pgsize) FROM dbstat WHERE aggregate = TRUE"
        return float((await connection.exec_driver_sql(statement)).scalar_one() or 0)
