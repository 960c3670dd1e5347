"""The tables, once, for SQLite and PostgreSQL.

A run's identity to the outside is (entity, project, run id); inside, every table points to the
integer `runs.id`. Rows of history live first in `frames` (the very bytes that a client sent, in
the order they were committed) and later in `segments` (Parquet in the object store) with
`rollups` (chart pyramids) beside them. Times are float unix seconds of the server's clock
unless a comment says otherwise. A change here needs a migration: a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from asyncwb.wire.values import dumps, loads

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only auto-increments INTEGER keys; it stores 64 bits either way.
BigId = BigInteger().with_variant(Integer, "sqlite")


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, NaN and infinities included.

    Not the databases' own JSON types: PostgreSQL's refuses NaN, and nothing queries inside.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else loads(value.encode())


users = Table(
    "users",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("admin", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
)

# A key is kept as the SHA-256 of its text; keys are random and long, so no slow hash is needed.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

login_links = Table(
    "login_links",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("expires_at", Double, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("entity", "name"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("project_id", BigId, ForeignKey("projects.id"), nullable=False),
    Column("run", String(128), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    # The client's clock: when the first writer started, and when the last one finished.
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("heartbeat_at", Double, nullable=False),
    Column("exit_code", Integer),
    Column("rows", BigInteger, nullable=False),
    Column("last_step", BigInteger),
    Column("lost", BigInteger, nullable=False),
    Column("tags", Json, nullable=False),
    Column("notes", Text),
    Column("group_name", Text),
    Column("job_type", Text),
    Column("host", Text),
    Column("program", Text),
    Column("python", Text),
    Column("client", Text),
    # Grows by one with every committed change of the run; what caches and the live page go by.
    Column("version", BigInteger, nullable=False),
    Column("config", Json, nullable=False),
    # JSON that ingest encodes itself, outside the event loop: `Fold.as_dict()` and `Fold.state()`.
    Column("summary", Text, nullable=False),
    Column("fold", Text, nullable=False),
    UniqueConstraint("project_id", "run"),
    # The run list reads a project newest first; crash detection reads the running ones.
    Index(None, "project_id", "id"),
    Index(None, "state", "heartbeat_at"),
    sqlite_autoincrement=True,
)

writers = Table(
    "writers",
    metadata,
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("writer", String(128), primary_key=True),
    Column("next_seq", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("exit_code", Integer),
)

# Ids are never used again (autoincrement), and within one run they grow in commit order:
# ingest locks the run's row before it inserts.
frames = Table(
    "frames",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("writer", String(128), nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    # Null where the frame holds events only.
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("run_id", "writer", "first_seq"),
    Index(None, "run_id", "id"),
    sqlite_autoincrement=True,
)

segments = Table(
    "segments",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("rows", BigInteger, nullable=False),
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    Column("columns", Json, nullable=False),
    Column("size", BigInteger, nullable=False),
    # The highest frame id inside: segments of one run, in this order, are its history.
    Column("sorted_after_frame", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "run_id", "sorted_after_frame"),
    sqlite_autoincrement=True,
)

rollups = Table(
    "rollups",
    metadata,
    Column("segment_id", BigId, ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Double, nullable=False),
)
