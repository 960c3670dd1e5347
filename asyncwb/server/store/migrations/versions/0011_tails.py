"""A run knows how much of it is not sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count the frames of each run once."""
    for name in ("tail_frames", "tail_rows", "tail_size"):
        column = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("runs", column)
    op.add_column("runs", sa.Column("tail_at", sa.Double))
    op.execute(
        "UPDATE runs SET"
        " tail_frames = (SELECT count(*) FROM frames WHERE frames.run_id = runs.id),"
        " tail_rows = (SELECT coalesce(sum(rows), 0) FROM frames WHERE frames.run_id = runs.id),"
        " tail_size = (SELECT coalesce(sum(size), 0) FROM frames WHERE frames.run_id = runs.id)"
        " WHERE EXISTS (SELECT 1 FROM frames WHERE frames.run_id = runs.id)"
    )
    some = sa.text("tail_frames > 0")
    op.create_index("ix_runs_unsealed", "runs", ["id"], sqlite_where=some, postgresql_where=some)
