"""Alembic's revisions: run by `store.migrate`, never by hand."""
