"""The bytes of files have rows of their own, which count who refers to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make a blob of each object that a file has; the SHA-256 of none of them is known."""
    op.create_table(
        "blobs",
        sa.Column("id", _big_id, primary_key=True),
        sa.Column("sha256", sa.String(64)),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("md5", sa.String(32)),
        sa.Column("checksums", sa.LargeBinary),
        sa.Column("uses", sa.BigInteger, nullable=False),
        sa.Column("unused_since", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("sha256", name="uq_blobs_sha256"),
        sa.UniqueConstraint("object", name="uq_blobs_object"),
        sqlite_autoincrement=True,
    )
    some = sa.text("unused_since IS NOT NULL")
    op.create_index(
        "ix_blobs_unused", "blobs", ["unused_since"], sqlite_where=some, postgresql_where=some
    )
    op.execute(
        "INSERT INTO blobs (object, size, md5, checksums, uses, created_at)"
        " SELECT object, size, md5, checksums, 1, updated_at FROM files"
        " WHERE object IS NOT NULL ORDER BY id"
    )
    # As text: Alembic would copy SQLite's table, and its ids would no longer be used only once.
    kind = "INTEGER" if op.get_context().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE files ADD COLUMN blob_id {kind}"
        " CONSTRAINT fk_files_blob_id_blobs REFERENCES blobs (id)"
    )
    op.execute(
        "UPDATE files SET blob_id = (SELECT blobs.id FROM blobs WHERE blobs.object = files.object)"
        " WHERE object IS NOT NULL"
    )
    op.create_index("ix_files_blob_id", "files", ["blob_id"])
    op.drop_index("ix_files_object", "files")
    for name in ("object", "size", "md5", "checksums"):
        op.drop_column("files", name)
