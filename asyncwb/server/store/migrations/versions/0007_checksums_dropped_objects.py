"""Objects have checksums, and those that nothing names any more wait before they are deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the list of them, and a place for the checksums of new ones."""
    op.create_table(
        "dropped_objects",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("dropped_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_dropped_objects"),
    )
    op.create_index("ix_dropped_objects_dropped_at", "dropped_objects", ["dropped_at"])
    for name in ("segments", "files"):
        op.add_column(name, sa.Column("checksums", sa.LargeBinary))
