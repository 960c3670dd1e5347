"""Alembic's entry: run the revisions on the connection, and in the transaction, of the caller."""

from __future__ import annotations

from alembic import context

from asyncwb.server.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller has begun, and commits
)
context.run_migrations()
