"""Bring a database to the newest schema, whoever starts first.

`HEAD` is the newest revision; a database that says it has it is left alone, and Alembic is not
even imported (it costs a quarter of a second). A test holds `HEAD`, the revisions and `schema.py`
together.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, column, inspect, select, table

from asyncwb.server.store.database import Database

HEAD: Final = "0009"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def migrate(database: Database) -> None:
    """Upgrade the schema in one transaction; of several processes one does it, the others wait."""
    async with database.connect() as connection:
        if await connection.run_sync(current) == HEAD:
            return
    async with database.transaction() as connection:
        await database.lock_schema(connection)
        if await connection.run_sync(current) != HEAD:
            await connection.run_sync(upgrade)


def current(connection: Connection) -> str | None:
    """Return the revision that the database says it has, None where it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = table("alembic_version", column("version_num"))
    revision: str | None = connection.execute(select(version.c.version_num)).scalar()
    return revision


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
