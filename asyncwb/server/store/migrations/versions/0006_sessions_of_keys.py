"""Sessions and sign-in links end with the key that opened them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the key; of those that are there nobody knows it, so they end: people sign in again."""
    for name in ("sessions", "login_links"):
        op.execute(sa.delete(sa.table(name)))
        with op.batch_alter_table(name) as table:
            key = sa.ForeignKey("api_keys.id", name=f"fk_{name}_key_id")
            table.add_column(sa.Column("key_id", _big_id, key))
