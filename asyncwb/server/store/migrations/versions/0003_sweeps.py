"""Sweeps, and finding the runs of one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table, and an index of the runs that belong to a sweep."""
    project = sa.ForeignKey("projects.id", ondelete="CASCADE")
    op.create_table(
        "sweeps",
        sa.Column("id", _big_id, primary_key=True),
        sa.Column("project_id", _big_id, project, nullable=False),
        sa.Column("sweep", sa.String(128), nullable=False),
        sa.Column("display_name", sa.Text),
        sa.Column("config_name", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("metric", sa.Text),
        sa.Column("maximize", sa.Boolean, nullable=False),
        sa.Column("expected_runs", sa.Integer),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("user_id", _big_id, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.UniqueConstraint("project_id", "sweep"),
        sqlite_autoincrement=True,
    )
    named = sa.text("sweep IS NOT NULL")
    op.create_index(
        "ix_runs_sweep",
        "runs",
        ["project_id", "sweep"],
        sqlite_where=named,
        postgresql_where=named,
    )
