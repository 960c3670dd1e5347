"""The server's memory: the only room that writes SQL.

Each file holds the statements of one noun behind a small class that is given the
`Database`. One text serves SQLite and PostgreSQL; where they differ (locks, upserts)
the difference lives in `database.py`. A method that takes a `connection` takes part in
its caller's transaction; one that does not opens its own.
"""
