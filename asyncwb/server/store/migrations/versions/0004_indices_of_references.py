"""Indices of what is looked up from the other side: a file by its object, what is a user's."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    for table, column in (
        ("files", "object"),
        ("members", "user_id"),
        ("api_keys", "user_id"),
        ("sessions", "user_id"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])
