"""People and teams, files, lines, reports, and what runs are filtered by."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Give every user an entity, every other owner of projects a team, and add the tables."""
    _people()
    _projects_and_runs()
    _own_entities()
    _run_data()
    _queries()


def _id() -> sa.Column[int]:
    return sa.Column("id", _big_id, primary_key=True)


def _refers(
    name: str, to: str, *, key: bool = False, needed: bool = True, cascade: bool = False
) -> sa.Column[int]:
    reference = sa.ForeignKey(to, ondelete="CASCADE" if cascade else None)
    return sa.Column(name, _big_id, reference, primary_key=key, nullable=not needed)


def _time(name: str, *, needed: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=not needed)


def _people() -> None:
    op.create_table(
        "entities",
        _id(),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        _time("created_at"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "members",
        _refers("entity_id", "entities.id", key=True),
        _refers("user_id", "users.id", key=True),
        sa.Column("role", sa.String(8), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "invitations",
        _id(),
        sa.Column("digest", sa.String(64), nullable=False),
        _refers("entity_id", "entities.id", needed=False),
        sa.Column("email", sa.String(320)),
        sa.Column("role", sa.String(8), nullable=False),
        _refers("invited_by", "users.id"),
        _time("created_at"),
        _time("expires_at"),
        _time("used_at", needed=False),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(128), nullable=False),
        _time("created_at"),
    )
    # Added columns refer to nothing: SQLite could only add that by making the table anew, and to
    # drop the old one would take the runs' history with it.
    op.add_column("users", sa.Column("email", sa.String(320)))
    op.add_column("users", sa.Column("service_of", _big_id))
    op.add_column("users", _time("disabled_at", needed=False))
    op.create_index(None, "users", ["email"], unique=True)
    op.add_column("api_keys", sa.Column("description", sa.Text))


def _projects_and_runs() -> None:
    private = sa.Column("visibility", sa.String(8), nullable=False, server_default="private")
    for column in (private, sa.Column("description", sa.Text), sa.Column("user_id", _big_id)):
        op.add_column("projects", column)
    columns: list[sa.Column[Any]] = [
        sa.Column("user_id", _big_id),
        *(sa.Column(name, sa.Text) for name in ("description", "repo", "commit")),
        sa.Column("sweep", sa.String(128)),
        sa.Column("stop_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("system", sa.Text, nullable=False, server_default="{}"),
        sa.Column("indexed_version", sa.BigInteger, nullable=False, server_default="-1"),
    ]
    for added in columns:
        op.add_column("runs", added)
    op.create_index(None, "runs", ["project_id", "created_at", "id"])
    op.create_index(None, "runs", ["project_id", "heartbeat_at", "id"])


def _own_entities() -> None:
    """Until now an owner of projects was a mere name, which the admins alone could use."""
    op.execute(
        "INSERT INTO entities (name, kind, created_at) SELECT name, 'user', created_at FROM users"
    )
    op.execute(
        "INSERT INTO entities (name, kind, created_at) SELECT entity, 'team', MIN(created_at) "
        "FROM projects WHERE entity NOT IN (SELECT name FROM users) GROUP BY entity"
    )
    op.execute(
        "INSERT INTO members (entity_id, user_id, role, created_at) "
        "SELECT entities.id, users.id, 'admin', entities.created_at FROM entities, users "
        "WHERE entities.kind = 'team' AND users.admin"
    )


def _run_data() -> None:
    op.create_table(
        "lines",
        _refers("run_id", "runs.id", key=True, cascade=True),
        sa.Column("stream", sa.String(16), primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "files",
        _id(),
        _refers("run_id", "runs.id", cascade=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("object", sa.Text),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("md5", sa.String(32)),
        sa.Column("mimetype", sa.Text),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("run_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "reports",
        _id(),
        _refers("project_id", "projects.id", cascade=True),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("spec", sa.Text, nullable=False),
        _refers("user_id", "users.id"),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("project_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alerts",
        _id(),
        _refers("run_id", "runs.id", cascade=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        _time("created_at"),
    )
    op.create_index(None, "alerts", ["run_id", "id"])


def _queries() -> None:
    op.create_table(
        "fields",
        sa.Column("id", sa.Integer, primary_key=True),
        _refers("project_id", "projects.id", cascade=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.UniqueConstraint("project_id", "path"),
        sqlite_autoincrement=True,
    )
    by_bytes = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    field = sa.ForeignKey("fields.id", ondelete="CASCADE")
    op.create_table(
        "field_values",
        _refers("run_id", "runs.id", cascade=True),
        sa.Column("number", sa.Double),
        sa.Column("field_id", sa.Integer, field, nullable=False),
        sa.Column("position", sa.SmallInteger, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("logged", sa.Boolean, nullable=False),
        sa.Column("text", by_bytes),
        sa.Column("long", by_bytes),
        sa.PrimaryKeyConstraint(
            *("field_id", "run_id", "position"),
            postgresql_include=["kind", "number", "text", "logged"],
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(None, "field_values", ["run_id"])
    stale = sa.text("indexed_version <> version")
    op.create_index(
        "ix_runs_stale",
        "runs",
        ["project_id", "id"],
        sqlite_where=stale,
        postgresql_where=stale,
    )
