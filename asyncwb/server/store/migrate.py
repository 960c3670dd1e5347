"""Bring a database to the newest schema, whoever starts first.

`HEAD` is the newest revision. A database that says it has it is left alone, and an empty one is
given the tables of `schema.py` at once: for neither is Alembic even imported (it costs a quarter
of a second, and its revisions one by one as much again). Tests hold `HEAD`, the revisions and
`schema.py` together.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
)

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import metadata

HEAD: Final = "0011"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
# As Alembic makes it.
_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


async def migrate(database: Database) -> None:
    """Upgrade the schema in one transaction; of several processes one does it, the others wait."""
    async with database.connect() as connection:
        if await connection.run_sync(current) == HEAD:
            return
    async with database.transaction() as connection:
        await database.lock_schema(connection)
        revision = await connection.run_sync(current)
        if revision is None and await connection.run_sync(_is_empty):
            await connection.run_sync(create)
        elif revision != HEAD:
            await connection.run_sync(upgrade)


def current(connection: Connection) -> str | None:
    """Return the revision that the database says it has, None where it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(select(_VERSION.c.version_num)).scalar()
    return revision


def create(connection: Connection) -> None:
    """Make all tables in an empty database, as the revisions would, in the caller's transaction."""
    metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection)
    connection.execute(insert(_VERSION).values(version_num=HEAD))


def _is_empty(connection: Connection) -> bool:
    return not inspect(connection).get_table_names()


def upgrade(connection: Connection) -> None:
    """Run every revision that the database lacks, inside the caller's transaction."""
    upgrade_to(connection, "head")


def upgrade_to(connection: Connection, revision: str) -> None:
    """Run the revisions that the database lacks up to one, inside the caller's transaction."""
    importlib.import_module("alembic.command").upgrade(alembic_config(connection), revision)


def alembic_config(connection: Connection) -> Any:
    """Return Alembic's configuration for the revisions in this package."""
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
