"""The index says which runs it holds only in part."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Have the runs indexed again that hold lists, deep mappings or very many values."""
    op.execute(
        "UPDATE runs SET indexed_version = version - 1"
        " WHERE indexed_version = version AND version > 0 AND id IN"
        " (SELECT run_id FROM field_values WHERE kind = 6 UNION"
        " SELECT run_id FROM field_values GROUP BY run_id HAVING count(*) >= 10000)"
    )
