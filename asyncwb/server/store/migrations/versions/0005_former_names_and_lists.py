"""Former names of projects, which lead to them; paths into the lists of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table; have the runs that hold lists indexed again, since they give more values."""
    project = sa.ForeignKey("projects.id", ondelete="CASCADE")
    op.create_table(
        "former_names",
        sa.Column("entity", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("project_id", _big_id, project, nullable=False),
    )
    op.create_index("ix_former_names_project", "former_names", ["project_id"])
    op.execute(
        "UPDATE runs SET indexed_version = indexed_version - 1 WHERE indexed_version >= 0 AND id IN"
        " (SELECT run_id FROM field_values WHERE kind = 6 AND text LIKE '[%')"
    )
