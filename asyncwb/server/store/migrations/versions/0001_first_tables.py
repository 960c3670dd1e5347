"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create users and keys, projects and runs, frames and segments."""
    _accounts()
    _runs()
    _history()
    op.create_table(
        "leases",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )


def _user_id() -> sa.Column[int]:
    return sa.Column("user_id", _big_id, sa.ForeignKey("users.id"), nullable=False)


def _run_id(*, primary_key: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey("runs.id", ondelete="CASCADE")
    return sa.Column("run_id", _big_id, key, primary_key=primary_key, nullable=False)


def _accounts() -> None:
    op.create_table(
        "users",
        sa.Column("id", _big_id, primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", _big_id, primary_key=True),
        _user_id(),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        _user_id(),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_table(
        "login_links",
        sa.Column("digest", sa.String(64), primary_key=True),
        _user_id(),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def _runs() -> None:
    op.create_table(
        "projects",
        sa.Column("id", _big_id, primary_key=True),
        sa.Column("entity", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("entity", "name"),
    )
    op.create_table(
        "runs",
        sa.Column("id", _big_id, primary_key=True),
        sa.Column("project_id", _big_id, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("run", sa.String(128), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("heartbeat_at", sa.Double, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("last_step", sa.BigInteger),
        sa.Column("lost", sa.BigInteger, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        *(sa.Column(n, sa.Text) for n in ("notes", "group_name", "job_type", "host")),
        *(sa.Column(n, sa.Text) for n in ("program", "python", "client")),
        sa.Column("version", sa.BigInteger, nullable=False),
        *(sa.Column(n, sa.Text, nullable=False) for n in ("config", "summary", "fold")),
        sa.UniqueConstraint("project_id", "run"),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "runs", ["project_id", "id"])
    op.create_index(None, "runs", ["state", "heartbeat_at"])
    op.create_table(
        "writers",
        _run_id(primary_key=True),
        sa.Column("writer", sa.String(128), primary_key=True),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("heartbeat_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("exit_code", sa.Integer),
    )


def _history() -> None:
    op.create_table(
        "frames",
        sa.Column("id", _big_id, primary_key=True),
        _run_id(),
        sa.Column("writer", sa.String(128), nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("min_step", sa.BigInteger),
        sa.Column("max_step", sa.BigInteger),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("run_id", "writer", "first_seq"),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "frames", ["run_id", "id"])
    op.create_table(
        "segments",
        sa.Column("id", _big_id, primary_key=True),
        _run_id(),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("min_step", sa.BigInteger),
        sa.Column("max_step", sa.BigInteger),
        sa.Column("columns", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sorted_after_frame", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("path"),
        sqlite_autoincrement=True,
    )
    op.create_index(None, "segments", ["run_id", "sorted_after_frame"])
    segment = sa.ForeignKey("segments.id", ondelete="CASCADE")
    op.create_table(
        "rollups",
        sa.Column("segment_id", _big_id, segment, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
